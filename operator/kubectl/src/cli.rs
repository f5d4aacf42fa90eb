//! The command line: verbs, their flags, and the exit codes. Nothing is carried out here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::limits;

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing was left to do
  1  failed: the API server, the network, a file
  2  wrong usage
  3  no such cluster or node, or it is not clear which is meant
  4  refused: it would not be safe, or the operator refused the order or let it lapse
  5  --wait: the time was up before the operator had answered
  6  not allowed: a right or a valid login is missing
  7  Standby is not installed in this Kubernetes";

/// Looks at Standby clusters and gives their operator orders.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-standby",
    bin_name = "kubectl standby",
    version,
    about,
    after_help = EXIT_CODES,
    max_term_width = 100
)]
pub struct Arguments {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What holds for every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The namespace of the cluster. Default: that of the context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig. Default: the current one.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The kubeconfig file. Default: KUBECONFIG, then ~/.kube/config, then the pod this runs in.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Act as this user.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; may change.
    Text,
    /// For programs: docs/kubectl.md says which fields there are.
    Json,
    /// The same as YAML.
    Yaml,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What is: conditions, nodes, failovers, orders, and what can be done when a person is needed.
    Status(Status),
    /// What the operator would do next, and why.
    Plan(Look),
    /// For each node why it could, or could not, be promoted, and why no failover goes on.
    Why(Look),
    /// Make another node the primary, without losing anything.
    Switchover(Switchover),
    /// Make this node the primary: the answer when the primary has failed in Manual mode. A node that
    /// may lack acknowledged writes needs consent.
    Promote(Promote),
    /// Continue a lost view although some node cannot be asked.
    Recover(Recover),
    /// Give these nodes no role: never primary, never synchronous, out of the read Services.
    Fence(Fence),
    /// Let fenced nodes have a role again.
    Unfence(Unfence),
    /// Replace the pods of these nodes, one at a time, the primary last and after a switchover.
    Restart(Restart),
    /// Let the operator watch and report only: it changes nothing, and fails over nothing.
    Pause(Simple),
    /// End a pause.
    Resume(Simple),
    /// Stop every node and keep the volumes. Nothing can be written or read meanwhile.
    Hibernate(Simple),
    /// Start the nodes of a hibernated cluster again.
    Wake(Simple),
    /// Pack what support needs into a zip file. Secrets are not read.
    Report(Report),
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Which cluster to look at.
#[derive(Debug, Clone, Args)]
pub struct Look {
    /// The cluster. May be left out when the namespace has exactly one.
    pub cluster: Option<String>,
    /// All clusters of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["cluster", "namespace"])]
    pub all_namespaces: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Which cluster.
    #[command(flatten)]
    pub look: Look,
    /// Show it anew whenever it changes, until interrupted.
    #[arg(short, long, conflicts_with = "all_namespaces")]
    pub watch: bool,
}

/// What holds for every verb that changes something.
#[derive(Debug, Clone, Args)]
pub struct How {
    /// Print the patch and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until the operator has done it or refused it.
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// How long to wait at most, such as 90s or 5m.
    #[arg(long, value_parser = duration, default_value = limits::WAIT_DEFAULT, value_name = "TIME")]
    pub timeout: Duration,
}

/// A change that needs no more than the cluster.
#[derive(Debug, Args)]
pub struct Simple {
    /// The cluster. May be left out when the namespace has exactly one.
    pub cluster: Option<String>,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// `switchover`.
#[derive(Debug, Args)]
pub struct Switchover {
    /// The cluster. May be left out when the namespace has exactly one.
    pub cluster: Option<String>,
    /// The node that takes over. Default: the operator chooses the best.
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// `promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The cluster.
    pub cluster: String,
    /// The node that takes over: a pod's name.
    pub node: String,
    /// Promote the node although it may lack acknowledged writes, which are lost then. Needs
    /// --loses-up-to, --cluster and --reason.
    #[arg(long, requires_all = ["loses_up_to", "confirm", "reason"])]
    pub accept_data_loss: bool,
    /// The highest index that may be lost: at least what the cluster's options say.
    #[arg(long, value_name = "INDEX", requires = "accept_data_loss", value_parser = clap::value_parser!(i64).range(0..))]
    pub loses_up_to: Option<i64>,
    /// The cluster once more, so that nothing is lost in the wrong one.
    #[arg(
        long = "cluster",
        value_name = "NAMESPACE/NAME",
        requires = "accept_data_loss"
    )]
    pub confirm: Option<String>,
    /// Why; it is kept in the status for ever.
    #[arg(long, value_name = "TEXT", requires = "accept_data_loss")]
    pub reason: Option<String>,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// `recover`.
#[derive(Debug, Args)]
pub struct Recover {
    /// The cluster.
    pub cluster: String,
    /// The cluster once more, so that it is not the wrong one.
    #[arg(long = "cluster", value_name = "NAMESPACE/NAME")]
    pub confirm: String,
    /// The highest index that may be lost, when nobody who can go on has every acknowledged write: at
    /// least what the cluster's options say.
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(i64).range(0..))]
    pub loses_up_to: Option<i64>,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// `fence`.
#[derive(Debug, Args)]
pub struct Fence {
    /// The nodes: names of pods.
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Fence the primary although nobody can take over, so that writes stop.
    #[arg(long)]
    pub stop_writes: bool,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// Some nodes, or all of a cluster.
#[derive(Debug, Args)]
pub struct Nodes {
    /// The nodes: names of pods.
    #[arg(value_name = "NODE", required_unless_present = "all")]
    pub nodes: Vec<String>,
    /// All nodes of the cluster.
    #[arg(long, conflicts_with = "nodes")]
    pub all: bool,
    /// The cluster, for --all. May be left out when the namespace has exactly one.
    #[arg(long, value_name = "NAME", requires = "all")]
    pub cluster: Option<String>,
}

/// `unfence`.
#[derive(Debug, Args)]
pub struct Unfence {
    /// Which nodes.
    #[command(flatten)]
    pub which: Nodes,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    /// Which nodes.
    #[command(flatten)]
    pub which: Nodes,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The cluster. May be left out when the namespace has exactly one.
    pub cluster: Option<String>,
    /// The file to write. It must not exist. Default: a name made of cluster and time, here.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// How many lines of each log to take.
    #[arg(long, default_value_t = limits::LOG_LINES, value_parser = clap::value_parser!(i64).range(0..=1_000_000))]
    pub log_lines: i64,
    /// Where to look for the operator when its pods cannot be listed in all namespaces.
    #[arg(long, default_value = "standby-system", value_name = "NAMESPACE")]
    pub operator_namespace: String,
}

/// A time such as `90s` or `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("must be a time such as 90s or 5m, was {text:?}"))?;
    let time = Duration::try_from(span).map_err(|_| format!("must not be negative, was {text}"))?;
    if time > limits::ms(limits::WAIT_MAX_MS) {
        return Err(format!("must be at most 24h, was {text}"));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("90").is_err());
        assert!(duration("25h").is_err());
    }

    #[test]
    fn a_loss_needs_all_that_says_what_is_meant() {
        let words = ["x", "promote", "db", "db-3", "--accept-data-loss"];
        assert!(Arguments::try_parse_from(words).is_err());
        let all = [
            &words[..],
            &[
                "--loses-up-to",
                "9",
                "--cluster",
                "shop/db",
                "--reason",
                "r",
            ],
        ]
        .concat();
        assert!(Arguments::try_parse_from(all).is_ok());
        let without = ["x", "promote", "db", "db-3", "--loses-up-to", "9"];
        assert!(Arguments::try_parse_from(without).is_err());
    }
}
