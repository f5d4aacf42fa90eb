//! An exhaustive model of the view protocol (V1 to V11): nodes, operators, the API server and clients,
//! with lost, late and repeated messages, restarts at any step, lost volumes, and a view object that is
//! lost or put back to an earlier one.
//!
//! - [`state`]: one moment of everything, in about 80 bytes; [`log`], [`views`]: its parts;
//! - [`steps`]: every step from a moment; [`fault`]: rules broken on purpose;
//! - [`check`]: what must hold at each; [`words`]: how it was broken, in words;
//! - [`explore`]: all moments, breadth first; [`symmetry`], [`table`]: what makes that small;
//! - [`runs`]: the bounds that are explored.
//!
//! Views and the rules for changing them are the product's own code. The rest is an abstraction, which
//! `tests/refinement` holds against the product's replica and planner. It is never part of the product.

#![forbid(unsafe_code)]

pub mod check;
pub mod explore;
pub mod fault;
pub mod log;
pub mod runs;
pub mod state;
pub mod steps;
pub mod symmetry;
pub mod table;
pub mod views;
pub mod words;
