//! The leader's streams to nodes, as `operator/src/stream.rs` keeps them.

use std::rc::Rc;

use standby_core::{Epoch, Micros};
use standby_operator_core::detect::{Detector, Loss, Thresholds};
use standby_operator_core::observe::{NodeReport, Stream};

use super::OperatorEvent;
use crate::net::{ConnId, End};
use crate::time::{MS, SECOND, Time};
use crate::world::{Order, Packet, Push, World};

/// The first pause between two tries.
const RETRY_MIN: Time = 20 * MS;
/// The longest.
const RETRY_MAX: Time = 500 * MS;
/// How long connecting may take.
const CONNECT: Time = 500 * MS;
/// A session in which nothing arrived for so long is dialled anew.
const SILENT: Time = 3 * SECOND;

/// What a node shall know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// The recorded view and where everybody is.
    pub push: Option<Rc<Push>>,
    /// Step down in this epoch.
    pub step_down: Option<Epoch>,
}

/// A stream to one pod.
#[derive(Debug)]
pub struct NodeStream {
    /// The pod object and its address.
    pub target: (String, u32),
    /// The silence.
    pub detector: Detector,
    /// Nobody listens there.
    pub refused: bool,
    /// The last report.
    pub report: Option<NodeReport>,
    /// The session's connection.
    pub conn: Option<ConnId>,
    orders: Orders,
    sequence: u64,
    asked: u64,
    pause: Time,
    arrived: Time,
    /// Sets apart what was planned for an earlier session.
    stamp: u64,
    ping: Time,
}

impl NodeStream {
    fn new(target: (String, u32), now: Micros, ping: Micros, stamp: u64) -> Self {
        Self {
            target,
            detector: Detector::new(now, ping),
            refused: false,
            report: None,
            conn: None,
            orders: Orders::default(),
            sequence: 0,
            asked: 0,
            pause: RETRY_MIN,
            arrived: 0,
            stamp,
            ping: ping.0,
        }
    }

    /// How the stream is.
    #[must_use]
    pub fn state(&self, now: Micros, thresholds: &Thresholds) -> Stream {
        if self.refused {
            return Stream::Lost(Loss::Refused);
        }
        self.detector
            .lost(now, thresholds)
            .map_or(Stream::Alive, Stream::Lost)
    }

