//! What a node is told at its start: flags, environment, and a file, in this order of precedence, all
//! by the same names. A wrong value is refused with the name of its flag.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use standby_control::{CLIENT_PORT, PROBE_PORT};
use standby_store::limits::SEGMENT_MAX_BYTES;

use crate::limits::SEGMENT_LEAST_BYTES;
use crate::tls::ClientTls;

/// A node of a Standby cluster: a primary, its synchronous standby, or a read replica.
///
/// In Kubernetes the operator starts nodes and tells each what it is. By itself, with --standalone, it
/// serves etcd v3 with one copy, for trying it and for test suites.
#[derive(Clone, Debug, Parser)]
#[command(name = "standby-node", version, max_term_width = 100)]
pub struct Config {
    /// Serve one copy to clients on this machine, without peers and without an operator.
    #[arg(long, env = "STANDBY_STANDALONE", conflicts_with_all = ["cluster_id", "tls_dir"])]
    pub standalone: bool,

    /// Name of this node; the pod's name in Kubernetes.
    #[arg(long, env = "STANDBY_NAME", default_value = "standalone", value_parser = node_name)]
    pub name: String,

    /// Identity of the cluster. Required without --standalone.
    #[arg(
        long,
        env = "STANDBY_CLUSTER_ID",
        required_unless_present = "standalone"
    )]
    pub cluster_id: Option<String>,

    /// The protocol that clients speak.
    #[arg(long, env = "STANDBY_INTERFACE", value_enum, default_value_t = Interface::Etcd)]
    pub interface: Interface,

    /// Directory of the log and the state; used by one process at a time.
    #[arg(long, env = "STANDBY_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Address for clients. Default: 0.0.0.0:2379, with --standalone 127.0.0.1:2379.
    #[arg(long, env = "STANDBY_CLIENT_LISTEN", value_name = "ADDRESS:PORT")]
    pub client_listen: Option<SocketAddr>,

    /// Address for the other nodes.
    #[arg(
        long,
        env = "STANDBY_PEER_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:2380"
    )]
    pub peer_listen: SocketAddr,

    /// Address for the operator.
    #[arg(
        long,
        env = "STANDBY_CONTROL_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:2381"
    )]
    pub control_listen: SocketAddr,

    /// Address for probes and metrics, plain HTTP. Default: 0.0.0.0:2382, with --insecure-loopback
    /// 127.0.0.1:2382. With --standalone there is none unless given.
    #[arg(long, env = "STANDBY_PROBE_LISTEN", value_name = "ADDRESS:PORT")]
    pub probe_listen: Option<SocketAddr>,

    /// Directory with tls.crt, tls.key and ca.crt. Required without --standalone and
    /// --insecure-loopback.
    #[arg(long, env = "STANDBY_TLS_DIR", value_name = "DIR",
          required_unless_present_any = ["standalone", "insecure_loopback"])]
    pub tls_dir: Option<PathBuf>,

    /// TLS on the client port.
    #[arg(long, env = "STANDBY_CLIENT_TLS", value_enum, default_value_t = ClientTls::Mutual)]
    pub client_tls: ClientTls,

    /// No TLS on any port; every address must then be a loopback address. For benchmarks and tests.
    #[arg(long, env = "STANDBY_INSECURE_LOOPBACK", conflicts_with = "tls_dir")]
    pub insecure_loopback: bool,

    /// Size of the state beyond which writes are refused, in bytes. 0 means 2 GiB, as in etcd.
    /// Without it the disk is the limit.
    #[arg(long, env = "STANDBY_QUOTA_BACKEND_BYTES", value_name = "BYTES")]
    pub quota_backend_bytes: Option<u64>,

    /// Bytes of commit log to keep for nodes that come back, beside what is not applied yet. A node that
    /// was away for longer is filled by a snapshot. Default: 256 MiB, or a quarter of the disk if that
    /// is less. At least 1 MiB; the log is given up by whole files.
    #[arg(long, env = "STANDBY_LOG_RETAIN_BYTES", value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub log_retain_bytes: Option<u64>,

    /// Size of the commit log's files, in bytes: a multiple of 4096 from 4 MiB to 1 GiB. May differ from
    /// start to start. Default: 64 MiB.
    #[arg(long, env = "STANDBY_LOG_SEGMENT_BYTES", value_name = "BYTES", value_parser = segment_bytes)]
    pub log_segment_bytes: Option<u64>,

    /// How often watchers that want it are told of progress, in milliseconds. Default: 10 minutes.
    #[arg(long, env = "STANDBY_WATCH_PROGRESS_INTERVAL_MS", value_name = "MS",
          value_parser = clap::value_parser!(u64).range(100..))]
    pub watch_progress_interval_ms: Option<u64>,

    /// Form of the log lines.
    #[arg(long, env = "STANDBY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives such as `standby_node=debug`.
    #[arg(long, env = "STANDBY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// File with values for these flags, in YAML, by the same names without the dashes in front.
    /// Flags and environment win over it.
    #[arg(long, env = "STANDBY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A protocol for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Interface {
    /// etcd v3.
    Etcd,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading at a terminal.
    Text,
}

fn segment_bytes(text: &str) -> Result<u64, String> {
    let given = text.parse::<u64>().ok();
    let fits = |bytes: &u64| {
        (SEGMENT_LEAST_BYTES..=SEGMENT_MAX_BYTES).contains(bytes) && bytes.is_multiple_of(4096)
    };
    given.filter(fits).ok_or_else(|| {
        format!("must be a multiple of 4096 from {SEGMENT_LEAST_BYTES} to {SEGMENT_MAX_BYTES}")
    })
}

