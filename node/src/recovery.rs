//! What a start makes of the volume: whether log and state fit together, and what to doubt.
//!
//! It never repairs by guessing: what cannot be continued is refilled from the primary.

use standby_core::replica::Doubt;
use standby_core::{LogOutline, Position};
use standby_store::log::{LogError, LogWriter, Recovered};

/// The log as the core shall see it.
#[derive(Debug)]
pub struct Fitted {
    /// The log's outline.
    pub outline: LogOutline,
    /// Why the node must not lead.
    pub doubt: Option<Doubt>,
}

/// Fits the log to the state that is applied up to `applied`.
pub fn fit(
    log: &mut LogWriter,
    recovered: &Recovered,
    applied: Position,
) -> Result<Fitted, LogError> {
    let outline = LogOutline {
        base: recovered.base,
        epochs: recovered.epochs.clone(),
        last: recovered.last,
    };
    if let Some(damage) = &recovered.damaged {
        let doubt = Some(Doubt::DamagedLog {
            what: damage.to_string(),
        });
        return Ok(Fitted { outline, doubt });
    }
    if applied.index < recovered.base.index {
        // The state was lost, or a snapshot was half taken in; the log alone cannot rebuild it.
        let what = format!(
            "the state reaches only {applied}, the log begins after {}",
            recovered.base
        );
        return Ok(Fitted {
            outline,
            doubt: Some(Doubt::DamagedLog { what }),
        });
    }
    if outline.epoch_at(applied.index) == Some(applied.epoch) {
        return Ok(Fitted {
            outline,
            doubt: None,
        });
    }
    // A snapshot was taken in, and the process ended before the log began anew after it.
    log.reset(applied)?;
    let outline = LogOutline {
        base: applied,
        epochs: Vec::new(),
        last: applied,
    };
    Ok(Fitted {
        outline,
        doubt: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use standby_core::{Entry, Epoch, Index};
    use standby_etcd::state::{EtcdState, REWRITTEN_FROM};
    use standby_interface::StateMachine as _;
    use standby_store::engine::{FjallEngine, FjallOptions};
    use standby_store::log::{Log, LogOptions};
    use standby_store::volume::Volume;

    fn at(epoch: u64, index: u64) -> Position {
        Position::new(Epoch(epoch), Index(index))
    }

    fn fitted(applied: Position) -> Fitted {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (mut log, _, _) = Log::open(dir.path(), small()).expect("a new log opens");
        log.reset(at(1, 4)).expect("it can begin anywhere");
        let entries: Vec<_> = (5..9)
            .map(|i| Entry::data(at(2, i), Bytes::from("x")))
            .collect();
        log.append(&entries).expect("it takes entries");
        log.sync().expect("it syncs");
        drop(log);
        let (mut log, _, recovered) = Log::open(dir.path(), small()).expect("it opens again");
        fit(&mut log, &recovered, applied).expect("the disk works")
    }

    #[test]
    fn a_state_within_the_log_is_continued() {
        for applied in [at(1, 4), at(2, 6), at(2, 8)] {
            let fitted = fitted(applied);
            assert_eq!(fitted.doubt, None);
            assert_eq!(fitted.outline.last, at(2, 8));
        }
    }

    #[test]
    fn a_state_that_is_not_of_this_log_comes_from_a_snapshot() {
        let fitted = fitted(at(3, 20));
        assert_eq!(fitted.doubt, None);
        assert_eq!(fitted.outline.base, at(3, 20));
    }

    #[test]
    fn a_state_that_the_log_cannot_continue_is_doubted() {
        assert!(matches!(
            fitted(Position::START).doubt,
            Some(Doubt::DamagedLog { .. })
        ));
    }

    /// A volume with an identity, a log from 5 to 8, and a state that has all of it.
    fn used_volume(dir: &Path) {
        let volume = Volume::open(dir, "a").expect("a new volume opens");
        let (mut log, _, _) = Log::open(&volume.log_dir(), small()).expect("a new log opens");
        log.reset(at(1, 4)).expect("it can begin anywhere");
        let entries: Vec<_> = (5..9).map(|i| Entry::open(at(i, i))).collect();
        log.append(&entries).expect("it takes entries");
        log.sync().expect("it syncs");
        let mut state = state_in(&volume);
        state.begin_restore().expect("the disk works");
        state.finish_restore(at(1, 4)).expect("the disk works");
        state.apply(&entries).expect("the disk works");
        state.checkpoint().expect("the disk works");
    }

    fn small() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        }
    }

    fn state_in(volume: &Volume) -> EtcdState {
        let options = FjallOptions::with_apart(REWRITTEN_FROM);
        let engine = FjallEngine::open(&volume.engine_dir(), &options);
        EtcdState::open(Arc::new(engine.expect("it opens"))).expect("it is whole")
    }

    #[test]
    fn a_volume_that_is_given_up_can_be_started_wherever_that_broke_off() {
        for done in 0..=3 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            used_volume(dir.path());
            let mut volume = Volume::open(dir.path(), "a").expect("it opens again");
            let old = volume.identity().volume.clone();
            // In the order of the log's thread.
            if done >= 1 {
                volume.renew_identity().expect("the disk works");
            }
            if done >= 2 {
                FjallEngine::destroy(&volume.engine_dir()).expect("the disk works");
            }
            if done >= 3 {
                let (mut log, _, _) = Log::open(&volume.log_dir(), small()).expect("it opens");
                log.reset(Position::START).expect("the disk works");
            }
            drop(volume);

            let volume = Volume::open(dir.path(), "a").expect("it opens again");
            assert_eq!(volume.identity().volume == old, done == 0);
            let (mut log, _, found) = Log::open(&volume.log_dir(), small()).expect("it opens");
            let applied = state_in(&volume).applied();
            let fitted = fit(&mut log, &found, applied).expect("the disk works");
            let has = (applied, fitted.outline.last, fitted.doubt.is_some());
            let expected = match done {
                // All of it, as another node from the second on.
                0 | 1 => (at(8, 8), at(8, 8), false),
                // A log that cannot be continued: the primary fills the node again.
                2 => (Position::START, at(8, 8), true),
                _ => (Position::START, Position::START, false),
            };
            assert_eq!(has, expected, "after {done} steps");
        }
    }
}
