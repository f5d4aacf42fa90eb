//! The heartbeat stream to one node: orders down, reports up. It measures and passes on; what a
//! silence or a refusal means is decided in the core.

mod connection;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use standby_control::v1;
use standby_core::{Epoch, Micros};
use standby_operator_core::detect::{Detector, Loss, Thresholds};
use standby_operator_core::observe::{NodeReport, Stream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;
use tracing::{Instrument, debug, info, info_span};

use self::connection::Connection;
use crate::clock::Clock;
use crate::context::Key;
use crate::convert;
use crate::limits::{
    NODE_RETRY_MAX_MS, NODE_RETRY_MIN_MS, NODE_SESSION_MS, NODE_SESSION_SILENT_MS,
    ORDERS_QUEUED_MAX, ms,
};
use crate::tls::{IdentityError, OperatorTls};

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod's name: what its certificate must carry.
    pub pod: String,
    /// The pod object.
    pub uid: String,
    /// host:port of its control port.
    pub address: String,
}

/// What the node shall know. Sent whenever it changes, and at the start of every session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// The recorded view and where everybody is.
    pub push: Option<Arc<v1::PushView>>,
    /// Step down in this epoch.
    pub step_down: Option<Epoch>,
}

/// What has been measured and heard.
#[derive(Debug)]
struct Heard {
    detector: Detector,
    refused: bool,
    report: Option<NodeReport>,
}

/// A running stream. Dropping it ends it.
#[derive(Debug)]
pub struct NodeStream {
    target: Target,
    heard: Arc<Mutex<Heard>>,
    orders: watch::Sender<Orders>,
    _stop: DropGuard,
}

/// What every stream of a cluster shares.
#[derive(Clone)]
pub struct Common {
    /// Whose nodes they are.
    pub key: Key,
    /// The clock.
    pub clock: Clock,
    /// Woken by every report that is news, and by every loss that counts at once.
    pub wake: Arc<Notify>,
    /// The identity to show; streams wait until there is one.
    pub tls: watch::Receiver<Option<Arc<OperatorTls>>>,
    /// How often the node is asked.
    pub ping: Duration,
    /// Where streams run.
    pub runtime: Handle,
}

impl NodeStream {
    /// Starts a stream.
    #[must_use]
    pub fn start(target: Target, common: Common) -> Self {
        let now = common.clock.now();
        let interval = Micros(u64::try_from(common.ping.as_micros()).unwrap_or(u64::MAX));
        let heard = Arc::new(Mutex::new(Heard {
            detector: Detector::new(now, interval),
            refused: false,
            report: None,
        }));
        let (orders, ordered) = watch::channel(Orders::default());
        let stop = CancellationToken::new();
        let task = Task {
            target: target.clone(),
            common,
            heard: heard.clone(),
            orders: ordered,
            established: false,
        };
        let (namespace, cluster) = (&task.common.key.namespace, &task.common.key.name);
        let span = info_span!("stream", %namespace, %cluster, pod = %target.pod);
        let stopped = stop.clone();
        let runtime = task.common.runtime.clone();
        runtime.spawn(
            async move {
                tokio::select! {
                    () = task.run() => {}
                    () = stopped.cancelled() => {}
                }
            }
            .instrument(span),
        );
        Self {
            target,
            heard,
            orders,
            _stop: stop.drop_guard(),
        }
    }

    /// Whom it dials.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Tells the node something, now and after every reconnect.
    pub fn order(&self, orders: Orders) {
        self.orders.send_if_modified(|current| {
            let changed = *current != orders;
            *current = orders;
            changed
        });
    }

    /// How the stream is, and the last report.
    #[must_use]
    pub fn state(&self, now: Micros, thresholds: &Thresholds) -> (Stream, Option<NodeReport>) {
        let heard = self.heard.lock();
        let stream = if heard.refused {
            Stream::Lost(Loss::Refused)
        } else {
            heard
                .detector
                .lost(now, thresholds)
                .map_or(Stream::Alive, Stream::Lost)
        };
        (stream, heard.report.clone())
    }

    /// The epoch of the view that the node last said to have adopted.
    #[must_use]
    pub fn adopted(&self) -> Option<Epoch> {
        self.heard.lock().report.as_ref().map(NodeReport::epoch)
    }

    /// When it will be lost if nothing arrives; none when it is lost already.
    #[must_use]
    pub fn lost_at(&self, now: Micros, thresholds: &Thresholds) -> Option<Micros> {
        let heard = self.heard.lock();
        let lost = heard.refused || heard.detector.lost(now, thresholds).is_some();
        (!lost).then(|| heard.detector.lost_at(thresholds))
    }
}

struct Task {
    target: Target,
    common: Common,
    heard: Arc<Mutex<Heard>>,
    orders: watch::Receiver<Orders>,
    /// The last session stood.
    established: bool,
}

impl Task {
    async fn run(mut self) {
        let mut pause = ms(NODE_RETRY_MIN_MS);
        loop {
            self.established = false;
            let Some(tls) = self.identity().await else {
                return;
            };
            match self.session(&tls).await {
                Ok(()) => debug!("the session ended"),
                Err(error) => {
                    debug!(%error, "no session");
                    if error.refused() {
                        let first = !std::mem::replace(&mut self.heard.lock().refused, true);
                        if first {
                            info!(epoch = self.epoch(), "the node refuses connections");
                            self.common.wake.notify_one();
                        }
                    }
                }
            }
            // A session that stood and broke is dialled anew almost at once: a refusal then tells of a
            // dead process within milliseconds.
            if self.established {
                pause = ms(NODE_RETRY_MIN_MS);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ms(NODE_RETRY_MAX_MS));
        }
    }

