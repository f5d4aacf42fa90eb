//! The watch that is kept open: when its stream ends it goes on after the last revision it has seen.

use std::sync::Arc;

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::sync::watch as signal;
use tokio::time::sleep;

use super::Plan;
use super::history::{Seen, Shared, now_us};
use crate::error::{Error, Result};
use crate::limits::RECONNECT_PAUSE;

/// Watches until it is told to stop.
pub(super) async fn run(
    plan: Plan,
    mut next: i64,
    history: Arc<Shared>,
    mut stop: signal::Receiver<bool>,
) {
    let mut opened = false;
    while !*stop.borrow() {
        if opened {
            history.reopened();
        }
        opened = true;
        tokio::select! {
            // A stream that ended is opened again; why it ended does not matter to the outcome.
            _ = follow(&plan, &mut next, &history) => {}
            _ = stop.changed() => return,
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn follow(plan: &Plan, next: &mut i64, history: &Shared) -> Result<()> {
    let mut client = plan.target.watch_client().await?;
    let from = WatchOptions::new().with_prefix().with_start_revision(*next);
    let mut stream = client.watch(plan.prefix.as_str(), Some(from)).await?;
    while let Some(answer) = stream.message().await? {
        if answer.canceled() {
            return Err(Error::Wrong(format!(
                "watch cancelled: {}",
                answer.cancel_reason()
            )));
        }
        let seen = events(&answer)?;
        if let Some(last) = seen.last() {
            *next = last.revision + 1;
        }
        history.seen(seen);
    }
    Ok(())
}

fn events(answer: &WatchResponse) -> Result<Vec<Seen>> {
    let at_us = now_us();
    answer
        .events()
        .iter()
        .map(|event| {
            let pair = event.kv().filter(|_| event.event_type() == EventType::Put);
            let pair = pair.ok_or_else(|| Error::Wrong("an event that is no put".to_owned()))?;
            let key = String::from_utf8_lossy(pair.key()).into_owned();
            Ok(Seen {
                key,
                revision: pair.mod_revision(),
                at_us,
            })
        })
        .collect()
}
