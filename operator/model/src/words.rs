//! Steps in words, for whoever reads how a rule was broken.

use crate::log::Log;
use crate::state::{Epoch, Id, Set, State};
use crate::steps::Action;
use crate::views::{Code, Wish};

fn name(id: Id) -> String {
    format!("db-{}", id + 1)
}

fn names(set: Set) -> String {
    let names: Vec<String> = set.iter().map(name).collect();
    if names.is_empty() {
        "nobody".into()
    } else {
        names.join(", ")
    }
}

fn view(epoch: Epoch, view: Code) -> String {
    let with = if view.alone() {
        "alone".to_owned()
    } else {
        format!("with {}", names(view.synchronous()))
    };
    format!(
        "epoch {epoch}: {} is primary {with}, complete {}",
        name(view.primary()),
        names(view.complete())
    )
}

fn log(log: Log) -> String {
    let entries: Vec<String> = (1..8)
        .flat_map(|epoch| (0..log.count(epoch)).map(move |at| (epoch, at)))
        .map(|(epoch, at)| match at {
            0 => format!("open@{epoch}"),
            _ => format!("write@{epoch}"),
        })
        .collect();
    format!("[{}]", entries.join(" "))
}

/// A step from `before` to `after`.
#[must_use]
pub fn step(before: &State, action: Action, after: &State) -> String {
    let recorded = || view(after.recorded, after.view(after.recorded));
    let log_of = |id: Id| log(after.node(id).log);
    match action {
        Action::First(_) => format!("an operator records the first view, {}", recorded()),
        Action::Record(Wish::Promote(id)) => {
            format!(
                "an operator promotes {}: it records {}",
                name(id),
                recorded()
            )
        }
        Action::Record(_) => format!("an operator records {}", recorded()),
        Action::Recover(_) => format!(
            "an operator has asked every node, and continues the lost view: {}",
            recorded()
        ),
        Action::Commit(id) => format!("{}; acknowledged is {}", plain(action, before), {
            log(after.node(id).committed_log())
        }),
        Action::Adopt(id, _) if after.node(id).leads => {
            format!("{}; it opens it: {}", plain(action, before), log_of(id))
        }
        Action::Write(id)
        | Action::Cut(id, _)
        | Action::Append(id, _)
        | Action::Restart(id, _)
        | Action::PutBack(id) => {
            format!("{}: its log is {}", plain(action, before), log_of(id))
        }
        Action::Broken(id, _) if after.recorded > before.recorded => {
            let _ = id;
            format!("an operator breaks a rule: it records {}", recorded())
        }
        Action::Broken(id, _) => format!("{}: its log is {}", plain(action, before), log_of(id)),
        _ => plain(action, before),
    }
}

/// The step that broke a rule.
#[must_use]
pub fn last(action: Action, before: &State) -> String {
    match action {
        Action::First(_) | Action::Record(_) | Action::Recover(_) => {
            format!(
                "an operator records a view on top of epoch {}",
                before.recorded
            )
        }
        _ => plain(action, before),
    }
}

fn plain(action: Action, before: &State) -> String {
    let epoch = |id: Id| before.node(id).epoch;
    match action {
        Action::First(id) => format!("an operator names {} first", name(id)),
        Action::Record(_) => "an operator records a view".into(),
        Action::Recover(id) => format!("an operator recovers the view with {}", name(id)),
        Action::Adopt(id, to) => format!("{} stores the view of epoch {to}", name(id)),
        Action::Write(id) => format!("{} takes a write in epoch {}", name(id), epoch(id)),
        Action::Cut(id, from) => format!("{} cuts what parts from {}", name(id), name(from)),
        Action::Append(id, from) => format!(
            "{} has an entry of {} on disk and acknowledges it in epoch {}",
            name(id),
            name(from),
            epoch(from)
        ),
        Action::Commit(id) => {
            format!("{} commits and answers in epoch {}", name(id), epoch(id))
        }
        Action::Promise(id, other) => {
            format!("{} is told to wait for {} too", name(id), name(other))
        }
        Action::Restart(id, _) => format!("the process of {} ends and starts again", name(id)),
        Action::LoseVolume(id) => format!(
            "the volume of {} is lost; an empty one takes its place",
            name(id)
        ),
        Action::PutBack(id) => format!(
            "the volume of {} is put back to what it was before it stored its view",
            name(id)
        ),
        Action::Restore(0) => "the view object is lost".into(),
        Action::Restore(to) => {
            format!("the view object is put back to epoch {to} from a backup")
        }
        Action::Grant(id, to) => {
            format!(
                "{} grants {} a lease in epoch {}",
                name(id),
                name(to),
                epoch(to)
            )
        }
        Action::Pass => "time passes: the oldest leases are over".into(),
        Action::Proof(id) => format!(
            "{} is told that the primary of epoch {} is proven to have ended",
            name(id),
            epoch(id).saturating_sub(1)
        ),
        Action::Broken(id, other) if id == other => format!("{} breaks a rule", name(id)),
        Action::Broken(id, other) => format!("{} breaks a rule towards {}", name(id), name(other)),
    }
}
