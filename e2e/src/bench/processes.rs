//! What processes of this machine take: memory and processor time, from `/proc`.

use std::time::Duration;

use procfs::ProcError;
use procfs::process::{Process, Stat};
use serde::Serialize;

use crate::error::{Error, Result};

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
    spent: Duration,
}

impl Watched {
    /// Begins to count.
    pub fn begin(process: i32) -> Result<Self> {
        let spent = spent(&of(process)?.stat().map_err(unreadable(process))?);
        Ok(Self { process, spent })
    }

    /// What it took since, in so many seconds.
    pub fn end(self, seconds: f64) -> Result<Taken> {
        let process = of(self.process)?;
        let unreadable = unreadable(self.process);
        let stat = process.stat().map_err(&unreadable)?;
        let status = process.status().map_err(&unreadable)?;
        let spent = spent(&stat).saturating_sub(self.spent).as_secs_f64();
        let mib = |kib: Option<u64>| {
            let kib = u32::try_from(kib.unwrap_or_default()).unwrap_or(u32::MAX);
            f64::from(kib) / KIB_PER_MIB
        };
        Ok(Taken {
            resident_mib: mib(status.vmrss),
            peak_mib: mib(status.vmhwm),
            processor_percent: 100.0 * spent / seconds,
        })
    }
}

/// Processor time so far.
fn spent(stat: &Stat) -> Duration {
    let ticks = stat.utime + stat.stime;
    Duration::from_millis(ticks * 1_000 / procfs::ticks_per_second())
}

fn of(process: i32) -> Result<Process> {
    Process::new(process).map_err(unreadable(process))
}

fn unreadable(process: i32) -> impl Fn(ProcError) -> Error {
    move |error| Error::Wrong(format!("process {process} cannot be looked at: {error}"))
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
