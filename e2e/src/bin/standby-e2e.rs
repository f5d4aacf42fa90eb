//! The harness as a command; `cargo xtask` checks the machine and then calls it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use standby_e2e::cluster::Cluster;
use standby_e2e::images;
use standby_e2e::progress::Progress;

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
                "up: export KUBECONFIG={}\n    kubectl is {}",
                cluster.layout.kubeconfig().display(),
                cluster.programs.text("kubectl")
            ));
        }
        Task::Down => Cluster::down(number).await?,
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
