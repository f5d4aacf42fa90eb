//! Phi-accrual failure detection for one stream (Hayashibara et al., 2004): how surprising is this
//! silence, given the intervals seen so far? The operator uses it for its streams to the nodes, a
//! follower for its link to the primary. Never reads a clock and never decides about a node.

use std::collections::VecDeque;
use std::fmt;

use crate::ids::Micros;

/// Silence shorter than this never counts as loss, in milliseconds: pauses of half a second and
/// jitter of 300 ms are a living node.
pub const SILENCE_MIN_MS: u64 = 1_500;
/// Silence longer than this is loss, whatever the detector has learnt, in milliseconds.
pub const SILENCE_MAX_MS: u64 = 10_000;
/// Suspicion level at which a silent stream is lost: a false alarm in 10^8 beats.
pub const PHI_LOST: f64 = 8.0;
/// Intervals the detector remembers.
pub const DETECTOR_SAMPLES_MAX: usize = 100;
/// The least deviation the detector assumes, in milliseconds: a perfectly regular stream must not
/// make it nervous.
pub const DETECTOR_DEVIATION_MIN_MS: f64 = 100.0;

/// When silence counts as loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Suspicion level from which a stream is lost.
    pub phi: f64,
    /// Silence shorter than this is never loss.
    pub silence_min: Micros,
    /// Silence longer than this always is.
    pub silence_max: Micros,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            phi: PHI_LOST,
            silence_min: Micros::from_millis(SILENCE_MIN_MS),
            silence_max: Micros::from_millis(SILENCE_MAX_MS),
        }
    }
}

impl Thresholds {
    /// Whether a silence that is so surprising counts as loss.
    #[must_use]
    pub fn exceeded_by(&self, silence: Micros, phi: f64) -> bool {
        silence >= self.silence_max || (silence >= self.silence_min && phi >= self.phi)
    }
}

/// How a stream was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// The connection was refused: nothing listens there. Counts at once.
    Refused,
    /// Nothing arrives.
    Silent {
        /// For so long.
        silence: Micros,
        /// With this suspicion.
        phi: f64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Silent { silence, phi } => {
                write!(f, "silent for {} ms (phi {phi:.1})", silence.as_millis())
            }
        }
    }
}

/// The detector of one stream.
#[derive(Clone, Debug)]
pub struct Detector {
    /// Intervals between answers, in milliseconds.
    intervals: VecDeque<f64>,
    /// When anything last arrived; at first, when the stream was first dialled.
    heard: Micros,
    /// When the last answer to a ping arrived.
    answered: Option<Micros>,
    /// The interval assumed until some have been seen, in milliseconds.
    expected_ms: f64,
}

impl Detector {
    /// A detector for a stream that is dialled at `now` and asked every `interval`.
    #[must_use]
    pub fn new(now: Micros, interval: Micros) -> Self {
        Self {
            intervals: VecDeque::new(),
            heard: now,
            answered: None,
            expected_ms: millis(interval),
        }
    }

    /// Something arrived. `regular`: it answers a ping, so its interval is worth learning.
    pub fn heard(&mut self, now: Micros, regular: bool) {
        if regular {
            if let Some(before) = self.answered {
                if self.intervals.len() == DETECTOR_SAMPLES_MAX {
                    self.intervals.pop_front();
                }
                self.intervals.push_back(millis(now.since(before)));
            }
            self.answered = Some(now);
        }
        self.heard = self.heard.max(now);
    }

    /// The connection was made anew: the gap before it says nothing about the intervals.
    pub fn reconnected(&mut self) {
        self.answered = None;
    }

    /// Time since anything arrived.
    #[must_use]
    pub fn silence(&self, now: Micros) -> Micros {
        now.since(self.heard)
    }

    /// The suspicion level now: minus the decimal logarithm of the chance that a living stream is
    /// silent for so long.
    #[must_use]
    pub fn phi(&self, now: Micros) -> f64 {
        let (mean, deviation) = self.distribution();
        phi_of((millis(self.silence(now)) - mean) / deviation)
    }

    /// Whether the stream is lost by silence.
    #[must_use]
    pub fn lost(&self, now: Micros, thresholds: &Thresholds) -> Option<Loss> {
        let silence = self.silence(now);
        let phi = self.phi(now);
        thresholds
            .exceeded_by(silence, phi)
            .then_some(Loss::Silent { silence, phi })
    }

