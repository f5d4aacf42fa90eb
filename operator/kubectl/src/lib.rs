//! `kubectl standby`: what people see of Standby clusters, and how they give orders.
//!
//! Documents ([`document`]), their text ([`render`]) and what an order changes ([`orders`]) are pure;
//! [`shell`] alone asks the API server. Nothing here decides what is safe: the operator does, and
//! refuses what is not.

#![forbid(unsafe_code)]

pub mod cli;
pub mod document;
pub mod error;
pub mod limits;
pub mod orders;
pub mod output;
pub mod render;
pub mod report;
pub mod shell;
mod verbs;
pub mod verdict;

use std::io::Write;

use clap::CommandFactory;

pub use verbs::carry_out;

use crate::cli::{Arguments, Format, Verb};
use crate::error::{Error, Result};
use crate::output::Output;

/// Runs one command line against standard output, and returns the exit code.
pub async fn run(arguments: Arguments) -> u8 {
    let format = arguments.global.output;
    let mut output = Output::standard(format);
    match started(arguments, &mut output).await {
        Ok(code) => code,
        Err(error) => {
            tell(&error, format);
            error.exit_code()
        }
    }
}

async fn started<W: Write>(arguments: Arguments, output: &mut Output<W>) -> Result<u8> {
    if let Verb::Completion { shell } = arguments.verb {
        let mut script = Vec::new();
        let mut command = Arguments::command();
        clap_complete::generate(shell, &mut command, "kubectl-standby", &mut script);
        output.write(&String::from_utf8_lossy(&script))?;
        return Ok(0);
    }
    let shell = shell::connect::connect(&arguments.global).await?;
    carry_out(&shell, arguments.verb, output).await
}

/// Writes an error to standard error, where nothing else can be done if that fails.
fn tell(error: &Error, format: Format) {
    // Who reads our output has gone: nothing is wrong.
    if matches!(error, Error::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe) {
        return;
    }
    let text = match format {
        Format::Text => match error.hint() {
            Some(hint) => format!("error: {error}\nhint: {hint}\n"),
            None => format!("error: {error}\n"),
        },
        Format::Json => serde_json::to_string_pretty(&error.document())
            .map_or_else(|_| error.to_string(), |text| text + "\n"),
        Format::Yaml => {
            serde_yaml::to_string(&error.document()).unwrap_or_else(|_| error.to_string())
        }
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
}
