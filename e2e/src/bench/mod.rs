//! Measurements: each says what it did and writes its figures as JSON. Ratios come from runs that
//! alternate in the same minutes, because a shared machine is never twice the same.

pub mod detection;
pub mod etcd;
pub mod failover;
pub mod figure;
pub mod footprint;
pub mod log;
pub mod operator;
pub mod processes;

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};

/// Times of something that was done several times.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// What was done.
    pub name: String,
    /// How often.
    pub runs: usize,
    /// Half of them were at most so long, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were at most so long, in milliseconds.
    pub p99_ms: f64,
}

impl Case {
    /// Sums up times in milliseconds; nothing without any.
    pub fn of(name: impl Into<String>, times_ms: &[f64]) -> Option<Self> {
        let p50_ms = percentile(times_ms, 50)?;
        let p99_ms = percentile(times_ms, 99)?;
        Some(Self {
            name: name.into(),
            runs: times_ms.len(),
            p50_ms,
            p99_ms,
        })
    }
}

/// Those of `all` that were asked for by their whole name; all of them when none was.
///
/// # Errors
/// When nothing has that name.
pub fn chosen<'a, T>(
    all: &'a [T],
    name: impl Fn(&T) -> &'static str,
    only: &[String],
) -> Result<Vec<&'a T>> {
    let names: Vec<&str> = all.iter().map(&name).collect();
    if let Some(unknown) = only.iter().find(|only| !names.contains(&only.as_str())) {
        return Err(Error::Wrong(format!(
            "--only {unknown}: must be one of {}, or several with commas between",
            names.join(", ")
        )));
    }
    let wanted = |item: &&T| only.is_empty() || only.iter().any(|only| only == name(item));
    Ok(all.iter().filter(wanted).collect())
}

/// The smallest value that at least `percent` of 100 values do not exceed.
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Writes figures to a file, if one was named.
pub fn save(figures: &impl Serialize, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures)? + "\n";
    std::fs::write(file, text).map_err(Error::file("write", file))
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn the_99th_percentile_of_few_values_is_the_highest() {
        let values = [3.0, 1.0, 2.0];
        assert_eq!(percentile(&values, 50), Some(2.0));
        assert_eq!(percentile(&values, 99), Some(3.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
