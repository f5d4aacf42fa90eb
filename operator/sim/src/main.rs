//! `cargo xtask sim`: runs seeds until so many cluster-hours are simulated, and writes what happened.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use clap::Parser;
use standby_core::replica::Mutant;
use standby_system_sim::{Report, Run, run_many};

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
    let total = Mutex::new(Total {
        report: Report::new(arguments.seed),
        seeds: 0,
        failed: Vec::new(),
    });
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
    let failing: Vec<u64> = total.failed.iter().map(|(seed, _)| *seed).collect();
    let json = total.report.json(&failing, total.seeds);
    let text = serde_json::to_string_pretty(&json).context("the figures as JSON")?;
    match &arguments.json {
        Some(path) => std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => eprintln!("{text}"),
    }
    eprintln!(
        "{:.1} cluster-hours, {} seeds, {} failed",
        total.report.hours(),
        total.seeds,
        total.failed.len()
    );
    Ok(failing.is_empty())
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
    }
}
