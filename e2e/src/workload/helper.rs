//! The same load from another place: a process of its own in the network of a host.

use std::path::PathBuf;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{History, Plan, Verdict};
use crate::error::{Error, Result};
use crate::limits::{CHECK_TIMEOUT, FAILOVER_TIMEOUT};

const BINARY: &str = "standby-workload";

/// Where load comes from.
#[derive(Clone, Debug)]
pub enum Place {
    /// The network namespace of that name.
    Namespace(String),
    /// The machine itself.
    Machine,
}

/// What a helper says, one JSON document a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// So many writes have been acknowledged.
    Acknowledged(usize),
    /// The end.
    Finished {
        /// Everything that happened.
        history: History,
        /// What came out.
        verdict: Verdict,
    },
}

/// Load that is made by another process. It ends when its standard input does.
pub struct Helper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts it.
    ///
    /// # Panics
    /// Never: its input and output are piped.
    pub async fn start(plan: &Plan, place: &Place) -> Result<Self> {
        let binary = binary()?;
        let mut command = match place {
            Place::Machine => Command::new(&binary),
            Place::Namespace(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg(&binary);
                command
            }
        };
        let mut child = command
            .arg("--interactive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start {
                program: binary.display().to_string(),
                source,
            })?;
        let mut input = child.stdin.take().expect("standard input is piped");
        let mut plan = serde_json::to_vec(plan)?;
        plan.push(b'\n');
        input
            .write_all(&plan)
            .await
            .map_err(Error::file("write to", &binary))?;
        let stdout = child.stdout.take().expect("standard output is piped");
        Ok(Self {
            child,
            input,
            output: BufReader::new(stdout).lines(),
        })
    }

    /// Waits until that many writes in all have been acknowledged.
    pub async fn acknowledged(&mut self, count: usize) -> Result<()> {
        let wait = async {
            loop {
                if let Said::Acknowledged(so_far) = read(&mut self.output).await?
                    && so_far >= count
                {
                    return Ok(());
                }
            }
        };
        timeout(FAILOVER_TIMEOUT, wait)
            .await
            .map_err(|_| Error::Timeout {
                what: format!("{count} acknowledged writes from another place"),
                waited: FAILOVER_TIMEOUT,
                last: String::new(),
            })?
    }

    /// Ends the load and takes over what it has found.
    pub async fn finish(self) -> Result<(History, Verdict)> {
        let Self {
            mut child,
            input,
            mut output,
        } = self;
        drop(input);
        let wait = async {
            loop {
                if let Said::Finished { history, verdict } = read(&mut output).await? {
                    return Ok((history, verdict));
                }
            }
        };
        let done = timeout(CHECK_TIMEOUT * 2, wait)
            .await
            .map_err(|_| Error::Timeout {
                what: "the load from another place to end".to_owned(),
                waited: CHECK_TIMEOUT * 2,
                last: String::new(),
            })?;
        // It has said everything; how it exits adds nothing.
        let _ = child.wait().await;
        done
    }
}

async fn read(output: &mut Lines<BufReader<ChildStdout>>) -> Result<Said> {
    let line = output
        .next_line()
        .await
        .map_err(Error::file("read from", BINARY))?;
    let line = line.ok_or_else(|| Error::Wrong("the load from another place ended".to_owned()))?;
    serde_json::from_str(&line).map_err(Error::from)
}

/// The helper lies beside the binary that runs, or, for a test, one folder above it.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe"))?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(BINARY))
        .find(|path| path.exists())
        .ok_or_else(|| Error::Wrong(format!("{BINARY} is not built beside {}", own.display())))
}
