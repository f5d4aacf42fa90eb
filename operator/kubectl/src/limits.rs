//! Every limit of the plugin, with its unit.

use std::time::Duration;

/// How long one call of the Kubernetes API may take.
pub const API_CALL_MS: u64 = 15_000;
/// How long one log of a container may take to arrive.
pub const LOG_CALL_MS: u64 = 60_000;
/// How often `--wait` looks.
pub const WAIT_LOOK_MS: u64 = 250;
/// After so long `--wait` takes an answer that stood there before the order was given: the operator
/// has looked at it since, and found nothing else to say.
pub const OLD_ANSWER_MS: u64 = 5_000;
/// How long `--wait` waits, unless `--timeout` says otherwise.
pub const WAIT_DEFAULT: &str = "60s";
/// The longest `--timeout`, in milliseconds: a day.
pub const WAIT_MAX_MS: u64 = 86_400_000;
/// How often a change is tried again because the cluster was changed meanwhile.
pub const WRITE_ATTEMPTS: usize = 8;
/// How often `status --watch` draws anew without a change, so that ages stay right.
pub const REDRAW_MS: u64 = 1_000;
/// At every so many of these the leases of the operators are looked at.
pub const REDRAWS_PER_OPERATOR_LOOK: u32 = 5;
/// The most objects of one kind that are asked for in one call.
pub const LIST_ITEMS: u32 = 500;
/// The most pages of such a list.
pub const LIST_PAGES: usize = 40;
/// How many clusters the hint of an error names.
pub const CLUSTERS_SHOWN: usize = 10;
/// An operator whose lease has not been renewed for so long, by this machine's clock, does not lead
/// any more; the clocks of two machines differ by seconds.
pub const OPERATOR_SILENT_MS: i64 = 30_000;
/// How many lines of each log a report takes, unless `--log-lines` says otherwise.
pub const LOG_LINES: i64 = 5_000;
/// The most bytes of each log that a report takes.
pub const LOG_BYTES: i64 = 8 << 20;

/// So many milliseconds.
#[must_use]
pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
