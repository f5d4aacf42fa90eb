//! The judge of histories is right about something known: a real etcd that is killed by SIGKILL under
//! load loses nothing; and when its history is spoiled, the judge says so.

use std::collections::BTreeMap;

use standby_e2e::audit::{Audit, Kind, Record, judge};
use standby_e2e::command;
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::etcd;
use standby_e2e::limits::BUILD_TIMEOUT;
use standby_e2e::parts::repository;
use standby_e2e::workload::{Load, Target, now_us};

use tokio::process::Command;

use crate::Stage;

const WRITES: usize = 200;

type Spoil = fn(&mut Record) -> Option<()>;

/// What is done to a good history, and a word of what must be said about it.
const SPOILT: &[(&str, Spoil, &str)] = &[
    ("a lost write", lose_a_write, "lost"),
    ("a stale read", age_a_read, "linearization"),
    ("a doubled event", double_an_event, "Unique"),
    ("a dropped event", drop_an_event, "Reliable"),
];

pub async fn run(stage: &Stage) -> Result<()> {
    // Its own tests first: many small histories.
    let mut tests = Command::new("go");
    tests
        .args(["test", "./..."])
        .current_dir(repository().join("e2e/go/judge"));
    command::output(tests, BUILD_TIMEOUT).await?;

    let folder = stage.cluster.layout.folder();
    let folder = folder.join(format!("etcd-judged-{}", now_us()));
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let mut members = etcd::start(&stage.cluster.programs, &folder, 1).await?;
    let member = &mut members[0];

    let server = Target::plain(&member.url);
    let servers = BTreeMap::from([("etcd".to_owned(), server.clone())]);
    let load = Audit::start_on(server, servers).await?;
    load.more(WRITES).await?;
    member.kill().await?;
    member.start()?;
    load.more(WRITES).await?;
    let record = load.finish().await?;
    let verdict = judge(&record, "etcd").await?;
    eprintln!("       {verdict}");
    verdict.must_be_clean()?;

    for (title, spoil, word) in SPOILT {
        let mut spoilt = record.clone();
        spoil(&mut spoilt)
            .ok_or_else(|| Error::Wrong(format!("{title} cannot be made of this history")))?;
        let verdict = judge(&spoilt, "spoilt").await?;
        let problems = verdict.problems.unwrap_or_default().join("; ");
        ensure(!verdict.clean && problems.contains(word), || {
            format!("{title} was not found: {problems}")
        })?;
    }
    Ok(())
}

fn lose_a_write(record: &mut Record) -> Option<()> {
    for log in &mut record.logs {
        log.events.pop()?;
    }
    Some(())
}

/// A read that was answered late in the run gets the answer of an early one of the same key.
fn age_a_read(record: &mut Record) -> Option<()> {
    let one_key = |kind: Kind, end: &str, revision: i64| {
        kind == Kind::Read && end.is_empty() && revision == 0
    };
    let reads: Vec<usize> = (0..record.operations.len())
        .filter(|at| {
            let read = &record.operations[*at];
            one_key(read.kind, &read.end, read.revision) && read.answer.is_some()
        })
        .collect();
    let early = record.operations[*reads.first()?].clone();
    let late = reads
        .into_iter()
        .rev()
        .find(|at| record.operations[*at].key == early.key)?;
    record.operations[late].answer = early.answer;
    Some(())
}

fn double_an_event(record: &mut Record) -> Option<()> {
    let watch = record
        .watches
        .iter_mut()
        .max_by_key(|w| w.responses.len())?;
    let middle = watch.responses.len() / 2;
    let again = watch.responses.get(middle)?.clone();
    watch.responses.insert(middle, again);
    Some(())
}

fn drop_an_event(record: &mut Record) -> Option<()> {
    let watch = record
        .watches
        .iter_mut()
        .max_by_key(|w| w.responses.len())?;
    let middle = watch.responses.len() / 2;
    (middle > 0).then(|| drop(watch.responses.remove(middle)))
}
