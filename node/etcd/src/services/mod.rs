//! The services that clients call. They translate between the wire and the parts; they decide nothing
//! about keys.

mod aside;
mod check;
pub mod cluster;
pub mod kv;
pub mod lease;
pub mod maintenance;
pub mod node;
pub mod watch;

#[cfg(test)]
mod tests;
