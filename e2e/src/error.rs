//! What can go wrong in the harness. Every message names what was tried and what would help.

use std::path::PathBuf;
use std::time::Duration;

/// The result of everything in the harness.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the harness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error, or else to standard output.
        stderr: String,
    },
    /// Something did not happen in time.
    #[error("waited {} s for {what}{}", waited.as_secs(), if last.is_empty() { String::new() } else { format!("; last seen: {last}") })]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What was seen last, or why it could not be seen.
        last: String,
    },
    /// The machine lacks something that cannot be installed from here.
    #[error("this machine lacks: {0}")]
    Machine(String),
    /// The API server refused or could not be reached.
    #[error("Kubernetes: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The kubeconfig could not be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The etcd client failed where a failure is not expected.
    #[error("etcd: {0}")]
    Etcd(#[from] etcd_client::Error),
    /// A document could not be read or written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A document could not be read or written as YAML.
    #[error("YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// What was found is not what must be true.
    #[error("{0}")]
    Wrong(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl Error {
    /// An adapter for `map_err` on file operations.
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Returns [`Error::Wrong`] with `message` unless `holds`.
pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::Wrong(message()))
    }
}
