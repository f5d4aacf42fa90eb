//! `cargo xtask model`: explores, counts the deliberate faults that are caught, and writes what it found.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use standby_model::explore::{Explored, Limits, explore};
use standby_model::runs;
use standby_model::steps::{Bounds, Rules};

/// Explores the model of the view protocol.
#[derive(Parser)]
#[command(bin_name = "cargo xtask model")]
struct Arguments {
    /// The full bounds instead of the quick ones: about an hour on two cores, up to 8 GB of memory.
    #[arg(long)]
    full: bool,
    /// Only the run of this name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Leave out the deliberate faults.
    #[arg(long)]
    no_mutants: bool,
    /// Writes states, depth, time and mutants to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What all runs found together.
#[derive(Default)]
struct Sum {
    states: usize,
    transitions: usize,
    depth: usize,
    seconds: f64,
    incomplete: usize,
    runs: Vec<serde_json::Value>,
}

fn main() -> Result<ExitCode> {
    let clean = run(&Arguments::parse())?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<bool> {
    let bounds: &[Bounds] = if arguments.full {
        &runs::FULL
    } else {
        &runs::QUICK
    };
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| only == name);
    let mut sum = Sum::default();
    for bounds in bounds.iter().filter(|bounds| wanted(bounds.name)) {
        eprintln!("{}: {bounds}", bounds.name);
        let limits = Limits {
            talk: arguments.full,
            ..Limits::default()
        };
        let explored = explore(&Rules::new(*bounds), &limits);
        sum.add(bounds, &explored);
        if let Some(violation) = explored.violation {
            eprintln!("violated:\n{violation}");
        }
    }
    let (total, caught) = if arguments.no_mutants {
        (0, 0)
    } else {
        count_caught()
    };
    let complete = sum.incomplete == 0 && !sum.runs.is_empty();
    let report = json!({
        "states": sum.states,
        "transitions": sum.transitions,
        "complete": complete,
        "depth": sum.depth,
        "seconds": sum.seconds.round(),
        "mutants": { "total": total, "caught": caught },
        "runs": sum.runs,
    });
    eprintln!(
        "{} states, complete: {complete}, mutants caught: {caught} of {total}",
        sum.states
    );
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
    }
    Ok(complete && caught == total)
}

impl Sum {
    fn add(&mut self, bounds: &Bounds, explored: &Explored) {
        let seconds = explored.time.as_secs_f64();
        eprintln!(
            "  {} states, {} steps between them, depth {}, {seconds:.0} s, complete: {}",
            explored.states, explored.transitions, explored.depth, explored.complete
        );
        self.states += explored.states;
        self.transitions += explored.transitions;
        self.depth = self.depth.max(explored.depth);
        self.seconds += seconds;
        self.incomplete += usize::from(!explored.complete);
        self.runs.push(json!({
            "name": bounds.name,
            "bounds": bounds.to_string(),
            "states": explored.states,
            "transitions": explored.transitions,
            "depth": explored.depth,
            "seconds": seconds.round(),
            "complete": explored.complete,
            "violation": explored.violation.as_ref().map(ToString::to_string),
        }));
    }
}

fn count_caught() -> (usize, usize) {
    let teeth = runs::teeth();
    let total = teeth.len();
    let mut caught = 0;
    for (fault, bounds) in teeth {
        let explored = explore(&Rules::new(bounds).broken(fault), &Limits::default());
        let noticed = explored.violation.is_some();
        caught += usize::from(noticed);
        let by = explored
            .violation
            .map_or_else(|| "NOT caught".to_owned(), |v| v.breach.to_string());
        eprintln!(
            "  {fault:?}: {by} ({}, {} states)",
            bounds.name, explored.states
        );
    }
    (total, caught)
}
