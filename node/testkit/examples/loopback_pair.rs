//! A primary with its synchronous standby on loopback, until standard input ends: for load tools and
//! profilers.
//!
//! ```text
//! loopback_pair BINARY [FOLDER]
//! ```
//!
//! Prints `CLIENT_URL PRIMARY_PID STANDBY_PID`. The volumes lie under FOLDER while it runs.

#![allow(clippy::print_stdout, reason = "a program that prints its result")]

use std::path::PathBuf;

use anyhow::Context as _;
use standby_testkit::LoopbackCluster;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let binary = words.next().context("BINARY is missing")?;
    let folder = words.next();
    let cluster = LoopbackCluster::start(&binary, 2, folder.as_deref()).await?;
    let pid = |at| cluster.node(at).pid().context("the node does not run");
    println!("{} {} {}", cluster.client_url(0), pid(0)?, pid(1)?);
    // The end of input is the sign to end, whatever came before it.
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    Ok(())
}
