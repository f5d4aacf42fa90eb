//! What a change says as text.

use standby_api::OrderOutcome;

use super::table::one_line;
use crate::document::{ChangeDocument, OutcomeDocument};

/// What was, or would be, changed, and what became of it.
pub(super) fn change(document: &ChangeDocument) -> String {
    let name = document.head.full_name();
    let how = match (document.changed, document.dry_run) {
        (false, _) => " (nothing to change)",
        (true, true) => " (dry run: not written)",
        (true, false) => "",
    };
    let mut parts = vec![format!("{name}: {}{how}\n", document.message)];
    for note in &document.notes {
        parts.push(format!("note: {}\n", one_line(note)));
    }
    if let (true, Some(patch)) = (document.dry_run, &document.patch) {
        parts.push(format!("{patch:#}\n"));
    }
    parts.extend(document.outcome.as_ref().map(outcome));
    parts.concat()
}

/// What became of an order.
#[must_use]
pub fn outcome(outcome: &OutcomeDocument) -> String {
    let word = match outcome.outcome {
        OrderOutcome::Done => "done",
        OrderOutcome::Accepted => "accepted",
        OrderOutcome::Refused => "refused",
        OrderOutcome::Void => "void",
    };
    format!("{word}: {}\n", one_line(&outcome.reason))
}