fn node_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 63 characters a-z, 0-9 or -".to_owned())
    }
}

impl Config {
    /// Reads the command line, the environment, and the file that either names. Ends the process with
    /// a message on wrong input, or after --help.
    #[must_use]
    pub fn from_process() -> Self {
        Self::from_args(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    /// As [`Config::from_process`], from these arguments.
    pub fn from_args(mut args: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let Some(file) = config_file(&args) else {
            return Self::from_all(&mut command, args, None);
        };
        let in_environment = |variable: &OsStr| std::env::var_os(variable).is_some();
        let from_file = file_arguments(&command, &file, &args, in_environment);
        let from_file = from_file.map_err(|what| {
            let text = format!("--config {}: {what}", file.display());
            command.error(ErrorKind::ValueValidation, text)
        })?;
        // The first argument is the program's name.
        let begin = args.len().min(1);
        let given = (!from_file.is_empty())
            .then(|| format!("{} gives {}", file.display(), shown(&from_file)));
        args.splice(begin..begin, from_file);
        Self::from_all(&mut command, args, given)
    }

    /// From all arguments there are; `from_file` says which of them come from where, for whoever has to put
    /// a wrong one right.
    fn from_all(
        command: &mut clap::Command,
        args: Vec<OsString>,
        from_file: Option<String>,
    ) -> Result<Self, clap::Error> {
        let parsed = command.clone().try_get_matches_from(args);
        let parsed = parsed.and_then(|matches| Self::from_arg_matches(&matches));
        match parsed {
            Ok(config) => match config.check() {
                Ok(()) => Ok(config),
                Err(what) => {
                    let text = [what].into_iter().chain(from_file);
                    let text = text.collect::<Vec<_>>().join("\n\n  ");
                    Err(command.error(ErrorKind::ValueValidation, text))
                }
            },
            Err(mut error) => {
                if let Some(text) = from_file {
                    let text = ContextValue::StyledStrs(vec![text.into()]);
                    error.insert(ContextKind::Suggested, text);
                }
                Err(error)
            }
        }
    }

    /// The address for clients.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        let default: ([u8; 4], u16) = if self.standalone {
            ([127, 0, 0, 1], CLIENT_PORT)
        } else {
            ([0, 0, 0, 0], CLIENT_PORT)
        };
        self.client_listen.unwrap_or_else(|| default.into())
    }

    /// The URL that clients use by default.
    #[must_use]
    pub fn client_url(&self) -> String {
        let scheme = if self.tls_dir.is_some() && self.client_tls != ClientTls::Disabled {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.client_address())
    }

    /// The address for probes and metrics, if there is to be one.
    #[must_use]
    pub fn probe_address(&self) -> Option<SocketAddr> {
        let ip = if self.insecure_loopback {
            [127, 0, 0, 1]
        } else {
            [0, 0, 0, 0]
        };
        let default = (!self.standalone).then(|| SocketAddr::from((ip, PROBE_PORT)));
        self.probe_listen.or(default)
    }

    /// What the parser cannot know to be wrong.
    fn check(&self) -> Result<(), String> {
        if !self.insecure_loopback {
            return Ok(());
        }
        let addresses = [
            ("--client-listen", Some(self.client_address())),
            ("--peer-listen", Some(self.peer_listen)),
            ("--control-listen", Some(self.control_listen)),
            ("--probe-listen", self.probe_address()),
        ];
        for (flag, address) in addresses {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                return Err(format!(
                    "{flag} is {address}: with --insecure-loopback it must be a loopback address, \
                     such as 127.0.0.1:{}",
                    address.port()
                ));
            }
        }
        Ok(())
    }
}

/// The file that the arguments or the environment name. Found before parsing, since its values are
/// parsed too.
fn config_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(file) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(PathBuf::from(file));
        }
    }
    std::env::var_os("STANDBY_CONFIG").map(PathBuf::from)
}

/// The file's values as arguments, so that every rule of the parser counts them. Those that flag or
/// environment give another value are left out.
fn file_arguments(
    command: &clap::Command,
    file: &Path,
    given: &[OsString],
    in_environment: impl Fn(&OsStr) -> bool,
) -> Result<Vec<OsString>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let values: serde_yaml::Mapping =
        serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
    let mut arguments = Vec::new();
    for (name, value) in values {
        let name = name.as_str().unwrap_or_default();
        let flag = command.get_arguments().find(|arg| {
            arg.get_long() == Some(name) && !matches!(name, "config" | "help" | "version")
        });
        let text = match value {
            serde_yaml::Value::String(text) => Some(text),
            serde_yaml::Value::Number(number) => Some(number.to_string()),
            serde_yaml::Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        };
        let (Some(flag), Some(text)) = (flag, text) else {
            return Err(format!(
                "{name:?} is not the name of a flag with a plain value"
            ));
        };
        if is_given(given, name) || flag.get_env().is_some_and(&in_environment) {
            continue;
        }
        if flag.get_action().takes_values() {
            arguments.push(format!("--{name}={text}").into());
            continue;
        }
        match text.as_str() {
            "true" => arguments.push(format!("--{name}").into()),
            "false" => {}
            _ => return Err(format!("{name} is {text:?}, it must be true or false")),
        }
    }
    Ok(arguments)
}

/// Whether a flag is among the arguments.
fn is_given(args: &[OsString], name: &str) -> bool {
    args.iter().filter_map(|arg| arg.to_str()).any(|arg| {
        let rest = arg
            .strip_prefix("--")
            .and_then(|arg| arg.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Arguments as somebody would type them.
fn shown(arguments: &[OsString]) -> String {
    let texts = arguments.iter().map(|argument| argument.to_string_lossy());
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
