//! The control ports of the fleet: one listener, one TLS identity and one gRPC server a node, as if
//! each were a process of its own.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use standby_control::v1;
use standby_control::v1::control_server::{Control, ControlServer};
use standby_core::{Epoch, NodeId, View};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::command::{Answer, Command, Member, Name};
use crate::limits::{ACCEPT_PAUSE_MS, CONNECTIONS_QUEUED_MAX, HANDSHAKE_MS, REPORTS_QUEUED_MAX};
use crate::model::{Cluster, Node};
use crate::wire::{Counts, Wire, count};

/// One cluster's nodes, and who wants to hear of changes.
struct Shared {
    cluster: Mutex<Cluster>,
    changed: watch::Sender<u64>,
}

impl Shared {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster());
        self.changed.send_modify(|count| *count += 1);
    }
}

/// What a node needs to be started again.
struct Place {
    address: SocketAddr,
    tls: TlsAcceptor,
    killed: CancellationToken,
}

/// The whole fleet.
#[derive(Default)]
pub struct Fleet {
    clusters: HashMap<String, Arc<Shared>>,
    places: HashMap<(String, String), Place>,
    counts: Arc<Counts>,
}

impl Fleet {
    /// Does what it is told.
    pub async fn obey(&mut self, command: Command) -> Answer {
        let done = match command {
            Command::Add(member) => self.add(*member).await,
            Command::Kill(names) => names.iter().try_for_each(|name| self.kill(name)),
            Command::Start(names) => self.start_all(&names).await,
            Command::Count => return Answer::Counted(self.counts.now()),
        };
        match done {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(format!("{error:#}")),
        }
    }

    async fn add(&mut self, member: Member) -> Result<()> {
        let tls = TlsAcceptor::from(Arc::new(identity(&member)?));
        let key = (member.name.cluster.clone(), member.name.pod.clone());
        let shared = self.clusters.entry(member.name.cluster).or_insert_with(|| {
            Arc::new(Shared {
                cluster: Mutex::default(),
                changed: watch::Sender::new(0),
            })
        });
        let id = NodeId::new(member.name.pod, member.volume);
        shared.change(|cluster| cluster.add(Node::new(id, member.cluster_id)));
        let place = Place {
            address: member.address,
            tls,
            killed: CancellationToken::new(),
        };
        if let Some(before) = self.places.insert(key.clone(), place) {
            before.killed.cancel();
        }
        self.listen(&key).await
    }

    fn kill(&mut self, name: &Name) -> Result<()> {
        let key = (name.cluster.clone(), name.pod.clone());
        let place = self.places.get(&key).context("no such node")?;
        place.killed.cancel();
        let shared = self.clusters.get(&name.cluster);
        shared
            .context("no such cluster")?
            .change(|cluster| cluster.set_alive(&name.pod, false));
        Ok(())
    }

    async fn start_all(&mut self, names: &[Name]) -> Result<()> {
        for name in names {
            let key = (name.cluster.clone(), name.pod.clone());
            let place = self.places.get_mut(&key).context("no such node")?;
            place.killed = CancellationToken::new();
            let shared = self.clusters.get(&name.cluster);
            shared
                .context("no such cluster")?
                .change(|cluster| cluster.set_alive(&name.pod, true));
            self.listen(&key).await?;
        }
        Ok(())
    }

    async fn listen(&self, key: &(String, String)) -> Result<()> {
        let place = self.places.get(key).context("no such node")?;
        let listener = TcpListener::bind(place.address)
            .await
            .with_context(|| format!("cannot listen on {}", place.address))?;
        let session = ControlServer::new(Session {
            pod: key.1.clone(),
            shared: self
                .clusters
                .get(&key.0)
                .context("no such cluster")?
                .clone(),
            counts: self.counts.clone(),
            killed: place.killed.clone(),
        });
        let (ready, incoming) = mpsc::channel(CONNECTIONS_QUEUED_MAX);
        let accepting = Accepting {
            listener,
            tls: place.tls.clone(),
            ready,
            counts: self.counts.clone(),
        };
        let killed = place.killed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = accepting.run(&killed) => {}
                () = killed.cancelled() => {}
            }
        });
        let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
        // Ends when no more connections can come: with its node.
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(session)
                .serve_with_incoming(incoming),
        );
        Ok(())
    }
}

