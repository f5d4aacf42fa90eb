//! The node's network shell on a simulated network, with time that is simulated too: real drivers, logs,
//! volumes, dialers, listeners and connections, several nodes in one thread, while links are cut, hold
//! back and delay, and nodes are killed and started again at every step of what they do.
//!
//! Simulated: TCP and its delays, time, the operator (who tells views without a network), the state
//! machine (a list in memory that survives as of its last checkpoint). What the log's and the state's
//! threads do, is done by tasks of the simulation, a job at a time; between jobs a node may be killed.
//!
//! Seeds are fixed and printed. They decide delays, the order of hosts and the faults; in which order
//! `tokio::select!` looks at what is ready, they do not.

mod cluster;
mod crashes;
mod lines;
mod links;
mod machine;
mod network;
mod node;
