//! `bench etcd`: etcd's own load generator against a primary with its synchronous standby and, in the
//! same minutes, against three members of etcd. All on loopback, without TLS, with data on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use standby_testkit::LoopbackCluster;
use tokio::process::Command;

use super::{Case, chosen, percentile, save};
use crate::command;
use crate::error::{Error, Result};
use crate::etcd;
use crate::images;
use crate::limits::COMMAND_TIMEOUT;
use crate::parts::{self, Programs, cache_folder};
use crate::progress::Progress;

/// How often everything is measured unless more is asked for; the median counts.
pub const ROUNDS: usize = 3;

/// One kind of load: its name and what the load generator is told.
const LOADS: &[(&str, &str)] = &[
    (
        "put-1",
        "--conns=1 --clients=1 put --total=6000 --key-size=8 --val-size=256 \
      --key-space-size=100000",
    ),
    (
        "put-100",
        "--conns=100 --clients=100 put --total=150000 --key-size=8 --val-size=256 \
      --key-space-size=100000",
    ),
    (
        "put-1000",
        "--conns=100 --clients=1000 put --total=200000 --key-size=8 --val-size=256 \
      --key-space-size=100000",
    ),
    (
        "range-1",
        "--conns=1 --clients=1 range range-key --total=20000",
    ),
    (
        "range-100",
        "--conns=100 --clients=100 range range-key --total=200000",
    ),
    (
        "txn-put-100",
        "--conns=100 --clients=100 txn-put --total=40000 --txn-ops=4 --key-size=8 \
      --val-size=256 --key-space-size=100000",
    ),
    (
        "watch-latency",
        "watch-latency --streams=10 --watchers-per-stream=10 --put-total=500 \
      --put-rate=100",
    ),
];

#[derive(Default, Serialize)]
struct Figures {
    /// Requests a second of ours by those of etcd; for the watch, etcd's p50 by ours.
    ratios: BTreeMap<String, f64>,
    cases: Vec<Case>,
    per_second: BTreeMap<String, f64>,
    /// Of every round, so that the spread can be seen.
    per_second_by_round: BTreeMap<String, Vec<f64>>,
}

/// What the load generator said.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures the loads that `only` names, or all, so many times.
pub async fn run(only: &[String], rounds: usize, json: Option<&Path>) -> Result<()> {
    let loads = chosen(LOADS, |(name, _)| *name, only)?;
    let progress = Progress::new();
    let programs = parts::build_benchmark(&progress)?;
    images::compile(&["standby-node"], &["standby-node"], &progress).await?;
    let folder = cache_folder().join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let outcome = measure(&programs, &folder, (&loads, rounds), &progress).await;
    std::fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    let figures = outcome?;
    for (name, ratio) in &figures.ratios {
        progress.say(&format!("{name:<16} {ratio:>6.2} times etcd"));
    }
    save(&figures, json)
}

async fn measure(
    programs: &Programs,
    folder: &Path,
    (loads, rounds): (&[&(&'static str, &str)], usize),
    progress: &Progress,
) -> Result<Figures> {
    let members = etcd::start(programs, folder, 3).await?;
    let theirs: Vec<&str> = members.iter().map(|member| member.url.as_str()).collect();
    let theirs = theirs.join(",");
    let pair = LoopbackCluster::start(&images::compiled("standby-node"), 2, Some(folder))
        .await
        .map_err(|error| Error::Wrong(format!("a pair on loopback: {error:#}")))?;
    let ours = pair.client_url(0);
    let step = progress.counted("etcd's load generator");
    step.set_length(u64::try_from(rounds * loads.len() * 2).unwrap_or(u64::MAX));
    let mut said: BTreeMap<(&str, &str), Vec<Said>> = BTreeMap::new();
    for round in 0..rounds {
        for (name, load) in loads {
            let mut sides = [("standby", &ours), ("etcd", &theirs)];
            // Whoever comes second finds a warmer machine, or a fuller one.
            if round % 2 == 1 {
                sides.reverse();
            }
            for (side, endpoints) in sides {
                step.set_message(&format!("{name} on {side}"));
                said.entry((name, side))
                    .or_default()
                    .push(once(programs, endpoints, load).await?);
                step.inc(1);
            }
        }
    }
    step.done();
    Ok(summed_up(&said))
}

fn summed_up(said: &BTreeMap<(&str, &str), Vec<Said>>) -> Figures {
    let mut figures = Figures::default();
    let median = |key: &(&str, &str), of: fn(&Said) -> f64| {
        let values: Vec<f64> = said.get(key)?.iter().map(of).collect();
        percentile(&values, 50)
    };
    for (key @ (name, side), rounds) in said {
        let full = format!("{side}/{name}");
        let by_round = rounds.iter().map(|said| said.per_second).collect();
        figures.per_second_by_round.insert(full.clone(), by_round);
        if let Some(per_second) = median(key, |said| said.per_second) {
            figures.per_second.insert(full.clone(), per_second);
        }
        let times = median(key, |said| said.p50_ms).zip(median(key, |said| said.p99_ms));
        if let Some((p50_ms, p99_ms)) = times {
            figures.cases.push(Case {
                name: full,
                runs: rounds.len(),
                p50_ms,
                p99_ms,
            });
        }
        let (ours, theirs) = ((*name, "standby"), (*name, "etcd"));
        let ratio = if *name == "watch-latency" {
            median(&theirs, |said| said.p50_ms).zip(median(&ours, |said| said.p50_ms))
        } else {
            median(&ours, |said| said.per_second).zip(median(&theirs, |said| said.per_second))
        };
        if let Some((above, below)) = ratio {
            figures.ratios.insert((*name).to_owned(), above / below);
        }
    }
    figures
}

async fn once(programs: &Programs, endpoints: &str, load: &str) -> Result<Said> {
    let plain = endpoints.replace("http://", "");
    let program: PathBuf = programs.path("benchmark");
    let mut command = Command::new(program);
    command.arg(format!("--endpoints={plain}"));
    if plain.contains(',') {
        // Best for etcd: a follower would have to pass every write on.
        command.arg("--target-leader");
    }
    command.args(load.split_whitespace());
    let text = command::output(command, COMMAND_TIMEOUT * 10).await?;
    parse(&text).ok_or_else(|| Error::Wrong(format!("the load generator said: {text}")))
}

/// Reads the report of the load generator; of two reports, as for watches, the last.
fn parse(text: &str) -> Option<Said> {
    let find = |start: &str, end: &str| {
        let lines = text
            .lines()
            .map(str::trim)
            .filter_map(|line| line.strip_prefix(start));
        lines
            .filter_map(|rest| rest.trim().trim_end_matches(end).trim().parse::<f64>().ok())
            .next_back()
    };
    Some(Said {
        per_second: find("Requests/sec:", "")?,
        p50_ms: find("50% in", "secs.")? * 1000.0,
        p99_ms: find("99% in", "secs.")? * 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::{Said, parse};

    #[test]
    fn the_report_of_the_load_generator_is_read() {
        let text = "\nSummary:\n  Total:\t3.0 secs.\n  Requests/sec:\t998.1234\n\n\
                    Latency distribution:\n  50% in 0.0009 secs.\n  99% in 0.0045 secs.\n";
        let said = parse(text).unwrap();
        assert_eq!(
            said,
            Said {
                per_second: 998.1234,
                p50_ms: 0.9,
                p99_ms: 4.5
            }
        );
        assert_eq!(parse("panic: no"), None);
    }
}
