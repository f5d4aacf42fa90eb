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
    use bytes::Bytes;
    use standby_core::{Entry, Epoch, Index};
    use standby_store::log::{Log, LogOptions};

    fn at(epoch: u64, index: u64) -> Position {
        Position::new(Epoch(epoch), Index(index))
    }

    fn fitted(applied: Position) -> Fitted {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        };
        let (mut log, _, _) = Log::open(dir.path(), options).expect("a new log opens");
        log.reset(at(1, 4)).expect("it can begin anywhere");
        let entries: Vec<_> = (5..9)
            .map(|i| Entry::data(at(2, i), Bytes::from("x")))
            .collect();
        log.append(&entries).expect("it takes entries");
        log.sync().expect("it syncs");
        drop(log);
        let (mut log, _, recovered) = Log::open(dir.path(), options).expect("it opens again");
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
}
