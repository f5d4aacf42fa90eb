//! Where applied changes are told. Never decides who is told.

use crate::watch::{RevisionEvents, WatchHub};

/// Told of every revision right after it became readable and before its outcome goes to the client.
/// Called on the thread that applies, so it must neither block nor call back into the state machine;
/// reading through a [`super::ReadView`] is fine.
pub trait EventSink: Send + Sync + 'static {
    /// These revisions, ascending and without a gap, became readable. Events carry `prev_kv`, the
    /// key's version before their *revision*, where there was one.
    fn applied(&self, revisions: &[RevisionEvents]);

    /// Acknowledged writes were given up: nothing has a revision between the last one told and
    /// `revision`, and all below `revision` is compacted.
    fn jumped(&self, revision: i64);

    /// Whether anybody would be told. If not, what changes need not be gathered, and `skipped` is
    /// called in the place of `applied`.
    fn listens(&self) -> bool;

    /// Everything up to `revision` became readable while nobody listened. Who has come since reads it
    /// from history.
    fn skipped(&self, revision: i64);

    /// The whole state was replaced by a snapshot that ends at `revision`. What lies between the last
    /// revision told and this one is to be read from history.
    fn restored(&self, revision: i64);
}

impl EventSink for WatchHub {
    fn applied(&self, revisions: &[RevisionEvents]) {
        Self::applied(self, revisions);
    }

    fn jumped(&self, revision: i64) {
        Self::jumped(self, revision);
    }

    fn listens(&self) -> bool {
        Self::listens(self)
    }

    fn skipped(&self, revision: i64) {
        Self::skipped(self, revision);
    }

    fn restored(&self, revision: i64) {
        Self::restored(self, revision);
    }
}