    /// When the stream will be lost if nothing arrives until then: what a timer is set to.
    #[must_use]
    pub fn lost_at(&self, thresholds: &Thresholds) -> Micros {
        let (mean, deviation) = self.distribution();
        let (mut low, mut high) = (0.0_f64, 40.0_f64);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if phi_of(middle) < thresholds.phi {
                low = middle;
            } else {
                high = middle;
            }
        }
        let surprising = span(mean + high * deviation);
        let silence = surprising
            .max(thresholds.silence_min)
            .min(thresholds.silence_max);
        self.heard.plus(silence)
    }

    /// Mean and deviation of the intervals, in milliseconds.
    fn distribution(&self) -> (f64, f64) {
        let mut count = 1.0;
        let mut sum = self.expected_ms;
        for interval in &self.intervals {
            count += 1.0;
            sum += interval;
        }
        let mean = sum / count;
        let mut squares = (self.expected_ms - mean).powi(2);
        for interval in &self.intervals {
            squares += (interval - mean).powi(2);
        }
        (
            mean,
            (squares / count).sqrt().max(DETECTOR_DEVIATION_MIN_MS),
        )
    }
}

/// The suspicion of a silence that is `z` deviations above the mean: the logistic approximation of
/// the normal distribution's tail.
fn phi_of(z: f64) -> f64 {
    let e = (-z * (1.5976 + 0.070_566 * z * z)).exp();
    if z > 0.0 {
        -(e / (1.0 + e)).log10()
    } else {
        -(1.0 - 1.0 / (1.0 + e)).log10()
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of a process's life fit a double"
)]
fn millis(span: Micros) -> f64 {
    span.0 as f64 / 1_000.0
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded by the caller: a positive number of milliseconds below an hour"
)]
fn span(millis: f64) -> Micros {
    Micros((millis.clamp(0.0, 3_600_000.0) * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING_MS: u64 = 500;

    fn beats(intervals_ms: impl IntoIterator<Item = u64>) -> (Detector, Micros) {
        let mut now = Micros::from_millis(1_000);
        let mut detector = Detector::new(now, Micros::from_millis(PING_MS));
        for interval in intervals_ms {
            now = now.plus(Micros::from_millis(interval));
            detector.heard(now, true);
        }
        (detector, now)
    }

    fn lost_after_ms(detector: &Detector, now: Micros) -> u64 {
        detector
            .lost_at(&Thresholds::default())
            .since(now)
            .as_millis()
    }

    #[test]
    fn a_regular_stream_is_lost_after_the_least_silence() {
        let (detector, now) = beats([500; 50]);
        assert_eq!(lost_after_ms(&detector, now), SILENCE_MIN_MS);
    }

    #[test]
    fn a_pause_of_half_a_second_on_top_of_an_interval_is_no_loss() {
        let (detector, now) = beats([500; 50]);
        let later = now.plus(Micros::from_millis(1_000));
        assert_eq!(detector.lost(later, &Thresholds::default()), None);
    }

    #[test]
    fn jitter_of_300_ms_makes_it_patient_but_not_for_long() {
        let (detector, now) = beats((0..50).map(|at| if at % 2 == 0 { 200 } else { 800 }));
        let after = lost_after_ms(&detector, now);
        assert!((1_500..3_500).contains(&after), "{after}");
    }

    #[test]
    fn silence_is_bounded_whatever_was_learnt() {
        let (detector, now) = beats((0..50).map(|at| if at % 2 == 0 { 100 } else { 9_000 }));
        assert_eq!(lost_after_ms(&detector, now), SILENCE_MAX_MS);
    }

    #[test]
    fn a_stream_that_never_answered_is_lost_too() {
        let detector = Detector::new(Micros(0), Micros::from_millis(PING_MS));
        let late = Micros::from_millis(SILENCE_MIN_MS);
        assert!(detector.lost(late, &Thresholds::default()).is_some());
    }

    #[test]
    fn the_timer_and_the_verdict_agree() {
        for pattern in [[500_u64, 500], [200, 800], [50, 1_200]] {
            let (detector, _) = beats(pattern.into_iter().cycle().take(60));
            let thresholds = Thresholds::default();
            let at = detector.lost_at(&thresholds);
            let before = Micros(at.0 - 2_000);
            assert_eq!(detector.lost(before, &thresholds), None, "{pattern:?}");
            let after = at.plus(Micros(2_000));
            assert!(detector.lost(after, &thresholds).is_some(), "{pattern:?}");
        }
    }

    #[test]
    fn a_gap_before_a_reconnect_is_not_learnt() {
        let (mut detector, now) = beats([500; 50]);
        detector.reconnected();
        let later = now.plus(Micros::from_millis(60_000));
        detector.heard(later, true);
        assert_eq!(lost_after_ms(&detector, later), SILENCE_MIN_MS);
    }
}
