//! Reads back what was written and judges the history by it. The judgement is pure.

use std::collections::BTreeMap;

use etcd_client::{Client, GetOptions};
use serde::{Deserialize, Serialize};

use super::client::Target;
use super::history::History;
use super::writer;
use crate::command::until;
use crate::error::Result;
use crate::limits::{CHECK_TIMEOUT, READ_PAGE_KEYS};

/// What the store holds for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Vec<u8>,
    /// The revision of its last change.
    pub revision: i64,
    /// How often it was changed since it was made.
    pub version: i64,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Writes that were acknowledged.
    pub acknowledged_writes: usize,
    /// Writes whose outcome the writer never learnt.
    pub writes_in_doubt: usize,
    /// Of those, the ones that are in the store.
    pub doubtful_writes_stored: usize,
    /// Acknowledged writes that are gone or changed.
    pub lost_writes: usize,
    /// Writes in the store that the watch never showed.
    pub watch_events_missed: usize,
    /// Events that the watch showed more than once.
    pub watch_events_doubled: usize,
    /// Events for what is not in the store: something was shown before it was safe.
    pub watch_events_untrue: usize,
    /// Events that came after one with a higher revision.
    pub watch_events_late: usize,
    /// How often the watch was opened anew.
    pub watch_reopened: u64,
    /// The first few of what is wrong, for a person.
    pub examples: Vec<String>,
}

/// How many examples a verdict holds.
const EXAMPLES: usize = 10;

impl Verdict {
    /// Whether nothing at all is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost_writes == 0
            && self.watch_events_missed == 0
            && self.watch_events_doubled == 0
            && self.watch_events_untrue == 0
            && self.watch_events_late == 0
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }
}

/// Reads every key below a prefix, linearizable, page by page, at one revision.
pub async fn read_back(target: &Target, prefix: &str) -> Result<BTreeMap<String, Stored>> {
    until("everything to be read back", CHECK_TIMEOUT, async || {
        let mut client = target
            .quick_client()
            .await
            .map_err(|error| error.to_string())?;
        let options = GetOptions::new();
        let read = pages(&mut client, prefix, &options).await;
        read.map_err(|error| error.to_string())
    })
    .await
}

/// Reads every key below a prefix as one node has it, be it behind or not.
pub async fn read_back_locally(target: &Target, prefix: &str) -> Result<BTreeMap<String, Stored>> {
    let mut client = target.quick_client().await?;
    let options = GetOptions::new().with_serializable();
    pages(&mut client, prefix, &options).await
}

async fn pages(
    client: &mut Client,
    prefix: &str,
    options: &GetOptions,
) -> Result<BTreeMap<String, Stored>> {
    let mut found = BTreeMap::new();
    let mut from = prefix.to_owned();
    let mut revision = 0;
    let end = format!("{}{}", &prefix[..prefix.len() - 1], '0');
    loop {
        let options = options
            .clone()
            .with_range(end.as_str())
            .with_limit(READ_PAGE_KEYS)
            .with_revision(revision);
        let page = client.get(from.as_str(), Some(options)).await?;
        revision = page
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision)
            .max(revision);
        for pair in page.kvs() {
            let key = String::from_utf8_lossy(pair.key()).into_owned();
            from = format!("{key}\0");
            let stored = Stored {
                value: pair.value().to_vec(),
                revision: pair.mod_revision(),
                version: pair.version(),
            };
            found.insert(key, stored);
        }
        if !page.more() {
            return Ok(found);
        }
    }
}

/// Judges a history by what the store holds in the end.
pub fn compare(history: &History, stored: &BTreeMap<String, Stored>) -> Verdict {
    let mut verdict = Verdict {
        watch_reopened: history.watch_reopened,
        ..Verdict::default()
    };
    for put in &history.puts {
        let found = stored.get(&put.key);
        match put.revision {
            None => {
                verdict.writes_in_doubt += 1;
                verdict.doubtful_writes_stored += usize::from(found.is_some());
            }
            Some(revision) => {
                verdict.acknowledged_writes += 1;
                let kept = found.is_some_and(|found| {
                    let value = writer::value(&put.key, found.value.len());
                    found.revision == revision && found.version == 1 && found.value == value
                });
                if !kept {
                    verdict.lost_writes += 1;
                    verdict.example(format!(
                        "{} was acknowledged at revision {revision}, the store has {:?}",
                        put.key,
                        found.map(|found| (found.revision, found.version))
                    ));
                }
            }
        }
    }
    compare_watch(history, stored, &mut verdict);
    verdict
}

fn compare_watch(history: &History, stored: &BTreeMap<String, Stored>, verdict: &mut Verdict) {
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    let mut last = 0;
    for seen in &history.seen {
        *shown.entry(&seen.key).or_default() += 1;
        if seen.revision < last {
            verdict.watch_events_late += 1;
            verdict.example(format!(
                "{} at {} came after {last}",
                seen.key, seen.revision
            ));
        }
        last = last.max(seen.revision);
        if stored
            .get(&seen.key)
            .is_none_or(|found| found.revision != seen.revision)
        {
            verdict.watch_events_untrue += 1;
            verdict.example(format!(
                "{} was shown at {}, not stored",
                seen.key, seen.revision
            ));
        }
    }
    for (key, times) in &shown {
        if *times > 1 {
            verdict.watch_events_doubled += times - 1;
            verdict.example(format!("{key} was shown {times} times"));
        }
    }
    for (key, found) in stored {
        if !shown.contains_key(key.as_str()) {
            verdict.watch_events_missed += 1;
            verdict.example(format!("{key} at {} was never shown", found.revision));
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
