//! The simulated fleet as a process: commands on standard input, answers on standard output.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result};
use standby_fleet::command::{Answer, Command};
use standby_fleet::serve::Fleet;
use tokio::sync::mpsc;

/// Commands that were read and not yet obeyed.
const COMMANDS_QUEUED_MAX: usize = 64;

// One thread: what the fleet takes of the machine is bounded, and the rest is the operator's.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed before"))?;
    let (send, mut commands) = mpsc::channel(COMMANDS_QUEUED_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut fleet = Fleet::default();
    let mut answers = std::io::stdout().lock();
    // Ends with its standard input.
    while let Some(line) = commands.recv().await {
        let answer = match serde_json::from_str::<Command>(&line) {
            Ok(command) => fleet.obey(command).await,
            Err(error) => Answer::Failed(format!("{error} in {line}")),
        };
        let mut text = serde_json::to_string(&answer).context("an answer is always JSON")?;
        text.push('\n');
        answers.write_all(text.as_bytes())?;
        answers.flush()?;
    }
    Ok(())
}
