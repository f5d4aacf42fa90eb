//! `kubectl-standby` as a person would run it, against the local Kubernetes: its words, its JSON and
//! its exit codes.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::command::{ended, shown};
use crate::error::{Error, Result};
use crate::images;
use crate::limits::PLUGIN_TIMEOUT;

/// The name of the binary.
pub const BINARY: &str = "kubectl-standby";

/// The plugin, with the kubeconfig of one local Kubernetes.
pub struct Plugin {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

/// How a command of the plugin ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code, as docs/kubectl.md lists them.
    pub code: i32,
    /// What it printed.
    pub printed: String,
    /// What it wrote to standard error.
    pub said: String,
}

impl Plugin {
    /// The plugin that was compiled together with the images.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let binary = images::compiled(BINARY);
        if !binary.exists() {
            let text = format!(
                "{} is missing: `cargo xtask images` compiles it",
                binary.display()
            );
            return Err(Error::Wrong(text));
        }
        Ok(Self {
            binary,
            kubeconfig: cluster.layout.kubeconfig(),
        })
    }

    /// Runs it, and returns how it ended, whatever its exit code.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.command(arguments);
        let done = ended(&mut command, PLUGIN_TIMEOUT).await?;
        let code = done.status.code().ok_or_else(|| Error::Failed {
            command: shown(&command),
            status: done.status.to_string(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        })?;
        Ok(Ended {
            code,
            printed: String::from_utf8_lossy(&done.stdout).into_owned(),
            said: String::from_utf8_lossy(&done.stderr).into_owned(),
        })
    }

    /// Runs it, and returns what it printed; any exit code but 0 is an error.
    pub async fn text(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.run(arguments).await?;
        if ended.code == 0 {
            return Ok(ended.printed);
        }
        Err(Error::Failed {
            command: shown(&self.command(arguments)),
            status: format!("exit code {}", ended.code),
            stderr: format!("{}{}", ended.printed, ended.said),
        })
    }

    /// The same with `-o json`, read.
    pub async fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.text(&[arguments, &["-o", "json"]].concat()).await?;
        Ok(serde_json::from_str(&text)?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // The local Kubernetes is reached directly, whatever this machine's setup.
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy");
        command
    }
}
