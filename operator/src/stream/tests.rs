//! The stream against a control server of our own on loopback, with real certificates.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use parking_lot::Mutex;
use standby_control::v1;
use standby_control::v1::control_server::{Control, ControlServer};
use standby_core::{ClusterId, Epoch, Micros, NodeId, View};
use standby_operator_core::build::pki::{Authority, Issued, Subject};
use standby_operator_core::detect::{Detector, Loss, Thresholds};
use standby_operator_core::observe::Stream as State;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::{Common, Heard, NodeStream, Orders, Sender, SessionError, Target, Task};
use crate::clock::Clock;
use crate::tls::OperatorTls;

/// Far above anything these tests wait for.
const LIMIT: Duration = Duration::from_secs(20);
const QUEUE: usize = 1_024;

/// A node that hands on every order and reports what it is told to.
fn key() -> crate::context::Key {
    crate::context::Key {
        namespace: "shop".into(),
        name: "db".into(),
    }
}

struct FakeNode {
    orders: mpsc::Sender<v1::Order>,
    volume: String,
}

type Reports = Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::Report, Status>> + Send>>;

#[tonic::async_trait]
impl Control for FakeNode {
    type SessionStream = Reports;

    async fn session(
        &self,
        request: Request<Streaming<v1::Order>>,
    ) -> Result<Response<Reports>, Status> {
        let mut incoming = request.into_inner();
        let (send, reports) = mpsc::channel(QUEUE);
        let (orders, volume) = (self.orders.clone(), self.volume.clone());
        tokio::spawn(async move {
            while let Ok(Some(order)) = incoming.message().await {
                let node = v1::NodeId {
                    name: "db-1".into(),
                    volume: volume.clone(),
                };
                let report = v1::Report {
                    answers: order.sequence,
                    node: Some(node),
                    cluster_id: "c".into(),
                    run: "r".into(),
                    ..v1::Report::default()
                };
                if orders.send(order).await.is_err() || send.send(Ok(report)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(reports))))
    }
}

struct Node {
    address: SocketAddr,
    orders: mpsc::Receiver<v1::Order>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

fn issue(authority: &Authority, subject: &Subject<'_>) -> Issued {
    authority
        .issue(subject, Timestamp::now())
        .expect("a certificate")
}

async fn node(authority: &Authority, pod: &str) -> Node {
    let subject = Subject::Node {
        cluster: "db",
        namespace: "shop",
        pod,
    };
    let issued = issue(authority, &subject);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&issued.certificate_pem, &issued.key_pem))
        .client_ca_root(Certificate::from_pem(&issued.ca_pem));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (send, orders) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let service = ControlServer::new(FakeNode {
        orders: send,
        volume: "00ff".into(),
    });
    let ended = tokio::spawn(async move {
        let serve = Server::builder()
            .tls_config(tls)
            .expect("a TLS configuration")
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::select! {
            _ = serve => {}
            () = stopped.cancelled() => {}
        }
    });
    Node {
        address,
        orders,
        stop,
        ended,
    }
}

impl Node {
    async fn next(&mut self) -> v1::order::Order {
        let order = timeout(LIMIT, self.orders.recv())
            .await
            .expect("in time")
            .expect("an order");
        order.order.expect("a kind")
    }

    async fn next_but_pings(&mut self) -> v1::order::Order {
        loop {
            let order = self.next().await;
            if !matches!(order, v1::order::Order::Ping(_)) {
                return order;
            }
        }
    }
}

struct Operator {
    stream: NodeStream,
    wake: Arc<Notify>,
    clock: Clock,
    _tls: watch::Sender<Option<Arc<OperatorTls>>>,
}

fn dial(authority: &Authority, pod: &str, address: SocketAddr) -> Operator {
    // As the process does at its start; a second time is no error here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let issued = issue(authority, &Subject::Operator);
    let tls = OperatorTls::new(
        issued.certificate_pem.into_bytes(),
        issued.key_pem.into_bytes(),
        issued.ca_pem.into_bytes(),
    );
    let (send, tls) = watch::channel(Some(Arc::new(tls)));
    let (wake, clock) = (Arc::new(Notify::new()), Clock::start());
    let common = Common {
        key: key(),
        clock,
        wake: wake.clone(),
        tls,
        ping: Duration::from_millis(50),
        runtime: tokio::runtime::Handle::current(),
    };
    let target = Target {
        pod: pod.into(),
        uid: "uid".into(),
        address: address.to_string(),
    };
    Operator {
        stream: NodeStream::start(target, common),
        wake,
        clock,
        _tls: send,
    }
}

impl Operator {
    /// Waits until the stream's state is as asked, looking whenever it wakes the operator.
    async fn until(&self, asked: impl Fn(&State, bool) -> bool) {
        let look = async {
            loop {
                let woken = self.wake.notified();
                let (state, report) = self.stream.state(self.clock.now(), &Thresholds::default());
                if asked(&state, report.is_some()) {
                    return;
                }
                woken.await;
            }
        };
        timeout(LIMIT, look).await.expect("in time");
    }
}

