//! What must hold, one property a file, in the words of the rules in `docs/architecture.md`. V5 (no
//! stale read) is checked where reads are answered, in `clients`.

pub mod acknowledged_is_durable;
pub mod adopted_epoch_is_kept;
pub mod committed_is_never_cut;
pub mod complete_has_everything;
pub mod converged;
pub mod state_is_one_history;
pub mod views_are_safe;
