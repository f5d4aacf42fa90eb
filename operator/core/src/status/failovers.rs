//! The history of failovers, with the times of their steps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use standby_api::{FailoverStatus, FailoverSteps, StandbyClusterStatus, names};
use standby_core::Micros;

use super::{Moment, TEXT_LENGTH_MAX, cut, small};
use crate::memory::{Failover, Memory};

/// The recorded history with the failover in memory brought up to date, the newest first.
pub(super) fn failovers(
    memory: &Memory,
    before: Option<&StandbyClusterStatus>,
    moment: Moment,
) -> Vec<FailoverStatus> {
    let mut rows = before
        .map(|status| status.failovers.clone())
        .unwrap_or_default();
    // A failover that was never recorded did not happen.
    if let Some(failover) = memory.failover.as_ref().filter(|f| f.recorded.is_some()) {
        let row = row(failover, moment);
        match rows.iter_mut().find(|known| known.epoch == row.epoch) {
            // The wall clock may have been set since: the first note of the time stays.
            Some(known) => {
                *known = FailoverStatus {
                    time: known.time.clone(),
                    ..row
                }
            }
            None => rows.push(row),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.epoch));
    rows.truncate(names::FAILOVERS_MAX);
    rows
}

fn row(failover: &Failover, moment: Moment) -> FailoverStatus {
    let after = |at: Micros| small(at.since(failover.noticed).as_millis());
    FailoverStatus {
        epoch: small(failover.from.next().0),
        fault: failover.reason.to_string(),
        reason: cut(&failover.why, TEXT_LENGTH_MAX),
        from: failover.old.clone(),
        to: failover.new.clone(),
        time: MicroTime(moment.wall_at(failover.noticed)),
        steps: FailoverSteps {
            detected_ms: Some(after(failover.detected)),
            view_recorded_ms: failover.recorded.map(after),
            promoted_ms: failover.promoted.map(after),
            announced_ms: failover.announced.map(after),
            synchronous_again_ms: failover.synchronous.map(after),
        },
        total_ms: failover.synchronous.map(after),
    }
}
