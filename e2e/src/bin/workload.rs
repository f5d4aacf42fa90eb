//! Makes load from where it is started: in a pod, or in the network of a host. It reads a plan from
//! its standard input or from `--plan`, and ends by printing what came out as JSON.

// Its output is its purpose.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use standby_e2e::workload::{Load, Plan, Said, Workload};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

/// Writers, a watch and a checker for a cluster that speaks etcd v3.
#[derive(Parser)]
struct Arguments {
    /// Take the plan from the first line of standard input, and end when standard input does.
    #[arg(long, conflicts_with = "plan")]
    interactive: bool,
    /// A file with the plan as JSON.
    #[arg(long, required_unless_present = "interactive")]
    plan: Option<PathBuf>,
    /// How many seconds to write.
    #[arg(long, default_value_t = 10, conflicts_with = "interactive")]
    seconds: u64,
}

/// How often the number of acknowledged writes is told.
const TELL_INTERVAL: Duration = Duration::from_millis(50);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.plan {
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("--plan {}", file.display()))?;
            let workload = Workload::start(serde_json::from_slice(&text)?).await?;
            sleep(Duration::from_secs(arguments.seconds)).await;
            let (_, verdict) = workload.finish().await?;
            println!("{}", serde_json::to_string(&verdict)?);
            ensure!(verdict.is_clean(), "something was lost, missed or doubled");
            Ok(())
        }
        None => interactive().await,
    }
}

async fn interactive() -> Result<()> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("reading the plan")?;
    let plan: Plan = serde_json::from_str(&line).context("reading the plan")?;
    let workload = Workload::start(plan).await?;
    let (ended, mut end) = mpsc::channel::<()>(1);
    std::thread::spawn(move || {
        // Whatever comes, or an error: only the end counts, and dropping the sender tells it.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        drop(ended);
    });
    let mut tell = interval(TELL_INTERVAL);
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = tell.tick() => say(&Said::Acknowledged(workload.acknowledged()))?,
        }
    }
    let (history, verdict) = workload.finish().await?;
    say(&Said::Finished { history, verdict })
}

fn say(said: &Said) -> Result<()> {
    println!("{}", serde_json::to_string(said)?);
    Ok(())
}
