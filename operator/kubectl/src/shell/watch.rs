//! `status --watch`: shows a cluster anew whenever it changes. On a terminal it stays in place; into a
//! file or pipe it writes one document after the other.

use std::io::Write;

use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start};
use standby_api::StandbyCluster;
use tokio::time::{MissedTickBehavior, interval};

use super::{Asks, CLUSTERS, Shell, full_name};
use crate::cli::Format;
use crate::document::{OperatorDocument, StatusDocument};
use crate::error::{Error, Result};
use crate::limits::{self, ms};
use crate::output::Output;
use crate::render::Show;

/// Home, and everything below it away.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows the cluster until it is deleted.
pub async fn watch<W: Write>(
    shell: &Shell,
    cluster: StandbyCluster,
    output: &mut Output<W>,
) -> Result<()> {
    let name = full_name(&cluster);
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<StandbyCluster> = Api::namespaced(shell.client.clone(), &namespace);
    let only = format!("metadata.name={}", cluster.name_any());
    let events = start(api, watcher::Config::default().fields(&only)).default_backoff();
    pin_mut!(events);
    let mut ticks = interval(ms(limits::REDRAW_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look_in = limits::REDRAWS_PER_OPERATOR_LOOK;
    let mut operators = shell.operators(Timestamp::now()).await;
    let mut shown = Shown {
        cluster,
        trouble: None,
        there: false,
    };
    shown.draw(operators.as_deref(), output)?;
    loop {
        let changed = tokio::select! {
            event = events.next() => match event {
                Some(event) => shown.hear(event, &name, &namespace)?,
                None => return Err(Error::Deleted(name)),
            },
            _ = ticks.tick() => {
                if look_in == 0 {
                    operators = shell.operators(Timestamp::now()).await;
                    look_in = limits::REDRAWS_PER_OPERATOR_LOOK;
                }
                look_in -= 1;
                false
            }
        };
        // Ages move on a terminal; a file gets what is new.
        if changed || output.size().is_some() {
            shown.draw(operators.as_deref(), output)?;
        }
    }
}

struct Shown {
    cluster: StandbyCluster,
    trouble: Option<String>,
    /// Whether the first list that is going on has had the cluster.
    there: bool,
}

impl Shown {
    /// Takes an event in; whether there is something new.
    fn hear(
        &mut self,
        event: watcher::Result<Event<StandbyCluster>>,
        name: &str,
        namespace: &str,
    ) -> Result<bool> {
        match event {
            Ok(Event::Apply(cluster) | Event::InitApply(cluster)) => {
                self.there = true;
                self.trouble = None;
                let new = cluster.resource_version() != self.cluster.resource_version();
                self.cluster = cluster;
                Ok(new)
            }
            Ok(Event::Init) => {
                self.there = false;
                Ok(false)
            }
            Ok(Event::InitDone) if self.there => Ok(false),
            // Deleted while it was followed, or while it was not.
            Ok(Event::Delete(_) | Event::InitDone) => Err(Error::Deleted(name.to_owned())),
            Err(error) => {
                let text = error.to_string();
                if let Some(refused) = forbidden(error, namespace) {
                    return Err(refused);
                }
                self.trouble = Some(text);
                Ok(true)
            }
        }
    }

    fn draw<W: Write>(
        &self,
        operators: Option<&[OperatorDocument]>,
        output: &mut Output<W>,
    ) -> Result<()> {
        let document = StatusDocument::new(&self.cluster, operators.map(<[_]>::to_vec));
        if output.format() != Format::Text {
            return output.line(&document);
        }
        let mut text = document.show(Timestamp::now());
        if let Some(trouble) = &self.trouble {
            text = format!("The API server cannot be followed now: {trouble}\n\n{text}");
        }
        match output.size() {
            Some((columns, rows)) => output.write(&format!("{CLEAR}{}", fit(&text, columns, rows))),
            None => output.write(&format!("{text}\n")),
        }
    }
}

/// A right that is missing, which no trying again helps.
fn forbidden(error: watcher::Error, namespace: &str) -> Option<Error> {
    let (verb, error) = match error {
        watcher::Error::InitialListFailed(error) => ("list", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            ("watch", error)
        }
        watcher::Error::WatchError(status) => ("watch", kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => return None,
    };
    let explained = Asks::new(verb, CLUSTERS, Some(namespace)).explain(error);
    matches!(explained, Error::Forbidden { .. } | Error::Unauthorized(_)).then_some(explained)
}

/// As much as the terminal shows: no line is broken, so that the page stays a page.
fn fit(text: &str, columns: usize, rows: usize) -> String {
    let lines = text
        .lines()
        .take(rows.saturating_sub(1))
        .map(|line| line.chars().take(columns).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_page_never_grows_beyond_the_terminal() {
        assert_eq!(fit("abcdef\nb\nc\nd\n", 4, 3), "abcd\nb");
        assert_eq!(fit("größe\n", 3, 9), "grö");
    }
}
