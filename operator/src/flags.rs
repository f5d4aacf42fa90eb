//! Flags and environment of the operator.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use standby_core::Micros;
use standby_operator_core::lease::LeaseTimes;

/// Runs replicated storage clusters on Kubernetes: watches `StandbyCluster` resources, makes their
/// pods, and fails over when a primary fails.
#[derive(Clone, Debug, Parser)]
#[command(name = "standby-operator", version)]
pub struct Flags {
    /// Image of storage nodes whose cluster names none.
    #[arg(long, env = "STANDBY_NODE_IMAGE")]
    pub node_image: String,
    /// Namespaces to look after, separated by commas. Default: all.
    #[arg(long, env = "STANDBY_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "STANDBY_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How lines are logged.
    #[arg(long, env = "STANDBY_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// Which lines are logged, such as `info` or `standby_operator=debug`.
    #[arg(long, env = "STANDBY_LOG", default_value = "info")]
    pub log: String,
    /// Folder in which this pod remembers the views it has seen recorded when the process restarts. It must
    /// not be put back with the API server's store. Default: remembered in the process only.
    #[arg(long, env = "STANDBY_MEMORY_DIR", value_name = "DIR")]
    pub memory_dir: Option<PathBuf>,
    /// Namespace the operator runs in: of the election's lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "standby-system")]
    pub lease_namespace: String,
    /// Name of the election's lease.
    #[arg(long, env = "STANDBY_LEASE_NAME", default_value = "standby-operator")]
    pub lease_name: String,
    /// Name of this replica in the election. Must differ between replicas.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// A lease that has not changed for so many milliseconds is free.
    #[arg(long, env = "STANDBY_LEASE_DURATION_MS", default_value_t = 3_000)]
    pub lease_duration_ms: u64,
    /// The leader ends when it could not renew for so many milliseconds.
    #[arg(long, env = "STANDBY_LEASE_RENEW_DEADLINE_MS", default_value_t = 2_200)]
    pub lease_renew_deadline_ms: u64,
    /// The leader renews every so many milliseconds.
    #[arg(long, env = "STANDBY_LEASE_RENEW_EVERY_MS", default_value_t = 1_000)]
    pub lease_renew_every_ms: u64,
    /// Everybody else looks every so many milliseconds.
    #[arg(long, env = "STANDBY_LEASE_RETRY_EVERY_MS", default_value_t = 500)]
    pub lease_retry_every_ms: u64,
}

/// How lines are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Flags {
    /// The times of the election.
    #[must_use]
    pub fn lease_times(&self) -> LeaseTimes {
        LeaseTimes {
            duration: Micros::from_millis(self.lease_duration_ms),
            renew_deadline: Micros::from_millis(self.lease_renew_deadline_ms),
            renew_every: Micros::from_millis(self.lease_renew_every_ms),
            retry_every: Micros::from_millis(self.lease_retry_every_ms),
        }
    }

    /// The namespaces to look after; empty: all.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        self.watch_namespaces
            .iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn the_default_times_leave_room_to_give_up() {
        let flags = Flags::parse_from(["op", "--node-image", "i", "--identity", "a"]);
        assert_eq!(flags.lease_times(), LeaseTimes::default());
        assert_eq!(flags.lease_times().check(), Ok(()));
    }

    #[test]
    fn namespaces_are_split_and_empty_ones_dropped() {
        let text = [
            "op",
            "--node-image",
            "i",
            "--identity",
            "a",
            "--watch-namespaces",
            "a, b,",
        ];
        assert_eq!(Flags::parse_from(text).namespaces(), ["a", "b"]);
    }
}
