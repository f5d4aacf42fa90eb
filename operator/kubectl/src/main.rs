//! `kubectl-standby`: what `kubectl standby` starts. It parses the command line, runs the verb and
//! ends with its exit code; everything else stands in the library beside it.

use std::process::ExitCode;

use clap::Parser;
use standby_kubectl::cli::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(standby_kubectl::run(Arguments::parse()).await)
}
