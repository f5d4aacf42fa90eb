//! The harness as a command; `cargo xtask` checks the machine and then calls it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use standby_e2e::cluster::Cluster;
use standby_e2e::progress::Progress;
use standby_e2e::{bench, demo, images, parts, soak};

/// A local Kubernetes for trying, testing and measuring Standby.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    /// Which local cluster: two numbers are two clusters that do not meet.
    #[arg(long, global = true, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=99))]
    number: u8,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring the local Kubernetes up (anew, if it is up already).
    Up,
    /// Remove everything that `up` made.
    Down,
    /// Build the images, and load them if the local Kubernetes is up.
    Images,
    /// Show the product at work: install, write, kill the primary, then its host, lose nothing.
    Demo {
        /// Write the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Use the local Kubernetes that is up already instead of a new one.
        #[arg(long)]
        keep: bool,
        /// How often both faults are done.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
    /// Measure, and write the figures to a file.
    Bench {
        #[command(subcommand)]
        what: Bench,
        /// Write the figures to this file.
        #[arg(long, global = true, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Random faults for some minutes, with every history judged.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// The seed of the choices.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Write the custom resource definitions to `crds/`.
    Crds {
        /// Only compare, and fail when they differ.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Kill after kill on the local Kubernetes: the writers' gap and every step.
    Failover {
        /// How often each fault is done.
        #[arg(long, default_value_t = 20)]
        kills: usize,
        /// Only these faults, with commas between.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// etcd's own load generator against this product and against three members of etcd.
    Etcd {
        /// Only these loads, with commas between.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        only: Vec<String>,
        /// How often everything is measured; the median counts.
        #[arg(long, default_value_t = bench::etcd::ROUNDS)]
        rounds: usize,
    },
    /// The commit log against bare synced appends.
    Log,
    /// Memory and processor time of an idle cluster, sizes of the images.
    Footprint,
    /// How long each fault takes to be noticed, and that what lives is not failed over.
    Detection {
        /// How often each fault is done.
        #[arg(long, default_value_t = 10)]
        runs: usize,
        /// For how many minutes in all jitter, pauses and starvation are borne.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Write a figure to this file (SVG).
        #[arg(long, value_name = "FILE")]
        figure: Option<PathBuf>,
    },
    /// One operator with many simulated clusters: memory, processor time and requests, at rest and while
    /// many of them fail over at once.
    Operator {
        /// How many clusters of three nodes.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_300))]
        clusters: u16,
        /// How many of them lose their primary at once.
        #[arg(long, default_value_t = 50)]
        failovers: u16,
        /// For how many seconds it is watched at rest: at least as long as the operator's slowest regular
        /// work takes to come round.
        #[arg(long, default_value_t = 330)]
        rest: u64,
        /// `heartbeatIntervalMs` of every cluster. With the default, 1,000 clusters and their simulated
        /// nodes exchange 24,000 messages a second.
        #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(20..=2_500))]
        heartbeat_ms: u32,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let progress = Progress::new();
    let number = arguments.number;
    match arguments.task {
        Task::Up => {
            let cluster = Cluster::up(number, &progress).await?;
            progress.say(&format!(
                "up: export KUBECONFIG={} PATH={}:$PATH",
                cluster.layout.kubeconfig().display(),
                cluster.layout.bin().display()
            ));
        }
        Task::Down => Cluster::down(number).await?,
        Task::Demo { json, keep, rounds } => {
            demo::run(&demo::Options {
                number,
                json,
                keep,
                rounds,
            })
            .await?;
        }
        Task::Bench { what, json } => measure(number, what, json.as_deref()).await?,
        Task::Soak {
            minutes,
            seed,
            json,
        } => {
            soak::run(&soak::Options {
                number,
                minutes,
                seed,
                json,
            })
            .await?;
        }
        Task::Crds { check } => crds(check)?,
        Task::Images => {
            let archives = images::build(&progress).await?;
            if let Ok(cluster) = Cluster::attach(number).await {
                cluster.load(&archives).await?;
            }
            for archive in archives {
                progress.say(&archive.display().to_string());
            }
        }
    }
    Ok(())
}

async fn measure(number: u8, what: Bench, json: Option<&Path>) -> Result<()> {
    match what {
        Bench::Failover { kills, only } => {
            bench::failover::run(number, kills, &only, json).await?;
        }
        Bench::Etcd { only, rounds } => bench::etcd::run(&only, rounds, json).await?,
        Bench::Log => bench::log::run(json).await?,
        Bench::Detection {
            runs,
            minutes,
            figure,
        } => {
            let options = bench::detection::Options {
                number,
                runs,
                minutes,
                json: json.map(Into::into),
                figure,
            };
            bench::detection::run(&options).await?;
        }
        Bench::Footprint => bench::footprint::run(number, json).await?,
        Bench::Operator {
            clusters,
            failovers,
            rest,
            heartbeat_ms,
        } => {
            let options = bench::operator::Options {
                clusters: usize::from(clusters),
                failovers: usize::from(failovers.min(clusters)),
                rest: Duration::from_secs(rest),
                heartbeat_ms,
            };
            bench::operator::run(&options, json).await?;
        }
    }
    Ok(())
}

/// The definitions are generated from the types; the files are there to be read and installed.
fn crds(check: bool) -> Result<()> {
    for (name, text) in standby_api::crds() {
        for folder in ["crds", "charts/standby/files/crds"] {
            let path = parts::repository().join(folder).join(&name);
            if check {
                let found = std::fs::read_to_string(&path).unwrap_or_default();
                ensure!(
                    found == text,
                    "{} is stale: run `cargo xtask crds`",
                    path.display()
                );
            } else {
                std::fs::write(&path, &text).with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(())
}
