//! The core in the manner "a state, one input, the new state and the commands". One file a subject.

mod commit;
mod doubts;
mod leases;
mod matching;
mod promises;
mod reads;
mod restart;
mod stepping_down;
mod views;

use super::*;
use crate::entry::{Entry, NewHistory};
use crate::ids::VolumeId;
use crate::message::RejectReason;
use crate::view::Loss;

/// When every node starts, far from zero.
const START_MS: u64 = 3_600_000;

pub fn at(epoch: u64, index: u64) -> Position {
    Position::new(Epoch(epoch), Index(index))
}

pub fn id(name: &str) -> NodeId {
    NodeId {
        name: name.into(),
        volume: VolumeId(format!("{name}{name}")),
    }
}

pub fn ids(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| id(name)).collect()
}

pub fn cluster() -> ClusterId {
    ClusterId("cluster".into())
}

/// A view that can acknowledge.
pub fn paired(epoch: u64, primary: &str, synchronous: &[&str]) -> View {
    let mut complete = ids(synchronous);
    complete.insert(id(primary));
    View {
        cluster_id: cluster(),
        epoch: Epoch(epoch),
        primary: id(primary),
        synchronous: ids(synchronous),
        alone: false,
        complete,
        loss: None,
    }
}

/// A view with nobody: it cannot acknowledge.
pub fn bare(epoch: u64, primary: &str, complete: &[&str]) -> View {
    View {
        synchronous: BTreeSet::new(),
        complete: ids(complete),
        ..paired(epoch, primary, &[])
    }
}

pub fn alone(epoch: u64, primary: &str) -> View {
    View {
        alone: true,
        ..paired(epoch, primary, &[])
    }
}

pub fn outline(positions: &[(u64, u64)]) -> LogOutline {
    let mut log = LogIndex::recovered(LogOutline::EMPTY);
    for (epoch, index) in positions {
        log.append(at(*epoch, *index));
    }
    log.outline().clone()
}

/// How a node is found when its process starts.
pub struct Found {
    start: Start,
}

pub fn found(name: &str) -> Found {
    Found {
        start: Start {
            cluster_id: cluster(),
            node: id(name),
            view: None,
            log: LogOutline::EMPTY,
            applied: Index(0),
            doubt: None,
            timing: Timing::default(),
        },
    }
}

impl Found {
    pub fn view(mut self, view: View) -> Self {
        self.start.view = Some(view);
        self
    }

    pub fn log(mut self, positions: &[(u64, u64)]) -> Self {
        self.start.log = outline(positions);
        self
    }

    pub fn applied(mut self, index: u64) -> Self {
        self.start.applied = Index(index);
        self
    }

    pub fn doubt(mut self, doubt: Doubt) -> Self {
        self.start.doubt = Some(doubt);
        self
    }

    /// Starts the process; the commands of the start are dropped.
    pub fn started(self) -> Node {
        let mut node = Node {
            now: Micros::from_millis(START_MS),
            replica: Replica::new(self.start, Micros::from_millis(START_MS)),
        };
        node.replica.drain();
        node
    }

    /// Starts the process, and lets more time pass than any lease lasts.
    pub fn settled(self) -> Node {
        let mut node = self.started();
        node.after(1_000);
        node
    }
}

/// A node and its clock.
pub struct Node {
    pub replica: Replica,
    pub now: Micros,
}

