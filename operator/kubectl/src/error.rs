//! What can go wrong, what the exit code is then, and what the person can do about it.
//!
//! Every message names what was asked for and what was found; the hint says the next step.

use std::path::PathBuf;

use serde::Serialize;

use crate::limits;

/// The result of everything in the plugin.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that does not fit together.
    #[error("{0}")]
    Usage(String),
    /// There is no such cluster, or it is not clear which one is meant.
    #[error("{message}")]
    Cluster {
        /// What was looked for.
        message: String,
        /// The clusters there are, as `NAMESPACE/NAME`; none: nothing is known of any.
        found: Vec<String>,
        /// Whether the clusters of all namespaces could be looked at.
        everywhere: bool,
    },
    /// The cluster has no such node.
    #[error("{cluster} has no node {given}")]
    Node {
        /// The cluster.
        cluster: String,
        /// What was asked for.
        given: String,
        /// The nodes there are.
        found: Vec<String>,
    },
    /// It would not be safe, or the operator refused it.
    #[error("refused: {why}")]
    Refused {
        /// Why.
        why: String,
        /// What can be done instead.
        instead: Option<String>,
    },
    /// The operator has not answered an order in time.
    #[error("{what} is not done after {seconds} s: {last}")]
    Unanswered {
        /// The order.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// What the status says.
        last: String,
    },
    /// A right is missing.
    #[error("not allowed to {verb} {resource}{}: {message}", in_namespace(.namespace.as_ref()))]
    Forbidden {
        /// What was tried, such as `patch`.
        verb: &'static str,
        /// On what, such as `standbyclusters.standby.dev`.
        resource: String,
        /// Where; none: not in a namespace, or in all.
        namespace: Option<String>,
        /// The API server's words.
        message: String,
    },
    /// The API server does not know who asks.
    #[error("the API server does not accept the credentials: {0}")]
    Unauthorized(String),
    /// The resource definitions are missing.
    #[error("Standby is not installed in this Kubernetes: it has no resource {0}")]
    NotInstalled(String),
    /// The API server refused what was asked of it.
    #[error("{what}: {message}")]
    Answered {
        /// What was tried.
        what: String,
        /// The API server's words.
        message: String,
    },
    /// The API server could not be reached, or its answer not be read.
    #[error("{what}: {}", chain(.source.as_ref()))]
    Unreached {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{what}: no answer from the API server within {seconds} s")]
    Silent {
        /// What was tried.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// The cluster was changed by others again and again.
    #[error("{0} was changed by others {1} times while this change was being made")]
    Contended(String, usize),
    /// The kubeconfig cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client can be made of it.
    #[error("cannot connect: {}", chain(.0.as_ref()))]
    Connect(#[source] Box<kube::Error>),
    /// The cluster was deleted while it was looked at.
    #[error("{0} was deleted")]
    Deleted(String),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The archive of a report could not be made.
    #[error("cannot pack the report: {0}")]
    Pack(#[from] zip::result::ZipError),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
    /// Something cannot be written as JSON or YAML.
    #[error("cannot write it down: {0}")]
    Document(String),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Document(error.to_string())
    }
}

impl From<serde_yaml::Error> for Error {
    fn from(error: serde_yaml::Error) -> Self {
        Self::Document(error.to_string())
    }
}

/// An error as `-o json` writes it to standard error.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDocument {
    api_version: &'static str,
    kind: &'static str,
    exit_code: u8,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Error {
    /// The exit code: see [`crate::cli::EXIT_CODES`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Cluster { .. } | Self::Node { .. } | Self::Deleted(_) => 3,
            Self::Refused { .. } => 4,
            Self::Unanswered { .. } => 5,
            Self::Forbidden { .. } | Self::Unauthorized(_) => 6,
            Self::NotInstalled(_) => 7,
            Self::Answered { .. }
            | Self::Unreached { .. }
            | Self::Silent { .. }
            | Self::Contended(..)
            | Self::Kubeconfig(_)
            | Self::Connect(_)
            | Self::File { .. }
            | Self::Pack(_)
            | Self::Output(_)
            | Self::Document(_) => 1,
        }
    }

    /// What the person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Usage(_) => "`kubectl standby help` lists the verbs and their flags".to_owned(),
            Self::Cluster {
                found, everywhere, ..
            } => clusters_hint(found, *everywhere),
            Self::Node { found, .. } if found.is_empty() => {
                "no node has been reported yet: see `kubectl standby status`".to_owned()
            }
            Self::Node { found, .. } => format!("its nodes are {}", found.join(", ")),
            Self::Refused { instead, .. } => return instead.clone(),
            Self::Unanswered { .. } => {
                "the order stands and may still be carried out: `kubectl standby status` shows \
                 what became of it; if nothing in it changes, see whether an operator runs"
                    .to_owned()
            }
            Self::Forbidden {
                verb,
                resource,
                namespace,
                ..
            } => forbidden_hint(verb, resource, namespace.as_deref()),
            Self::Unauthorized(_) => "log in again, or choose another --context".to_owned(),
            Self::NotInstalled(_) => {
                "install the operator first: helm install standby charts/standby \
                 --namespace standby-system --create-namespace; or choose another --context"
                    .to_owned()
            }
            Self::Silent { .. } | Self::Unreached { .. } | Self::Connect(_) => {
                "is the API server reachable from here? `kubectl version` asks it, too".to_owned()
            }
            Self::Contended(..) => "try again".to_owned(),
            Self::Kubeconfig(_) => {
                "name the file by --kubeconfig or KUBECONFIG, and the cluster by --context"
                    .to_owned()
            }
            Self::File { .. } => "choose another file by --file".to_owned(),
            Self::Answered { .. }
            | Self::Deleted(_)
            | Self::Pack(_)
            | Self::Output(_)
            | Self::Document(_) => return None,
        };
        Some(hint)
    }

    /// The error as `-o json` writes it.
    #[must_use]
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument {
            api_version: crate::document::API_VERSION,
            kind: "Error",
            exit_code: self.exit_code(),
            message: self.to_string(),
            hint: self.hint(),
        }
    }
}

/// An error with everything that led to it, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

fn in_namespace(namespace: Option<&String>) -> String {
    namespace.map_or_else(String::new, |name| format!(" in namespace {name}"))
}

fn clusters_hint(found: &[String], everywhere: bool) -> String {
    match (found.is_empty(), everywhere) {
        (false, _) => {
            let shown = &found[..found.len().min(limits::CLUSTERS_SHOWN)];
            let more = match found.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more (`kubectl standby status -A`)"),
            };
            format!(
                "there are {}{more}: name one, and its namespace by -n",
                shown.join(", ")
            )
        }
        (true, true) => {
            "there is no StandbyCluster in any namespace; make one with kubectl apply".to_owned()
        }
        (true, false) => {
            "there is none in this namespace, and other namespaces cannot be looked at: name one \
             by -n"
                .to_owned()
        }
    }
}

fn forbidden_hint(verb: &str, resource: &str, namespace: Option<&str>) -> String {
    let scope = namespace.map_or("--all-namespaces".to_owned(), |name| format!("-n {name}"));
    format!(
        "ask for that right (the chart adds it to the common roles view and edit); \
         `kubectl auth can-i {verb} {resource} {scope}` tells when you have it"
    )
}
