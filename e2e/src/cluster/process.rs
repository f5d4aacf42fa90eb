//! Starts the programs of the cluster so that they outlive the harness, each in a cgroup by which it
//! is found and killed again, with its output in a file.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::cgroup;
use crate::error::{Error, Result};

/// Moves itself into the cgroups named before `--`, then becomes the program named after it.
const ENTER: &str =
    r#"while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@""#;

/// A program that outlives the harness.
pub struct Detached {
    /// Where its output is added to.
    pub log: PathBuf,
    /// The cgroup it starts in.
    pub cgroup: String,
}

impl Detached {
    /// Starts it and returns its process id.
    pub fn start<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Result<u32> {
        let folder = self.log.parent().expect("a log lies in a folder");
        std::fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::file("open", &self.log))?;
        let errors = log.try_clone().map_err(Error::file("open", &self.log))?;
        let mut command = Command::new("setsid");
        command
            .args(["bash", "-c", ENTER, "enter"])
            .args(cgroup::make(&self.cgroup)?);
        command.arg("--").arg(program).args(arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .current_dir("/")
            .spawn()
            .map_err(|source| Error::Start {
                program: program.display().to_string(),
                source,
            })?;
        child.id().ok_or_else(|| {
            Error::Wrong(format!(
                "{} ended at once: see {}",
                program.display(),
                self.log.display()
            ))
        })
    }
}
