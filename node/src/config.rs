//! What a node is told at its start: flags, environment, and a file, in this order of precedence, all
//! by the same names. A wrong value is refused with the name of its flag.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args as _, CommandFactory, FromArgMatches, Parser, ValueEnum};

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

    /// Address for probes and metrics, plain HTTP. With --standalone there is none unless given.
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
    pub fn from_args(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        if let Some(file) = config_file(&args) {
            command = with_file(command, &file)?;
        }
        let matches = command.clone().try_get_matches_from(args)?;
        let config = Self::from_arg_matches(&matches)?;
        config.check(&mut command)?;
        Ok(config)
    }

    /// The address for clients.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        let default: ([u8; 4], u16) = if self.standalone {
            ([127, 0, 0, 1], 2379)
        } else {
            ([0, 0, 0, 0], 2379)
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
        let default = (!self.standalone).then(|| SocketAddr::from(([0, 0, 0, 0], 2382)));
        self.probe_listen.or(default)
    }

    fn check(&self, command: &mut clap::Command) -> Result<(), clap::Error> {
        if !self.insecure_loopback {
            return Ok(());
        }
        let addresses = [
            ("--client-listen", Some(self.client_address())),
            ("--peer-listen", Some(self.peer_listen)),
            ("--control-listen", Some(self.control_listen)),
        ];
        for (flag, address) in addresses {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                let text = format!(
                    "{flag} is {address}: with --insecure-loopback it must be a loopback address, \
                     such as 127.0.0.1:{}",
                    address.port()
                );
                return Err(command.error(clap::error::ErrorKind::ValueValidation, text));
            }
        }
        Ok(())
    }
}

/// The file that the arguments or the environment name. Found before parsing, since its values are
/// defaults of the parser.
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

/// Makes the file's values the defaults.
fn with_file(mut command: clap::Command, file: &Path) -> Result<clap::Command, clap::Error> {
    use clap::error::ErrorKind;
    let wrong = |command: &mut clap::Command, what: String| {
        command.error(
            ErrorKind::ValueValidation,
            format!("--config {}: {what}", file.display()),
        )
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return Err(wrong(&mut command, error.to_string())),
    };
    let values: serde_yaml::Mapping = match serde_yaml::from_str(&text) {
        Ok(values) => values,
        Err(error) => return Err(wrong(&mut command, error.to_string())),
    };
    for (name, value) in values {
        let name = name.as_str().unwrap_or_default().to_owned();
        let id = name.replace('-', "_");
        let known = Config::augment_args(clap::Command::new(""))
            .get_arguments()
            .any(|arg| arg.get_id() == id.as_str() && arg.get_long() == Some(name.as_str()));
        let text = match value {
            serde_yaml::Value::String(text) => Some(text),
            serde_yaml::Value::Number(number) => Some(number.to_string()),
            serde_yaml::Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        };
        let Some(text) = text.filter(|_| known && name != "config") else {
            let what = format!("{name:?} is not the name of a flag with a plain value");
            return Err(wrong(&mut command, what));
        };
        command = command.mut_arg(id, |arg| arg.default_value(text).required(false));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let args = std::iter::once("standby-node").chain(args.iter().copied());
        Config::from_args(args.map(OsString::from).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_parser_is_sound() {
        Config::command().debug_assert();
    }

    #[test]
    fn standalone_serves_loopback_only() {
        let config = parse(&["--standalone", "--data-dir", "d"]).expect("it is enough");
        assert_eq!(config.client_address().to_string(), "127.0.0.1:2379");
        assert_eq!(config.probe_address(), None);
    }

    #[test]
    fn a_wrong_value_names_its_flag() {
        let error = parse(&["--standalone", "--data-dir", "d", "--client-listen", "here"]);
        assert!(error.expect_err("no address").contains("--client-listen"));
        let error = parse(&["--standalone", "--data-dir", "d", "--name", "No_Name"]);
        assert!(error.expect_err("no name").contains("--name"));
    }

    #[test]
    fn the_log_keeps_what_it_is_told_to() {
        let with =
            |flag: &str, value: &str| parse(&["--standalone", "--data-dir", "d", flag, value]);
        let config = with("--log-segment-bytes", "4194304").expect("it is the least");
        assert_eq!(config.log_segment_bytes, Some(4 << 20));
        for wrong in ["4190208", "4194305", "2147483648", "64M"] {
            let error = with("--log-segment-bytes", wrong).expect_err("no such size");
            assert!(error.contains("multiple of 4096"), "{error}");
        }
        assert!(with("--log-retain-bytes", "1048575").is_err());
        assert!(with("--log-retain-bytes", "1048576").is_ok());
    }

    #[test]
    fn a_node_of_a_cluster_needs_its_cluster_and_certificates() {
        let error = parse(&["--data-dir", "d"]).expect_err("neither is given");
        assert!(
            error.contains("--cluster-id") && error.contains("--tls-dir"),
            "{error}"
        );
    }

    #[test]
    fn without_tls_only_loopback_is_served() {
        let common = [
            "--data-dir",
            "d",
            "--cluster-id",
            "c",
            "--insecure-loopback",
        ];
        let error = parse(&common).expect_err("the default is every address");
        assert!(error.contains("--client-listen is 0.0.0.0:2379"), "{error}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.yaml");
        std::fs::write(&file, "data-dir: from-file\nname: from-file\n").expect("it is writable");
        let file = file.to_str().expect("a plain path");
        let config = parse(&["--standalone", "--config", file, "--name", "flag"]);
        let config = config.expect("the file gives the rest");
        assert_eq!(config.name, "flag");
        assert_eq!(config.data_dir, Path::new("from-file"));
    }

    #[test]
    fn an_unknown_name_in_the_file_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.yaml");
        std::fs::write(&file, "data-directory: x\n").expect("it is writable");
        let error = parse(&[
            "--standalone",
            "--config",
            file.to_str().expect("a plain path"),
        ]);
        assert!(error.expect_err("no such flag").contains("data-directory"));
    }
}