impl Node {
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        self.replica.step(self.now, input);
        self.replica.drain()
    }

    /// Lets time pass.
    pub fn after(&mut self, millis: u64) -> Vec<Output> {
        self.now = self.now.plus(Micros::from_millis(millis));
        self.step(Input::Tick)
    }

    pub fn told(&mut self, view: &View, await_nodes: &[&str], stopped: bool) -> Vec<Output> {
        self.step(Input::View {
            view: view.clone(),
            await_nodes: ids(await_nodes),
            previous_stopped: stopped,
        })
    }

    /// Is told a view and has stored it.
    pub fn adopts(&mut self, view: &View) -> Vec<Output> {
        self.told(view, &[], false);
        self.step(Input::ViewStored(view.epoch))
    }

    /// Comes to lead `view` by the rules: it leads the epoch before with nobody, and then this one. The
    /// entry that opens the epoch before is on its disk.
    pub fn comes_to_lead(&mut self, view: &View) -> Vec<Output> {
        let first = View {
            epoch: Epoch(view.epoch.0 - 1),
            ..bare(0, &view.primary.name, &[view.primary.name.as_str()])
        };
        self.adopts(&first);
        let last = self.replica.log().last();
        self.step(Input::Durable(last));
        self.adopts(view)
    }

    pub fn hears(&mut self, session: u64, message: Message) -> Vec<Output> {
        self.step(Input::Message(SessionId(session), message))
    }

    pub fn durable(&mut self, epoch: u64, index: u64) -> Vec<Output> {
        self.step(Input::Durable(at(epoch, index)))
    }

    pub fn acked(&mut self, session: u64, epoch: u64, index: u64) -> Vec<Output> {
        let (epoch, durable) = (Epoch(epoch), Index(index));
        self.hears(session, Message::Ack { epoch, durable })
    }

    pub fn proposes(&mut self, payload: &'static str) -> Index {
        self.replica
            .propose(self.now, vec![Bytes::from_static(payload.as_bytes())])
            .expect("it takes proposals")
    }

    pub fn doubt(&self) -> Option<Doubt> {
        self.replica.status(self.now).doubt
    }

    /// A follower with this log connects and presents itself.
    pub fn meets(&mut self, session: u64, hello: Hello) -> Vec<Output> {
        self.step(Input::Accepted(SessionId(session)));
        self.hears(session, Message::Hello(hello))
    }

    /// Is welcomed by the primary of `epoch`, on connection `session`, to go on after `start`.
    pub fn welcomed(&mut self, session: u64, epoch: u64, start: Position) -> Vec<Output> {
        let said = self.step(Input::Connected(SessionId(session)));
        let attempt = attempt_of(&said);
        let epoch = Epoch(epoch);
        let welcome = Message::Welcome {
            epoch,
            start,
            attempt,
        };
        self.hears(session, welcome)
    }

    pub fn appended(
        &mut self,
        session: u64,
        epoch: u64,
        after: Position,
        to: u64,
        commit: u64,
    ) -> Vec<Output> {
        let message = append(epoch, after, to, commit);
        self.hears(session, message)
    }

    pub fn heartbeat(&mut self, session: u64, epoch: u64, sequence: u64) -> Vec<Output> {
        let heartbeat = Message::Heartbeat {
            epoch: Epoch(epoch),
            sequence,
            commit: Index(0),
            stuck: Micros(0),
        };
        self.hears(session, heartbeat)
    }
}

/// The entries of `epoch` after `after`, up to `to`.
pub fn entries(epoch: u64, after: Position, to: u64) -> Vec<Entry> {
    (after.index.0 + 1..=to)
        .map(|index| Entry::data(at(epoch, index), Bytes::from_static(b"x")))
        .collect()
}

pub fn append(epoch: u64, after: Position, to: u64, commit: u64) -> Message {
    Message::Append {
        epoch: Epoch(epoch),
        previous: after,
        entries: entries(epoch, after, to),
        commit: Index(commit),
    }
}

/// How `name` presents itself.
pub fn hello(name: &str, view: &View, positions: &[(u64, u64)]) -> Hello {
    Hello {
        cluster_id: cluster(),
        node: id(name),
        view: Some(view.clone()),
        log: outline(positions),
        commit: Index(0),
        damaged: false,
        attempt: 1,
    }
}

/// The number of the presentation among these commands.
pub fn attempt_of(outputs: &[Output]) -> u64 {
    outputs
        .iter()
        .find_map(|output| match output {
            Output::Send(_, Message::Hello(hello)) => Some(hello.attempt),
            _ => None,
        })
        .expect("it presents itself")
}

pub fn send(session: u64, message: Message) -> Output {
    Output::Send(SessionId(session), message)
}

pub fn limit(session: u64, upto: u64, commit: u64) -> Output {
    Output::Limit {
        session: SessionId(session),
        upto: Index(upto),
        commit: Index(commit),
    }
}

pub fn ack(session: u64, epoch: u64, index: u64) -> Output {
    let (epoch, durable) = (Epoch(epoch), Index(index));
    send(session, Message::Ack { epoch, durable })
}

/// `a` leads epoch 2 with `b` synchronous: the log is `1@1 2@2`, all of it committed; `b` is on
/// connection 1.
pub fn serving_primary() -> Node {
    let view = paired(2, "a", &["b"]);
    let mut node = found("a").settled();
    node.comes_to_lead(&view);
    node.durable(2, 2);
    node.meets(1, hello("b", &view, &[(1, 1)]));
    node.acked(1, 2, 2);
    assert_eq!(node.replica.commit(), Index(2));
    node
}

/// `b` follows `a` in epoch 2 over connection 9; its log is `1@1 2@2`, on disk.
pub fn matched_follower() -> Node {
    let view = paired(2, "a", &["b"]);
    let mut node = found("b").log(&[(1, 1), (2, 2)]).settled();
    node.adopts(&view);
    node.welcomed(9, 2, at(2, 2));
    node
}