    /// When it will be lost if nothing arrives; none when it is lost already.
    #[must_use]
    pub fn lost_at(&self, now: Micros, thresholds: &Thresholds) -> Option<Micros> {
        let lost = self.refused || self.detector.lost(now, thresholds).is_some();
        (!lost).then(|| self.detector.lost_at(thresholds))
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl World {
    fn stream(&mut self, which: usize, pod: &str) -> Option<&mut NodeStream> {
        self.operators[which].actor.as_mut()?.streams.get_mut(pod)
    }

    /// A stream begins.
    pub(super) fn stream_starts(
        &mut self,
        which: usize,
        pod: &str,
        target: (String, u32),
        ping: Micros,
    ) {
        let now = self.operator_now(which);
        let stamp = self.rng.draw();
        if let Some(actor) = &mut self.operators[which].actor {
            let stream = NodeStream::new(target, now, ping, stamp);
            actor.streams.insert(pod.to_owned(), stream);
        }
        self.operator_later(which, 0, OperatorEvent::Dial(pod.to_owned()));
    }

    pub(super) fn stream_dials(&mut self, which: usize, pod: &str) {
        let from = self.operators[which].host;
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        if stream.conn.is_some() {
            return;
        }
        let (ip, stamp) = (stream.target.1, stream.stamp);
        let host = self
            .hosts
            .of_address(ip)
            .filter(|host| self.net.reaches(from, *host));
        let after = match host {
            Some(host) => {
                let there = self.net.latency(from, host, &mut self.rng);
                2 * (there + self.net.latency(host, from, &mut self.rng))
            }
            None => CONNECT,
        };
        self.operator_later(which, after, OperatorEvent::Dialled(pod.to_owned(), stamp));
    }

    pub(super) fn stream_dialled(&mut self, which: usize, pod: &str, stamp: u64) {
        let from = self.operators[which].host;
        let now = self.now;
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        if stream.stamp != stamp || stream.conn.is_some() {
            return;
        }
        let ip = stream.target.1;
        let host = self
            .hosts
            .of_address(ip)
            .filter(|host| self.net.reaches(from, *host));
        let found = self
            .running()
            .find(|(_, process)| process.ip == ip)
            .map(|(proc, process)| (proc, process.node.name == pod, process.paused_until > now));
        match (host, found) {
            (Some(_), None) => {
                let Some(stream) = self.stream(which, pod) else {
                    return;
                };
                let first = !std::mem::replace(&mut stream.refused, true);
                self.retry(which, pod);
                if first {
                    self.wake(which);
                }
            }
            (Some(_), Some((proc, true, false))) => {
                let end = self.operator_end(which);
                let conn = self.connect(end, End::Node(proc));
                let Some(stream) = self.stream(which, pod) else {
                    return;
                };
                stream.conn = Some(conn);
                stream.pause = RETRY_MIN;
                stream.arrived = now;
                stream.detector.reconnected();
                let ping = stream.ping;
                self.tell(which, pod);
                self.session_opens(proc, conn);
                let event = OperatorEvent::Ping(pod.to_owned(), stamp);
                self.operator_later(which, ping, event);
            }
            _ => self.retry(which, pod),
        }
    }

    fn retry(&mut self, which: usize, pod: &str) {
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        let pause = stream.pause;
        stream.pause = (pause * 2).min(RETRY_MAX);
        self.operator_later(which, pause, OperatorEvent::Dial(pod.to_owned()));
    }

    fn transmit_order(&mut self, which: usize, conn: ConnId, order: Order) {
        let end = self.operator_end(which);
        if let Some(side) = self.side_of(conn, end) {
            self.send(conn, side, Packet::Order(order));
        }
    }

    /// Sends what the node shall know.
    fn tell(&mut self, which: usize, pod: &str) {
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        let Some(conn) = stream.conn else { return };
        let mut orders = Vec::new();
        if let Some(push) = stream.orders.push.clone() {
            orders.push(Order::Push(stream.next(), push));
        }
        if let Some(epoch) = stream.orders.step_down {
            orders.push(Order::StepDown(stream.next(), epoch));
        }
        if orders.is_empty() {
            let sequence = stream.next();
            stream.asked = sequence;
            orders.push(Order::Ping(sequence));
        }
        for order in orders {
            self.transmit_order(which, conn, order);
        }
    }

    /// Gives a stream what its node shall know; sent only when it changed.
    pub(super) fn give_orders(&mut self, which: usize, pod: &str, orders: Orders) {
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        if stream.orders == orders {
            return;
        }
        stream.orders = orders;
        self.tell(which, pod);
    }

    pub(super) fn stream_pings(&mut self, which: usize, pod: &str, stamp: u64) {
        let now = self.now;
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        let (true, Some(conn)) = (stream.stamp == stamp, stream.conn) else {
            return;
        };
        if now - stream.arrived >= SILENT {
            self.drop_session(which, pod);
            return;
        }
        let sequence = stream.next();
        stream.asked = sequence;
        let ping = stream.ping;
        self.transmit_order(which, conn, Order::Ping(sequence));
        self.operator_later(which, ping, OperatorEvent::Ping(pod.to_owned(), stamp));
    }

    fn drop_session(&mut self, which: usize, pod: &str) {
        let end = self.operator_end(which);
        let stamp = self.rng.draw();
        let Some(stream) = self.stream(which, pod) else {
            return;
        };
        stream.stamp = stamp;
        if let Some(conn) = stream.conn.take()
            && let Some(side) = self.side_of(conn, end)
        {
            self.close(conn, side);
        }
        self.retry(which, pod);
    }

    /// A stream of this operator ends for good.
    pub(super) fn stream_ends(&mut self, which: usize, conn: Option<ConnId>) {
        let end = self.operator_end(which);
        if let Some(conn) = conn
            && let Some(side) = self.side_of(conn, end)
        {
            self.close(conn, side);
        }
    }

    /// The connection of a session is gone.
    pub fn stream_closed(&mut self, which: usize, conn: ConnId) {
        let Some(actor) = &self.operators[which].actor else {
            return;
        };
        let pod = actor
            .streams
            .iter()
            .find(|(_, stream)| stream.conn == Some(conn))
            .map(|(pod, _)| pod.clone());
        if let Some(pod) = pod {
            self.drop_session(which, &pod);
        }
    }

    /// A packet of a node arrives.
    pub fn operator_hears(&mut self, which: usize, conn: ConnId, packet: Packet) {
        let Packet::Report(answers, report) = packet else {
            return;
        };
        let mut report = *report;
        let (now, local) = (self.now, self.operator_now(which));
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        let Some(stream) = actor
            .streams
            .values_mut()
            .find(|stream| stream.conn == Some(conn))
        else {
            return;
        };
        report.at = local;
        report.pod_uid.clone_from(&stream.target.0);
        stream.arrived = now;
        let regular = answers != 0 && answers == stream.asked;
        stream.detector.heard(local, regular);
        let lost = std::mem::replace(&mut stream.refused, false);
        let news = lost
            || stream
                .report
                .as_ref()
                .is_none_or(|before| report.is_news(before));
        stream.report = Some(report);
        if news {
            self.wake(which);
        }
    }
}
