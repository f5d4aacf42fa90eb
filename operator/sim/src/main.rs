//! `cargo xtask sim`: runs seeds until so many cluster-hours are simulated, and writes what happened.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use standby_core::replica::Mutant;
use standby_system_sim::{Report, Run, run_many};

/// A quarter of the time goes into memory with the system's own allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often it is said, and written, how far it is.
const SAID_EVERY: Duration = Duration::from_secs(30);

/// Simulates the whole system.
#[derive(Parser)]
#[command(bin_name = "cargo xtask sim")]
struct Arguments {
    /// Simulated cluster-hours to run.
    #[arg(long, default_value_t = 10.0)]
    hours: f64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run so many seeds, whatever the hours.
    #[arg(long)]
    runs: Option<u64>,
    /// Write the figures there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads; each runs seeds of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Let every node break this rule on purpose; the first seed that notices ends the run.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Print everything that happens.
    #[arg(long)]
    verbose: bool,
}

struct Total {
    report: Report,
    seeds: u64,
    failed: Vec<(u64, String)>,
    begun: Instant,
    said: Instant,
}

impl Total {
    fn new(first_seed: u64) -> Self {
        Self {
            report: Report::new(first_seed),
            seeds: 0,
            failed: Vec::new(),
            begun: Instant::now(),
            said: Instant::now(),
        }
    }

    /// The figures, to a file if one was named.
    fn write(&self, file: Option<&Path>) -> Result<()> {
        let failing: Vec<u64> = self.failed.iter().map(|(seed, _)| *seed).collect();
        let json = self.report.json(&failing, self.seeds);
        let text = serde_json::to_string_pretty(&json).context("the figures as JSON")?;
        let Some(path) = file else {
            eprintln!("{text}");
            return Ok(());
        };
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// How far a long run is. A run that is ended early leaves the figures so far.
    fn tell(&mut self, arguments: &Arguments) {
        if self.said.elapsed() < SAID_EVERY {
            return;
        }
        self.said = Instant::now();
        let hours = self.report.hours();
        let left = if arguments.runs.is_none() && hours > 0.0 {
            let seconds = self.begun.elapsed().as_secs_f64() * (arguments.hours / hours - 1.0);
            format!(", {:.0} minutes left", seconds.max(0.0) / 60.0)
        } else {
            String::new()
        };
        let failed = self.failed.len();
        eprintln!(
            "{hours:.1} cluster-hours, {} seeds, {failed} failed{left}",
            self.seeds
        );
        if let Some(file) = &arguments.json
            && let Err(error) = self.write(Some(file))
        {
            eprintln!("{error:#}");
        }
    }
}

fn main() -> Result<ExitCode> {
    let clean = run(&Arguments::parse())?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs; whether nothing was broken.
fn run(arguments: &Arguments) -> Result<bool> {
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(arguments.seed);
    let total = Mutex::new(Total::new(arguments.seed));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| work(arguments, &next, &total));
        }
    });
    let mut total = total.into_inner().expect("no thread ended in a panic");
    total.failed.sort();
    for (seed, text) in &total.failed {
        eprintln!("seed {seed} failed:\n{text}\n");
    }
    total.write(arguments.json.as_deref())?;
    eprintln!(
        "{:.1} cluster-hours, {} seeds, {} failed",
        total.report.hours(),
        total.seeds,
        total.failed.len()
    );
    Ok(total.failed.is_empty())
}

/// The mutant of this name.
fn mutant(name: Option<&str>) -> Option<Mutant> {
    let name = name?;
    let found = Mutant::ALL
        .into_iter()
        .find(|mutant| format!("{mutant:?}") == name);
    Some(found.unwrap_or_else(|| panic!("--mutant {name}: it must be one of {:?}", Mutant::ALL)))
}

fn work(arguments: &Arguments, next: &AtomicU64, total: &Mutex<Total>) {
    const FAILURES_MAX: usize = 20;
    let how = Run {
        mutant: mutant(arguments.mutant.as_deref()),
        act: None,
        verbose: arguments.verbose,
    };
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        {
            let total = total.lock().expect("no thread ends in a panic");
            let enough = match arguments.runs {
                Some(runs) => seed >= arguments.seed + runs,
                None => total.report.hours() >= arguments.hours,
            };
            let most = if arguments.mutant.is_some() {
                1
            } else {
                FAILURES_MAX
            };
            if enough || total.failed.len() >= most {
                return;
            }
        }
        let outcome = run_many(seed, how);
        let mut total = total.lock().expect("no thread ends in a panic");
        total.seeds += 1;
        match outcome {
            Ok(report) => total.report.add(&report),
            Err(text) => total.failed.push((seed, text)),
        }
        total.tell(arguments);
    }
}
