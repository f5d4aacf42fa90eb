//! What can happen, and when: the events of the simulated world.

use std::collections::BTreeSet;

use standby_core::replica::SessionId;
use standby_core::{NodeId, View};

use crate::node::Packet;

#[derive(Debug)]
pub(crate) enum Event {
    Deliver {
        session: SessionId,
        to: usize,
        run: u64,
        packet: Packet,
    },
    Closed {
        session: SessionId,
        to: usize,
        run: u64,
    },
    DiskDone {
        node: usize,
        run: u64,
    },
    Tick {
        node: usize,
        run: u64,
    },
    Dial {
        node: usize,
        run: u64,
    },
    Connect {
        node: usize,
        run: u64,
        target: usize,
    },
    Push {
        node: usize,
        view: View,
        await_nodes: BTreeSet<NodeId>,
        previous_stopped: bool,
    },
    StepDown {
        node: usize,
        epoch: standby_core::Epoch,
    },
    Record {
        based_on: Option<standby_core::Epoch>,
        view: View,
    },
    Operator(usize),
    Client(usize),
    Fault,
    Start(usize),
    /// A place goes on with the backup of its volume.
    StartFromBackup(usize),
}

/// What tells events apart in a trace.
pub(super) fn discriminant(event: &Event) -> u64 {
    match event {
        Event::Deliver { to, .. } => 1 + (*to as u64) * 16,
        Event::Closed { to, .. } => 2 + (*to as u64) * 16,
        Event::DiskDone { node, .. } => 3 + (*node as u64) * 16,
        Event::Tick { node, .. } => 4 + (*node as u64) * 16,
        Event::Dial { node, .. } => 5 + (*node as u64) * 16,
        Event::Connect { node, .. } => 6 + (*node as u64) * 16,
        Event::Push { node, .. } => 7 + (*node as u64) * 16,
        Event::StepDown { node, .. } => 8 + (*node as u64) * 16,
        Event::Record { view, .. } => 9 + view.epoch.0 * 16,
        Event::Operator(which) | Event::Client(which) => 10 + (*which as u64) * 16,
        Event::Fault => 11,
        Event::Start(node) => 12 + (*node as u64) * 16,
        Event::StartFromBackup(node) => 13 + (*node as u64) * 16,
    }
}
