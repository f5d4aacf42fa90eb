//! Starts other programs, always with a time limit, and turns their failure into a readable error.
//! It never goes through a shell.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result};
use crate::limits::{COMMAND_TIMEOUT, POLL_INTERVAL};

/// Runs a program within [`COMMAND_TIMEOUT`] and returns its standard output.
pub async fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    output(command, COMMAND_TIMEOUT).await
}

/// Runs a line whose words are parted by single blanks; for tools whose arguments hold none.
pub async fn line(line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    run(program, &words.collect::<Vec<_>>()).await
}

/// Runs a prepared command without input and returns how it ended, whatever its exit code. Beyond `limit`
/// it is killed.
pub async fn ended(command: &mut Command, limit: Duration) -> Result<Output> {
    let shown = shown(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    timeout(limit, command.output())
        .await
        .map_err(|_| Error::Timeout {
            what: format!("`{shown}` to end"),
            waited: limit,
            last: String::new(),
        })?
        .map_err(|source| Error::Start {
            program: shown,
            source,
        })
}

/// Runs a prepared command within `limit` and returns its standard output.
pub async fn output(mut command: Command, limit: Duration) -> Result<String> {
    let done = ended(&mut command, limit).await?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Error::Failed {
        command: shown(&command),
        status: done.status.to_string(),
        stderr: if stderr.is_empty() {
            stdout.trim().to_owned()
        } else {
            stderr
        },
    })
}

/// The command as a person would type it (without quotes).
pub fn shown(command: &Command) -> String {
    let command = command.as_std();
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Looks every [`POLL_INTERVAL`] until `look` finds something. `look` answers with `Err(what it saw
/// instead)` when it is not there yet; that text is in the error when the time is up.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<T, String>>,
{
    let end = Instant::now() + limit;
    let mut last = "the look itself did not end".to_owned();
    loop {
        match timeout(end.saturating_duration_since(Instant::now()), look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last = seen,
            // What was seen before says more.
            Err(_) => {}
        }
        if Instant::now() >= end {
            return Err(Error::Timeout {
                what: what.to_owned(),
                waited: limit,
                last,
            });
        }
        sleep(POLL_INTERVAL).await;
    }
}
