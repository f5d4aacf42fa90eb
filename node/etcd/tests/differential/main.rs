//! The same random steps on a real etcd 3.7.3 and on our server; every field of every answer, and the
//! code and text of every refusal, must be the same. Left out are cluster, member and term of headers,
//! the ids of leases that a server chose, and what is left of a lease's time.
//!
//! `STANDBY_DIFFERENTIAL_STEPS` sets how many steps (4000), `STANDBY_DIFFERENTIAL_SEED` the first seed.
//! A failing sequence is printed; put into `differential/regressions/NAME.jsonl` it is played on every
//! run.

mod generate;
mod op;
mod pair;
mod real_etcd;
#[path = "../support/mod.rs"]
mod support;
mod system;
mod watching;

use std::path::Path;

use generate::{Generator, STREAMS};
use op::{Op, Put, Txn, TxnOp};
use pair::{Difference, Pair};
use real_etcd::RealEtcd;
use support::LocalServer;

const STEPS: u64 = 4_000;
/// A run starts both servers afresh after so many steps: short sequences are easier to read.
const STEPS_OF_A_RUN: u64 = 500;
/// Watches are compared at least this often.
const SETTLE_EVERY: usize = 50;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

struct Servers {
    _real: RealEtcd,
    _ours: LocalServer,
    pair: Pair,
}

async fn fresh() -> Servers {
    let ours = LocalServer::start().await;
    let real = RealEtcd::start().await;
    let pair = Pair::connect(&real.url, &ours.url, STREAMS).await;
    Servers {
        _real: real,
        _ours: ours,
        pair,
    }
}

fn fail(done: &[Op], what: &str, difference: &Difference) -> ! {
    let lines: Vec<String> = done.iter().map(Op::line).collect();
    panic!(
        "{what}: these {} steps\n{}\nend with\n{}",
        lines.len(),
        lines.join("\n"),
        difference.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_steps_get_the_same_answers_from_etcd_and_from_us() {
    let steps = number("STANDBY_DIFFERENTIAL_STEPS", STEPS);
    let seed = number("STANDBY_DIFFERENTIAL_SEED", 1);
    for seed in seed..seed + steps.div_ceil(STEPS_OF_A_RUN) {
        let mut servers = fresh().await;
        let mut generator = Generator::new(seed);
        let mut done = Vec::new();
        for _ in 0..steps.min(STEPS_OF_A_RUN) {
            let op = generator.next();
            done.push(op.clone());
            if let Err(difference) = servers.pair.step(&op).await {
                fail(&done, &format!("seed {seed}"), &difference);
            }
            if done.len().is_multiple_of(SETTLE_EVERY)
                && let Err(difference) = servers.pair.settle().await
            {
                fail(&done, &format!("seed {seed}"), &difference);
            }
            generator.revision = servers.pair.revision;
        }
        if let Err(difference) = servers.pair.settle().await {
            fail(&done, &format!("seed {seed}"), &difference);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_that_once_differed_no_longer_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential/regressions");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of regressions")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let mut servers = fresh().await;
        let mut done = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let op: Op = serde_json::from_str(line).expect("a step on each line");
            done.push(op.clone());
            if let Err(difference) = servers.pair.step(&op).await {
                fail(&done, &file.display().to_string(), &difference);
            }
        }
        if let Err(difference) = servers.pair.settle().await {
            fail(&done, &file.display().to_string(), &difference);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_too_large_are_refused_alike() {
    let mut servers = fresh().await;
    let put = |bytes: usize| Put {
        key: "large".to_owned(),
        value: "x".repeat(bytes),
        ..Put::default()
    };
    let mib = 1 << 20;
    for bytes in [
        mib,
        mib * 3 / 2 - 1_000,
        mib * 3 / 2 + 1_000,
        mib * 2 - 1_000,
    ] {
        let txn = Txn {
            success: vec![TxnOp::Put(put(bytes))],
            ..Txn::default()
        };
        for op in [Op::Put(put(bytes)), Op::Txn(txn)] {
            if let Err(difference) = servers.pair.step(&op).await {
                panic!("{bytes} bytes: {}", difference.0);
            }
        }
    }
}
