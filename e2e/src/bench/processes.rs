//! What processes of this machine take: memory and processor time, from `/proc`.

use serde::Serialize;

use crate::error::{Error, Result};

/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
const KIB_PER_MIB: f64 = 1024.0;

/// What a process took during a measurement.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// Memory at the end, in MiB.
    pub resident_mib: f64,
    /// The most memory it ever had, in MiB.
    pub peak_mib: f64,
    /// Processor time, as a share of one processor.
    pub processor_percent: f64,
}

/// A process under measurement.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    process: i32,
    ticks: u32,
}

impl Watched {
    /// Begins to count.
    pub fn begin(process: i32) -> Result<Self> {
        let ticks = ticks(process)?;
        Ok(Self { process, ticks })
    }

    /// What it took since, in so many seconds.
    pub fn end(self, seconds: f64) -> Result<Taken> {
        let spent = f64::from(ticks(self.process)? - self.ticks) / TICKS_PER_SECOND;
        Ok(Taken {
            resident_mib: memory_mib(self.process, "VmRSS:")?,
            peak_mib: memory_mib(self.process, "VmHWM:")?,
            processor_percent: 100.0 * spent / seconds,
        })
    }
}

/// Processor time so far, in the kernel's ticks.
fn ticks(process: i32) -> Result<u32> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    // The second field is a name in parentheses and may hold anything; user and system time are the
    // 14th and 15th.
    let after = text.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| {
        after
            .split_whitespace()
            .nth(at)
            .and_then(|text| text.parse().ok())
    };
    let times: Option<(u32, u32)> = field(11).zip(field(12));
    times
        .map(|(user, system)| user + system)
        .ok_or_else(|| Error::Wrong(format!("{path} cannot be read")))
}

fn memory_mib(process: i32, field: &str) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    kib.map(|kib| f64::from(kib) / KIB_PER_MIB)
        .ok_or_else(|| Error::Wrong(format!("{path} has no {field}")))
}

#[cfg(test)]
mod tests {
    use super::Watched;

    #[test]
    fn this_process_takes_some_memory() {
        let process = i32::try_from(std::process::id()).expect("small");
        let taken = Watched::begin(process).and_then(|it| it.end(1.0));
        let taken = taken.expect("it can be read");
        assert!(taken.resident_mib > 1.0 && taken.peak_mib >= taken.resident_mib);
    }
}
