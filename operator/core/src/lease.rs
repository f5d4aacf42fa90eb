//! Leader election: what one replica of the operator should do, given the lease as it last saw it.
//!
//! A lease is timed from the moment *we* saw it change, on our own monotonic clock: the holder's wall
//! clock is never looked at. Leadership only keeps two operators from working against each other;
//! safety rests on the views alone.

use standby_core::Micros;

/// The times of the election. A holder gives up before anybody else may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// A lease that has not changed for so long is free.
    pub duration: Micros,
    /// The holder ends its process when it could not renew for so long. Below `duration`.
    pub renew_deadline: Micros,
    /// The holder renews so often.
    pub renew_every: Micros,
    /// After a failure, and while somebody else holds the lease, look again after so long.
    pub retry_every: Micros,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            duration: Micros::from_millis(3_000),
            renew_deadline: Micros::from_millis(2_200),
            renew_every: Micros::from_millis(1_000),
            retry_every: Micros::from_millis(500),
        }
    }
}

/// Times that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseTimesError {
    /// A loop without a pause.
    #[error("--{flag} is 0: it must be 1 or more")]
    Zero {
        /// Which flag.
        flag: &'static str,
    },
    /// A holder would have no time to give up.
    #[error(
        "--lease-renew-every-ms {renew} must be below --lease-renew-deadline-ms {deadline}, and that below \
         --lease-duration-ms {duration}"
    )]
    Order {
        /// How often it renews, in milliseconds.
        renew: u64,
        /// When it gives up, in milliseconds.
        deadline: u64,
        /// When others take over, in milliseconds.
        duration: u64,
    },
}

impl LeaseTimes {
    /// Whether the times leave a holder room to give up before another takes over, and the API server
    /// room between two requests.
    pub fn check(&self) -> Result<(), LeaseTimesError> {
        for (flag, time) in [
            ("lease-duration-ms", self.duration),
            ("lease-renew-deadline-ms", self.renew_deadline),
            ("lease-renew-every-ms", self.renew_every),
            ("lease-retry-every-ms", self.retry_every),
        ] {
            if time.as_millis() == 0 {
                return Err(LeaseTimesError::Zero { flag });
            }
        }
        if self.renew_every < self.renew_deadline && self.renew_deadline < self.duration {
            return Ok(());
        }
        Err(LeaseTimesError::Order {
            renew: self.renew_every.as_millis(),
            deadline: self.renew_deadline.as_millis(),
            duration: self.duration.as_millis(),
        })
    }
}

/// A lease as it stands in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; empty when it was released.
    pub holder: String,
    /// The version of the object: it changes with every renewal.
    pub version: String,
    /// When we first saw this version.
    pub changed: Micros,
}

/// What one replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Election {
    /// The lease as last seen; none when there is no such object yet.
    pub seen: Option<Seen>,
    /// When our last successful write of the lease was *sent*: others time us from a later moment.
    pub renewed: Option<Micros>,
}

impl Election {
    /// Takes in a look at the lease. The same version seen again does not restart its time.
    pub fn saw(&mut self, holder: &str, version: &str, now: Micros) {
        match &mut self.seen {
            Some(seen) if seen.version == version => holder.clone_into(&mut seen.holder),
            _ => {
                self.seen = Some(Seen {
                    holder: holder.to_owned(),
                    version: version.to_owned(),
                    changed: now,
                });
            }
        }
    }

    /// Takes in our own successful write, sent at `sent`.
    pub fn wrote(&mut self, me: &str, version: &str, sent: Micros, now: Micros) {
        self.saw(me, version, now);
        self.renewed = Some(sent);
    }
}

