//! The process of the simulated nodes, as the measurement sees it.

use std::path::Path;
use std::process::Stdio;

use standby_fleet::command::{Answer, Command, Counters};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::limits::COMMAND_TIMEOUT;

/// The running fleet. Dropping it kills it.
pub struct Fleet {
    child: Child,
    talk: Mutex<Talk>,
}

struct Talk {
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Fleet {
    /// Starts it without any node.
    ///
    /// # Panics
    /// Never: its standard input and output are piped.
    pub fn start(program: &Path) -> Result<Self> {
        let start = |source| Error::Start {
            program: program.display().to_string(),
            source,
        };
        let mut child = tokio::process::Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let commands = child.stdin.take().expect("standard input is piped");
        let answers = child.stdout.take().expect("standard output is piped");
        Ok(Self {
            child,
            talk: Mutex::new(Talk {
                commands,
                answers: BufReader::new(answers).lines(),
            }),
        })
    }

    /// Its process.
    pub fn process(&self) -> Result<i32> {
        let process = self.child.id().and_then(|id| i32::try_from(id).ok());
        process.ok_or_else(|| Error::Wrong("the simulated nodes have ended".to_owned()))
    }

    /// Tells it something and waits until it is done.
    pub async fn tell(&self, command: &Command) -> Result<()> {
        match self.ask(command).await? {
            Answer::Failed(why) => Err(Error::Wrong(format!("simulated nodes: {why}"))),
            Answer::Done | Answer::Counted(_) => Ok(()),
        }
    }

    /// Its counters.
    pub async fn count(&self) -> Result<Counters> {
        match self.ask(&Command::Count).await? {
            Answer::Counted(counters) => Ok(counters),
            other => Err(Error::Wrong(format!("simulated nodes: {other:?}"))),
        }
    }

    async fn ask(&self, command: &Command) -> Result<Answer> {
        let mut talk = self.talk.lock().await;
        let line = serde_json::to_string(command)? + "\n";
        let exchange = async {
            talk.commands.write_all(line.as_bytes()).await?;
            talk.answers.next_line().await
        };
        let answer = timeout(COMMAND_TIMEOUT, exchange)
            .await
            .map_err(|_| Error::Timeout {
                what: "the simulated nodes to answer".to_owned(),
                waited: COMMAND_TIMEOUT,
                last: String::new(),
            })?
            .map_err(Error::file("talk to", "standby-fleet"))?;
        let ended = || Error::Wrong("the simulated nodes have ended".to_owned());
        Ok(serde_json::from_str(&answer.ok_or_else(ended)?)?)
    }
}
