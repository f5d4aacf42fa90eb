//! What must hold, one property a file, in the words of the rules in `docs/architecture.md`. V5 (no
//! stale answer) is checked where answers arrive, by [`crate::history`].

pub mod acknowledged_is_durable;
pub mod adopted_epoch_is_kept;
pub mod committed_is_never_cut;
pub mod complete_has_everything;
pub mod healed;
pub mod planned_move_stops_first;
pub mod put_back_counts_as_empty;
pub mod recovery_goes_above_all;
pub mod state_is_one_history;
pub mod views_are_safe;
pub mod writes_go_on_undirected;