impl Election {
    /// For how long we may still lead without renewing; none when we do not lead.
    #[must_use]
    pub fn left(&self, times: &LeaseTimes, now: Micros) -> Option<Micros> {
        let renewed = self.renewed?;
        Some(times.renew_deadline.since(now.since(renewed)))
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write the lease for ourselves now, against the version last seen.
    Acquire,
    /// We lead; write the lease again now.
    Renew,
    /// We lead; look again after so long.
    Lead {
        /// Until the next renewal.
        wait: Micros,
    },
    /// Somebody else leads; look again after so long.
    Follow {
        /// Until the next look.
        wait: Micros,
    },
    /// We led and cannot be sure any more: end the process.
    Lost,
}

/// Decides for `me` at `now`.
#[must_use]
pub fn evaluate(election: &Election, me: &str, times: &LeaseTimes, now: Micros) -> Verdict {
    let holds = election.seen.as_ref().is_some_and(|seen| seen.holder == me);
    if let Some(renewed) = election.renewed {
        let age = now.since(renewed);
        if !holds || age >= times.renew_deadline {
            return Verdict::Lost;
        }
        if age >= times.renew_every {
            return Verdict::Renew;
        }
        return Verdict::Lead {
            wait: times.renew_every.since(age),
        };
    }
    let Some(seen) = &election.seen else {
        return Verdict::Acquire;
    };
    // Our own name from an earlier life: nobody else uses it, so there is nobody to wait for.
    if seen.holder.is_empty() || holds {
        return Verdict::Acquire;
    }
    let unchanged = now.since(seen.changed);
    if unchanged >= times.duration {
        return Verdict::Acquire;
    }
    Verdict::Follow {
        wait: times.retry_every.min(times.duration.since(unchanged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "operator-a";

    fn ms(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    fn verdict(election: &Election, now: u64) -> Verdict {
        evaluate(election, ME, &LeaseTimes::default(), ms(now))
    }

    #[test]
    fn a_lease_that_does_not_exist_or_was_released_is_taken_at_once() {
        let mut election = Election::default();
        assert_eq!(verdict(&election, 0), Verdict::Acquire);
        election.saw("", "7", ms(0));
        assert_eq!(verdict(&election, 1), Verdict::Acquire);
    }

    #[test]
    fn anothers_lease_is_timed_from_when_we_saw_it_change() {
        let mut election = Election::default();
        election.saw("operator-b", "7", ms(100));
        assert_eq!(verdict(&election, 200), Verdict::Follow { wait: ms(500) });
        election.saw("operator-b", "7", ms(2_000));
        assert_eq!(verdict(&election, 3_099), Verdict::Follow { wait: ms(1) });
        assert_eq!(verdict(&election, 3_100), Verdict::Acquire);
        election.saw("operator-b", "8", ms(3_100));
        assert_eq!(verdict(&election, 3_100), Verdict::Follow { wait: ms(500) });
    }

    #[test]
    fn a_holder_renews_in_time_and_gives_up_before_others_may_take_over() {
        let mut election = Election::default();
        election.wrote(ME, "9", ms(1_000), ms(1_050));
        assert_eq!(verdict(&election, 1_400), Verdict::Lead { wait: ms(600) });
        assert_eq!(verdict(&election, 2_000), Verdict::Renew);
        let left = |now| election.left(&LeaseTimes::default(), ms(now));
        assert_eq!((left(3_000), left(4_000)), (Some(ms(200)), Some(Micros(0))));
        assert_eq!(verdict(&election, 3_199), Verdict::Renew);
        assert_eq!(verdict(&election, 3_200), Verdict::Lost);
        let times = LeaseTimes::default();
        assert!(times.renew_deadline < times.duration);
    }

    #[test]
    fn a_holder_that_sees_anothers_name_has_lost() {
        let mut election = Election::default();
        election.wrote(ME, "9", ms(0), ms(0));
        election.saw("operator-b", "10", ms(10));
        assert_eq!(verdict(&election, 10), Verdict::Lost);
    }

    #[test]
    fn a_new_leader_acts_within_five_seconds_of_the_old_ones_death() {
        let times = LeaseTimes::default();
        let worst = times.duration.plus(times.retry_every);
        assert!(worst < ms(5_000));
    }

    #[test]
    fn times_that_leave_no_room_are_refused() {
        let times = LeaseTimes {
            renew_deadline: ms(3_000),
            ..LeaseTimes::default()
        };
        let error = times
            .check()
            .expect_err("the deadline is not below the duration");
        assert_eq!(
            error.to_string(),
            "--lease-renew-every-ms 1000 must be below --lease-renew-deadline-ms 3000, and that below \
             --lease-duration-ms 3000"
        );
    }

    #[test]
    fn a_time_of_zero_is_refused_by_the_name_of_its_flag() {
        let times = LeaseTimes {
            retry_every: ms(0),
            ..LeaseTimes::default()
        };
        let error = times.check().expect_err("it would ask without a pause");
        assert_eq!(
            error.to_string(),
            "--lease-retry-every-ms is 0: it must be 1 or more"
        );
    }
}