fn identity(member: &Member) -> Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(member.authority.as_bytes())?)?;
    let chain = CertificateDer::pem_slice_iter(member.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(member.key.as_bytes())?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

struct Accepting {
    listener: TcpListener,
    tls: TlsAcceptor,
    ready: mpsc::Sender<TlsStream<Wire>>,
    counts: Arc<Counts>,
}

impl Accepting {
    async fn run(self, killed: &CancellationToken) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            };
            let wire = self.wire(stream, killed);
            let (tls, ready) = (self.tls.clone(), self.ready.clone());
            tokio::spawn(async move {
                let limit = Duration::from_millis(HANDSHAKE_MS);
                // Who is not let in sees it for itself.
                if let Ok(Ok(stream)) = tokio::time::timeout(limit, tls.accept(wire)).await {
                    let _ = ready.send(stream).await;
                }
            });
        }
    }

    fn wire(&self, stream: TcpStream, killed: &CancellationToken) -> Wire {
        // A socket that refuses is closed soon anyway.
        let _ = stream.set_nodelay(true);
        Wire::new(stream, killed.clone(), self.counts.clone())
    }
}

/// The control service of one node.
struct Session {
    pod: String,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    killed: CancellationToken,
}

type Outgoing = mpsc::Sender<Result<v1::Report, Status>>;

#[tonic::async_trait]
impl Control for Session {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::Report, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<tonic::Streaming<v1::Order>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        count(&self.counts.sessions);
        let (reports, stream) = mpsc::channel(REPORTS_QUEUED_MAX);
        let run = Run {
            pod: self.pod.clone(),
            shared: self.shared.clone(),
            counts: self.counts.clone(),
            reports,
        };
        let (orders, killed) = (request.into_inner(), self.killed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = run.serve(orders) => {}
                () = killed.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// One session.
struct Run {
    pod: String,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    reports: Outgoing,
}

impl Run {
    async fn serve(self, mut orders: tonic::Streaming<v1::Order>) {
        let mut changed = self.shared.changed.subscribe();
        let mut told = None;
        loop {
            let report = self.shared.cluster().report(&self.pod);
            let Some(mut report) = report else { return };
            if told.as_ref() != Some(&report) {
                told = Some(report.clone());
                if !self.send(report).await {
                    return;
                }
            }
            tokio::select! {
                order = orders.next() => {
                    let Some(Ok(order)) = order else { return };
                    count(&self.counts.orders);
                    let sequence = order.sequence;
                    if let Err(status) = self.obey(order) {
                        let _ = self.reports.send(Err(status)).await;
                        return;
                    }
                    let Some(answer) = self.shared.cluster().report(&self.pod) else { return };
                    report = answer;
                    told = Some(report.clone());
                    report.answers = sequence;
                    if !self.send(report).await {
                        return;
                    }
                }
                changed = changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn send(&self, report: v1::Report) -> bool {
        count(&self.counts.reports);
        self.reports.send(Ok(report)).await.is_ok()
    }

    fn obey(&self, order: v1::Order) -> Result<(), Status> {
        let refused =
            |error: standby_control::ConvertError| Status::invalid_argument(error.to_string());
        match order.order {
            Some(v1::order::Order::PushView(push)) => {
                let Some(view) = push.view else { return Ok(()) };
                let view = View::try_from(view).map_err(refused)?;
                let awaited: Result<BTreeSet<NodeId>, _> =
                    push.await_nodes.into_iter().map(NodeId::try_from).collect();
                let awaited = awaited.map_err(refused)?;
                self.shared
                    .change(|cluster| cluster.push(&self.pod, view, awaited));
            }
            Some(v1::order::Order::StepDown(order)) => {
                self.shared
                    .change(|cluster| cluster.step_down(&self.pod, Epoch(order.epoch)));
            }
            Some(v1::order::Order::Ping(_)) | None => {}
        }
        Ok(())
    }
}
