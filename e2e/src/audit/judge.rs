//! Hands a record to the judge and reads its verdict. The judge is a program of its own
//! (`e2e/go/judge`), because what it judges by is etcd's and porcupine's, not ours.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::record::Record;
use crate::command;
use crate::error::{Error, Result, ensure};
use crate::limits::JUDGE_TIMEOUT;
use crate::parts::{self, cache_folder};
use crate::progress::Progress;
use crate::workload::now_us;

/// What the judge says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether nothing at all is wrong.
    pub clean: bool,
    /// All requests.
    pub operations: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes whose outcome their client never learnt.
    pub in_doubt: usize,
    /// Of those, the ones that happened.
    pub doubt_happened: usize,
    /// Reads.
    pub reads: usize,
    /// Events of all watches.
    pub watch_events: usize,
    /// Revisions that were made.
    pub revisions: usize,
    /// What porcupine says.
    pub linearizable: String,
    /// What etcd's watch checks say.
    pub watch: String,
    /// What is said of reads at older revisions.
    pub serializable: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What is wrong, for a person.
    pub problems: Option<Vec<String>>,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} acknowledged, {} in doubt ({} happened), {} reads, {} events; judged in {:.1} s",
            self.acknowledged,
            self.in_doubt,
            self.doubt_happened,
            self.reads,
            self.watch_events,
            self.seconds
        )
    }
}

impl Verdict {
    /// An error that says what is wrong, unless nothing is.
    pub fn must_be_clean(&self) -> Result<()> {
        ensure(self.clean, || {
            format!("the history is not clean: {:?}", self.problems)
        })
    }
}

/// Judges a record. One that is not clean is kept, with a picture, below the cache folder.
pub async fn judge(record: &Record, name: &str) -> Result<Verdict> {
    let program = parts::build_judge(&Progress::new())?.path("judge");
    let folder = cache_folder().join("histories");
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let file = |end: &str| folder.join(format!("{name}-{}.{end}", now_us()));
    let (history, verdict, picture) = (file("json"), file("verdict.json"), file("html"));
    std::fs::write(&history, serde_json::to_vec(record)?)
        .map_err(Error::file("write", &history))?;
    let said = ask(&program, &history, &verdict, &picture).await?;
    let text = std::fs::read(&verdict).map_err(Error::file("read", &verdict))?;
    let mut found: Verdict = serde_json::from_slice(&text)?;
    if found.clean {
        for file in [history, verdict] {
            std::fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
    } else {
        let problems = found.problems.get_or_insert_default();
        problems.push(format!("kept in {}", history.display()));
        if !said.is_empty() {
            let text: String = said.chars().take(SAID_MAX).collect();
            problems.push(text);
        }
    }
    Ok(found)
}

/// How much of what etcd's checks print is shown, in characters.
const SAID_MAX: usize = 2_000;

async fn ask(
    program: &Path,
    history: &PathBuf,
    verdict: &PathBuf,
    picture: &PathBuf,
) -> Result<String> {
    let mut command = Command::new(program);
    command.arg("-history").arg(history);
    command.arg("-verdict").arg(verdict);
    command.arg("-picture").arg(picture);
    let limit = format!("-limit={}s", JUDGE_TIMEOUT.as_secs() / 2);
    command.arg(limit);
    command::output(command, JUDGE_TIMEOUT).await
}
