//! The control port: the operator's orders in, reports out (V9). Only the operator's certificate is
//! let in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use standby_control::v1::control_server::{Control, ControlServer};
use standby_control::{ConvertError, OPERATOR_IDENTITY, v1};
use standby_core::replica::{Doubt, Input, LinkState, PeerStatus, RoleKind, Status as CoreStatus};
use standby_core::{ClusterId, Epoch, NodeId};
use standby_store::volume::PeerAddress;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::limits::{
    ACCEPT_RETRY_MS, APPLY_STALL_MS, CONTROL_CONNECTIONS_MAX, CONTROL_KEEPALIVE_MS,
    CONTROL_REPORTS_MAX, CONTROL_SESSIONS_MAX, CONTROL_STREAMS_MAX, HANDSHAKE_MS,
    STATUS_TIMEOUT_MS,
};
use crate::replication::{Command, Shared, Told};
use crate::tls::{Tls, TlsError, names_of};

/// The control service.
pub struct ControlService {
    /// What a session works with.
    pub session: Arc<Session>,
}

/// What a control session works with.
pub struct Session {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This run of the process.
    pub run: String,
    /// The driver.
    pub driver: mpsc::UnboundedSender<Command>,
    /// Numbers.
    pub shared: Arc<Shared>,
    /// Counts up when the operator should know of something.
    pub changed: watch::Receiver<u64>,
}

/// Sessions that are open at once, over whatever connections.
static SESSIONS: Semaphore = Semaphore::const_new(CONTROL_SESSIONS_MAX);

type Reports = Pin<Box<dyn Stream<Item = Result<v1::Report, Status>> + Send>>;

#[tonic::async_trait]
impl Control for ControlService {
    type SessionStream = Reports;