    /// The epoch the node was told last; 0 before the first view.
    fn epoch(&self) -> u64 {
        let orders = self.orders.borrow();
        let view = orders.push.as_ref().and_then(|push| push.view.as_ref());
        view.map_or(0, |view| view.epoch)
    }

    /// Waits for an identity; none when there will never be one.
    async fn identity(&mut self) -> Option<Arc<OperatorTls>> {
        let known = self.common.tls.wait_for(Option::is_some).await.ok()?;
        known.clone()
    }

    async fn session(&mut self, tls: &OperatorTls) -> Result<(), SessionError> {
        let mut client = Connection::open(&self.target, tls).await?;
        let (send, queued) = mpsc::channel(ORDERS_QUEUED_MAX);
        let mut sender = Sender {
            send,
            sequence: 0,
            asked: 0,
        };
        // The first order goes out with the call: a failover must not wait for a round trip.
        self.orders.mark_unchanged();
        let first = self.orders.borrow().clone();
        sender.tell(&first)?;
        let call = client.session(ReceiverStream::new(queued).map(|order| *order));
        let reports = timeout(ms(NODE_SESSION_MS), call)
            .await
            .map_err(|_| SessionError::Timeout)??;
        self.established = true;
        self.heard.lock().detector.reconnected();
        self.exchange(sender, reports.into_inner()).await
    }

    async fn exchange(
        &mut self,
        mut sender: Sender,
        mut reports: Streaming<v1::Report>,
    ) -> Result<(), SessionError> {
        let mut ticks = tokio::time::interval(self.common.ping);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrived = Instant::now();
        loop {
            tokio::select! {
                report = reports.message() => {
                    let Some(report) = report? else { return Ok(()) };
                    arrived = Instant::now();
                    self.heard(report, sender.asked)?;
                }
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let orders = self.orders.borrow_and_update().clone();
                    sender.tell(&orders)?;
                }
                _ = ticks.tick() => {
                    if arrived.elapsed() >= ms(NODE_SESSION_SILENT_MS) {
                        return Err(SessionError::Timeout);
                    }
                    sender.ping();
                }
            }
        }
    }

    fn heard(&self, report: v1::Report, asked: u64) -> Result<(), SessionError> {
        let now = self.common.clock.now();
        let regular = report.answers != 0 && report.answers == asked;
        let report = convert::report(report, &self.target.uid, now)?;
        let news = {
            let mut heard = self.heard.lock();
            let lost = std::mem::replace(&mut heard.refused, false);
            heard.detector.heard(now, regular);
            let news = lost
                || heard
                    .report
                    .as_ref()
                    .is_none_or(|before| report.is_news(before));
            heard.report = Some(report);
            news
        };
        if news {
            self.common.wake.notify_one();
        }
        Ok(())
    }
}

/// The sending side of a session.
struct Sender {
    /// Boxed, since a queue keeps room for 32 at least.
    send: mpsc::Sender<Box<v1::Order>>,
    sequence: u64,
    /// The last ping.
    asked: u64,
}

impl Sender {
    fn ping(&mut self) {
        if self.send(v1::order::Order::Ping(v1::Ping {})) {
            self.asked = self.sequence;
        }
    }

    /// What does not fit ends the session: an order left out would never be sent again, and the next
    /// session begins with everything the node has to know. A ping may be left out.
    fn tell(&mut self, orders: &Orders) -> Result<(), SessionError> {
        let view = orders.push.as_ref();
        let view = view.map(|push| v1::order::Order::PushView((**push).clone()));
        let step_down = orders.step_down;
        let step_down =
            step_down.map(|epoch| v1::order::Order::StepDown(v1::StepDown { epoch: epoch.0 }));
        for order in view.into_iter().chain(step_down) {
            if !self.send(order) {
                return Err(SessionError::Full);
            }
        }
        if orders.push.is_none() {
            self.ping();
        }
        Ok(())
    }

    /// False when the queue is full: the node takes nothing.
    fn send(&mut self, order: v1::order::Order) -> bool {
        self.sequence += 1;
        let order = v1::Order {
            sequence: self.sequence,
            order: Some(order),
        };
        self.send.try_send(Box::new(order)).is_ok()
    }
}

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("no TLS: {0}")]
    Handshake(io::Error),
    #[error("no HTTP/2: {0}")]
    Transport(#[from] hyper::Error),
    #[error("the pod's address is no authority: {0}")]
    Address(#[from] http::uri::InvalidUri),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("the pod's name is no name of a server: {0}")]
    Name(#[from] rustls_pki_types::InvalidDnsNameError),
    #[error("{0}")]
    Status(#[from] Box<tonic::Status>),
    #[error("{0}")]
    Report(#[from] convert::ReportError),
    #[error("no answer in time")]
    Timeout,
    #[error("{ORDERS_QUEUED_MAX} orders wait to be sent")]
    Full,
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl SessionError {
    /// Whether the other side's kernel said that nothing listens there.
    fn refused(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}