fn authority() -> Authority {
    Authority::new("db", "shop", Timestamp::now()).expect("a CA")
}

fn push() -> Arc<v1::PushView> {
    let view = View::first(ClusterId("c".into()), NodeId::new("db-1", "00ff"));
    Arc::new(v1::PushView {
        view: Some((&view).into()),
        ..v1::PushView::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_wakes_the_operator_and_orders_are_sent_when_they_change() {
    let authority = authority();
    let mut node = node(&authority, "db-1").await;
    let operator = dial(&authority, "db-1", node.address);
    operator
        .until(|state, reported| *state == State::Alive && reported)
        .await;
    operator.stream.order(Orders {
        push: Some(push()),
        step_down: None,
    });
    let told = node.next_but_pings().await;
    assert!(
        matches!(told, v1::order::Order::PushView(ref said) if *said == *push()),
        "{told:?}"
    );
    operator.stream.order(Orders {
        push: Some(push()),
        step_down: Some(Epoch(1)),
    });
    node.next_but_pings().await;
    let told = node.next_but_pings().await;
    assert!(
        matches!(told, v1::order::Order::StepDown(v1::StepDown { epoch: 1 })),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_begins_with_what_the_node_has_to_know() {
    let authority = authority();
    let mut node = node(&authority, "db-1").await;
    let operator = dial(&authority, "db-1", node.address);
    operator.stream.order(Orders {
        push: Some(push()),
        step_down: None,
    });
    let told = node.next_but_pings().await;
    assert!(matches!(told, v1::order::Order::PushView(_)), "{told:?}");
    let report = {
        operator.until(|_, reported| reported).await;
        operator
            .stream
            .state(operator.clock.now(), &Thresholds::default())
            .1
    };
    let report = report.expect("it reported");
    assert_eq!(report.node, NodeId::new("db-1", "00ff"));
    assert_eq!(report.pod_uid, "uid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_counts_at_once() {
    let authority = authority();
    let node = node(&authority, "db-1").await;
    let operator = dial(&authority, "db-1", node.address);
    operator.until(|_, reported| reported).await;
    node.stop.cancel();
    node.ended.await.expect("the server ends");
    drop(node.orders);
    operator
        .until(|state, _| *state == State::Lost(Loss::Refused))
        .await;
    let now = operator.clock.now();
    assert_eq!(operator.stream.lost_at(now, &Thresholds::default()), None);
}

fn task(
    address: SocketAddr,
    tls: watch::Receiver<Option<Arc<OperatorTls>>>,
    orders: watch::Receiver<Orders>,
) -> Task {
    let clock = Clock::start();
    let heard = Heard {
        detector: Detector::new(clock.now(), Micros::from_millis(50)),
        refused: false,
        report: None,
    };
    Task {
        target: Target {
            pod: "db-1".into(),
            uid: "uid".into(),
            address: address.to_string(),
        },
        common: Common {
            key: key(),
            clock,
            wake: Arc::new(Notify::new()),
            tls,
            ping: Duration::from_millis(50),
            runtime: tokio::runtime::Handle::current(),
        },
        heard: Arc::new(Mutex::new(heard)),
        orders,
        established: false,
    }
}

/// Reports that never come.
struct Never;

impl Decoder for Never {
    type Item = v1::Report;
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<v1::Report>, Status> {
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_queue_has_no_room_for_an_order_ends_so_that_the_next_one_tells_it() {
    let (_keep, tls) = watch::channel(None);
    let (orders, ordered) = watch::channel(Orders::default());
    let mut task = task(SocketAddr::from(([127, 0, 0, 1], 1)), tls, ordered);
    let (send, _queued) = mpsc::channel(1);
    let mut sender = Sender {
        send,
        sequence: 0,
        asked: 0,
    };
    // Only pings so far, of which the second has no room: that is no reason to end.
    sender.ping();
    sender.ping();
    assert_eq!(sender.asked, 1);
    orders.send_replace(Orders {
        push: Some(push()),
        step_down: None,
    });
    let silence = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
    let ended = task
        .exchange(sender, Streaming::new_empty(Never, silence))
        .await;
    let said = ended.map_err(|error| error.to_string());
    assert_eq!(said, Err("16 orders wait to be sent".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_name_is_not_talked_to() {
    let authority = authority();
    let mut node = node(&authority, "db-2").await;
    let issued = issue(&authority, &Subject::Operator);
    let tls = OperatorTls::new(
        issued.certificate_pem.into_bytes(),
        issued.key_pem.into_bytes(),
        issued.ca_pem.into_bytes(),
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_keep, tls_known) = watch::channel(None);
    let (_orders, orders) = watch::channel(Orders::default());
    let mut task = task(node.address, tls_known, orders);
    let error = task.session(&tls).await.expect_err("the name is another");
    assert!(matches!(error, SessionError::Handshake(_)), "{error}");
    assert!(!error.refused(), "a wrong name is no refused connection");
    assert!(node.orders.try_recv().is_err(), "no order reached it");
}