    async fn session(
        &self,
        request: Request<tonic::Streaming<v1::Order>>,
    ) -> Result<Response<Reports>, Status> {
        let Ok(slot) = SESSIONS.try_acquire() else {
            let text = format!("{CONTROL_SESSIONS_MAX} sessions are open, which is the most");
            return Err(Status::resource_exhausted(text));
        };
        let (reports, stream) = mpsc::channel(CONTROL_REPORTS_MAX);
        let session = Arc::clone(&self.session);
        let orders = request.into_inner();
        tokio::spawn(async move {
            session.run(orders, reports).await;
            drop(slot);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

type Outgoing = mpsc::Sender<Result<v1::Report, Status>>;

impl Session {
    async fn run(&self, mut orders: tonic::Streaming<v1::Order>, reports: Outgoing) {
        let mut changed = self.changed.clone();
        if !self.report(0, &reports).await {
            return;
        }
        loop {
            let answers = tokio::select! {
                order = orders.next() => match order {
                    Some(Ok(order)) => {
                        let sequence = order.sequence;
                        if let Err(error) = self.obey(order) {
                            let refused = Status::invalid_argument(error.to_string());
                            // The operator may have gone.
                            let _ = reports.send(Err(refused)).await;
                            return;
                        }
                        sequence
                    }
                    Some(Err(_)) | None => return,
                },
                news = changed.changed() => match news {
                    Ok(()) => 0,
                    Err(_) => return,
                },
            };
            if !self.report(answers, &reports).await {
                return;
            }
        }
    }

    fn obey(&self, order: v1::Order) -> Result<(), ConvertError> {
        match order.order {
            Some(v1::order::Order::PushView(push)) => self.push_view(push)?,
            Some(v1::order::Order::StepDown(step_down)) => {
                self.tell(Command::Input(Input::StepDown(Epoch(step_down.epoch))));
            }
            Some(v1::order::Order::Ping(_)) | None => {}
        }
        Ok(())
    }

    fn push_view(&self, push: v1::PushView) -> Result<(), ConvertError> {
        let peers = push.peers.into_iter().map(|peer| PeerAddress {
            name: peer.name,
            peer: peer.peer,
            client_url: peer.client_url,
        });
        // Addresses first: the view makes the node dial.
        let (peers, client_url) = (peers.collect(), push.client_url);
        self.tell(Command::Told(Told::Addresses { peers, client_url }));
        let Some(view) = push.view else { return Ok(()) };
        let await_nodes: Result<_, _> =
            push.await_nodes.into_iter().map(NodeId::try_from).collect();
        self.tell(Command::Input(Input::View {
            view: view.try_into()?,
            await_nodes: await_nodes?,
            previous_stopped: push.previous_primary_stopped,
        }));
        Ok(())
    }

    fn tell(&self, command: Command) {
        // The driver is gone only when the process ends.
        let _ = self.driver.send(command);
    }

    /// Sends a report; `false` when the operator has gone or the node cannot say how it is.
    async fn report(&self, answers: u64, reports: &Outgoing) -> bool {
        let (reply, status) = oneshot::channel();
        self.tell(Command::Status(reply));
        let limit = Duration::from_millis(STATUS_TIMEOUT_MS);
        let Ok(Ok(status)) = tokio::time::timeout(limit, status).await else {
            return false;
        };
        reports
            .send(Ok(self.compose(answers, &status)))
            .await
            .is_ok()
    }

    /// The node that clients ask for, if the view they asked in still stands.
    fn wants_switchover_to(&self, status: &CoreStatus) -> String {
        let asked = self.shared.wants_switchover.lock().clone();
        let stands = |(epoch, _): &(Epoch, String)| {
            status.view.as_ref().map(|view| view.epoch) == Some(*epoch)
        };
        let asked = asked.filter(stands);
        asked.map(|(_, name)| name).unwrap_or_default()
    }

    fn compose(&self, answers: u64, status: &CoreStatus) -> v1::Report {
        let role = match status.role {
            RoleKind::Unassigned => v1::Role::Unspecified,
            RoleKind::Follower => v1::Role::Follower,
            RoleKind::Primary => v1::Role::Primary,
            RoleKind::Restarted => v1::Role::Restarted,
            RoleKind::SteppedDown => v1::Role::SteppedDown,
        };
        let number = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        v1::Report {
            answers,
            node: Some((&self.node).into()),
            cluster_id: self.cluster_id.0.clone(),
            run: self.run.clone(),
            role: role.into(),
            view: status.view.as_ref().map(Into::into),
            log_first: status.first.0,
            log_last_index: status.last.index.0,
            log_last_epoch: status.last.epoch.0,
            durable_index: status.durable.0,
            commit_index: status.commit.0,
            applied_index: self.shared.applied().0,
            serving: status.serving,
            drained: status.drained,
            wants_handover: self.shared.wants_handover.load(Ordering::Relaxed),
            peers: status.peers.iter().map(peer_report).collect(),
            primary_link: status.primary_link.as_ref().map(|link| v1::PrimaryLink {
                state: match link.state {
                    LinkState::Up => v1::LinkState::Up,
                    LinkState::Silent => v1::LinkState::Silent,
                    LinkState::Refused => v1::LinkState::Refused,
                    LinkState::NotPrimary => v1::LinkState::NotPrimary,
                }
                .into(),
                silent_ms: link.silent.as_millis(),
                phi_milli: link.phi_milli,
                commits_stuck_ms: link.stuck.as_millis(),
            }),
            write_stall: write_stall(status, self.shared.applying.running_ms()),
            doubt: status
                .doubt
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            disk_total_bytes: number(&self.shared.disk_total),
            disk_free_bytes: number(&self.shared.disk_free),
            disk_full: self.shared.disk_full.load(Ordering::Relaxed),
            version: env!("CARGO_PKG_VERSION").into(),
            view_stored_ago_ms: status.view_stored_for.as_millis(),
            serving_ago_ms: status.serving_for.as_millis(),
            doubts_primary: status.doubt.as_ref().is_some_and(Doubt::is_about_view),
            wants_switchover_to: self.wants_switchover_to(status),
        }
    }
}

/// Writes that wait to be committed; or that are committed and wait for a state machine that is stuck,
/// which to clients is the same.
fn write_stall(status: &CoreStatus, applying_ms: u64) -> Option<v1::WriteStall> {
    let replicating = status.write_stall.as_ref().map(|stall| v1::WriteStall {
        waiting_ms: stall.waiting.as_millis(),
        local_disk: stall.local_disk,
        nodes: stall.nodes.iter().map(Into::into).collect(),
    });
    let stuck = applying_ms >= APPLY_STALL_MS && status.role == RoleKind::Primary;
    let applying = stuck.then(|| v1::WriteStall {
        waiting_ms: applying_ms,
        local_disk: true,
        nodes: Vec::new(),
    });
    match (replicating, applying) {
        (Some(one), Some(other)) if one.local_disk && one.waiting_ms > other.waiting_ms => {
            Some(one)
        }
        (_, Some(other)) => Some(other),
        (one, None) => one,
    }
}

fn peer_report(peer: &PeerStatus) -> v1::PeerReport {
    v1::PeerReport {
        node: Some((&peer.node).into()),
        connected: peer.session.is_some(),
        durable_index: peer.durable.0,
        silent_ms: peer.silent.as_millis(),
        phi_milli: peer.phi_milli,
        awaited: peer.awaited,
        complete: peer.complete,
        in_snapshot: peer.in_snapshot,
    }
}

/// Serves the control port until `shutdown`.
pub async fn serve(
    session: Arc<Session>,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = ControlServer::new(ControlService { session });
    let builder = tonic::transport::Server::builder().tcp_nodelay(true);
    let mut builder = builder
        .http2_keepalive_interval(Some(Duration::from_millis(CONTROL_KEEPALIVE_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(CONTROL_KEEPALIVE_MS)))
        .max_concurrent_streams(CONTROL_STREAMS_MAX);
    let end = shutdown.clone();
    let stopped = async move { end.cancelled().await };
    let router = builder.add_service(service);
    let Some(tls) = tls else {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        return router.serve_with_incoming_shutdown(incoming, stopped).await;
    };
    let (ready, incoming) = mpsc::channel(CONTROL_CONNECTIONS_MAX);
    tokio::spawn(accept(listener, tls, ready, shutdown));
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
    router.serve_with_incoming_shutdown(incoming, stopped).await
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// A connection that was let in; it counts for as long as it lasts.
struct Accepted {
    stream: TlsStream,
    _slot: OwnedSemaphorePermit,
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

async fn accept(
    listener: TcpListener,
    tls: Tls,
    ready: mpsc::Sender<Accepted>,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(
                limit = CONTROL_CONNECTIONS_MAX,
                "too many control connections"
            );
            continue;
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            match let_in(&tls, stream).await {
                // The server ends with the process.
                Ok(stream) => drop(
                    ready
                        .send(Accepted {
                            stream,
                            _slot: slot,
                        })
                        .await,
                ),
                Err(error) => tracing::warn!(%error, "a control connection was not let in"),
            }
        });
    }
}

async fn let_in(tls: &Tls, stream: TcpStream) -> Result<TlsStream, TlsError> {
    // A socket that refuses is closed soon anyway.
    let _ = stream.set_nodelay(true);
    let stream = tls
        .accept_mutual(stream, Duration::from_millis(HANDSHAKE_MS))
        .await?;
    let names = names_of(stream.get_ref().1.peer_certificates())?;
    if !names.iter().any(|name| name == OPERATOR_IDENTITY) {
        return Err(TlsError::WrongIdentity {
            needs: OPERATOR_IDENTITY,
            names,
        });
    }
    Ok(stream)
}
