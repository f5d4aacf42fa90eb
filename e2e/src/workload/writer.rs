//! One writer: fresh key after fresh key, a short limit for each answer, a new connection at once
//! after every failure.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use tokio::sync::watch as signal;
use tokio::time::{sleep, timeout};

use super::Plan;
use super::history::{Put, Shared, now_us};
use crate::limits::{PUT_TIMEOUT, RECONNECT_PAUSE};

/// Writes until it is told to stop.
pub(super) async fn run(
    plan: Plan,
    number: usize,
    history: Arc<Shared>,
    stop: signal::Receiver<bool>,
) {
    let mut client: Option<Client> = None;
    let mut sequence = 0_u64;
    while !*stop.borrow() {
        sequence += 1;
        let key = format!("{}{number}/{sequence:012}", plan.prefix);
        let begun_us = now_us();
        let outcome = match timeout(PUT_TIMEOUT, attempt(&plan, &mut client, &key)).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no answer in time".to_owned()),
        };
        let failed = outcome.is_err();
        let (revision, doubt) = match outcome {
            Ok(revision) => (Some(revision), None),
            Err(doubt) => (None, Some(doubt)),
        };
        history.put(Put {
            key,
            begun_us,
            ended_us: now_us(),
            revision,
            doubt,
        });
        if failed {
            client = None;
            sleep(RECONNECT_PAUSE).await;
        } else if plan.pause_ms > 0 {
            sleep(Duration::from_millis(plan.pause_ms)).await;
        }
    }
}

async fn attempt(
    plan: &Plan,
    kept: &mut Option<Client>,
    key: &str,
) -> std::result::Result<i64, String> {
    if kept.is_none() {
        *kept = Some(
            plan.target
                .quick_client()
                .await
                .map_err(|error| error.to_string())?,
        );
    }
    let client = kept.as_mut().expect("it was just made");
    let answer = client
        .put(key, value(key, plan.value_bytes), None)
        .await
        .map_err(|e| e.to_string())?;
    let revision = answer.header().map(etcd_client::ResponseHeader::revision);
    revision
        .filter(|revision| *revision > 0)
        .ok_or_else(|| "an answer without revision".to_owned())
}

/// The value of a key follows from the key, so that a wrong one is noticed.
pub(super) fn value(key: &str, length: usize) -> Vec<u8> {
    key.bytes().cycle().take(length.max(key.len())).collect()
}
