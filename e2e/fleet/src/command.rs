//! What the fleet is told on its standard input and answers on its standard output: one JSON object a
//! line, one answer to each command, in order.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Starts a new node with an empty volume.
    Add(Box<Member>),
    /// Nodes die as by SIGKILL: connections break, further ones are refused.
    Kill(Vec<Name>),
    /// Killed nodes start again, with what they had stored.
    Start(Vec<Name>),
    /// Asks for the counters.
    Count,
}

/// Which node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// Its cluster, by any name that no other cluster has.
    pub cluster: String,
    /// Its pod.
    pub pod: String,
}

/// A node to be started.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Which.
    pub name: Name,
    /// The identity that goes onto its volume.
    pub cluster_id: String,
    /// The identity of the volume.
    pub volume: String,
    /// Its control port.
    pub address: SocketAddr,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The key to it, PEM.
    pub key: String,
    /// The cluster's CA, PEM.
    pub authority: String,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
    /// The counters.
    Counted(Counters),
}

/// What was counted since the fleet started, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Bytes from the operator: TLS records, without the headers of TCP and IP.
    pub received_bytes: u64,
    /// Bytes to the operator, likewise.
    pub sent_bytes: u64,
    /// Orders of the operator.
    pub orders: u64,
    /// Reports to the operator.
    pub reports: u64,
    /// Sessions that were opened.
    pub sessions: u64,
}
