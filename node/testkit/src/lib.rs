//! Real node processes on loopback without Kubernetes, and a stand-in for the operator that gives them
//! views. For integration tests and benchmarks.
//!
//! The stand-in keeps the recorded view in memory and obeys the same rules ([`View::check_successor`]);
//! it decides nothing by itself: a test says whom to promote.

#![forbid(unsafe_code)]

mod certificates;
mod process;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use etcd_client::{Client, ConnectOptions};
use standby_control::v1;
use standby_core::{ClusterId, Index, NodeId, View};

use certificates::Certificates;

pub use process::NodeProcess;
pub use session::Session;

/// How long anything may take that a test waits for.
const WAIT_MS: u64 = 20_000;
/// How long a client may take to connect.
const CONNECT_MS: u64 = 1_000;
/// How often conditions are looked at.
const POLL_MS: u64 = 2;

/// A client of the node at `url`; `None` when it cannot be reached in time.
pub async fn connect(url: &str) -> Option<Client> {
    connect_with(url, None).await
}

async fn connect_with(url: &str, options: Option<ConnectOptions>) -> Option<Client> {
    let connected = Client::connect([url], options);
    let limit = Duration::from_millis(CONNECT_MS);
    tokio::time::timeout(limit, connected).await.ok()?.ok()
}

/// Some nodes on loopback, and the recorded view.
pub struct LoopbackCluster {
    binary: PathBuf,
    dir: tempfile::TempDir,
    /// What processes say, apart from their volumes: those may be full.
    logs: tempfile::TempDir,
    cluster_id: ClusterId,
    nodes: Vec<NodeProcess>,
    sessions: Vec<Option<Session>>,
    view: Option<View>,
    /// None where nothing has TLS.
    certificates: Option<Certificates>,
    /// What nodes are told instead of where clients reach a node.
    said_urls: BTreeMap<usize, String>,
}

impl LoopbackCluster {
    /// Starts `count` nodes of `binary` with their volumes under `parent` (or the system's place for
    /// temporary files), and makes the first one primary with the second as synchronous standby.
    pub async fn start(binary: &Path, count: usize, parent: Option<&Path>) -> anyhow::Result<Self> {
        Self::start_with(binary, count, parent, &[]).await
    }

    /// As [`LoopbackCluster::start`], with more flags for every node.
    pub async fn start_with(
        binary: &Path,
        count: usize,
        parent: Option<&Path>,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let mut cluster = Self::empty(binary, parent)?;
        for at in 0..count {
            let node = cluster.new_node(at)?;
            cluster.add(node.with_flags(flags)).await?;
        }
        cluster.begin().await?;
        Ok(cluster)
    }

    /// As [`LoopbackCluster::start`], with TLS on all ports but those of clients: there each node does what
    /// its value of `--client-tls` says. There are as many nodes as values.
    pub async fn start_with_tls(binary: &Path, modes: &[&'static str]) -> anyhow::Result<Self> {
        let mut cluster = Self::empty(binary, None)?;
        let certificates = Certificates::make()?;
        let mut nodes = Vec::new();
        for (at, mode) in modes.iter().enumerate() {
            let node = cluster.new_node(at)?;
            let dir = certificates.for_node(node.name())?;
            nodes.push(node.with_tls(dir, mode));
        }
        cluster.certificates = Some(certificates);
        for node in nodes {
            cluster.add(node).await?;
        }
        cluster.begin().await?;
        Ok(cluster)
    }

    fn empty(binary: &Path, parent: Option<&Path>) -> anyhow::Result<Self> {
        let dir = match parent {
            Some(parent) => tempfile::tempdir_in(parent)?,
            None => tempfile::tempdir()?,
        };
        Ok(Self {
            binary: binary.to_owned(),
            dir,
            logs: tempfile::tempdir()?,
            cluster_id: ClusterId("loopback".into()),
            nodes: Vec::new(),
            sessions: Vec::new(),
            view: None,
            certificates: None,
            said_urls: BTreeMap::new(),
        })
    }

    fn new_node(&self, at: usize) -> anyhow::Result<NodeProcess> {
        let name = format!("node-{at}");
        NodeProcess::new(&name, self.dir.path(), self.logs.path(), &self.cluster_id)
    }

    async fn add(&mut self, node: NodeProcess) -> anyhow::Result<()> {
        self.nodes.push(node);
        self.sessions.push(None);
        self.start_node(self.nodes.len() - 1).await
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let first = View::first(self.cluster_id.clone(), self.id(0).await?);
        first.check_first()?;
        self.view = Some(first);
        self.push(&[]).await?;
        if self.nodes.len() > 1 {
            self.pair_with(1).await?;
        } else {
            self.go_alone(0).await?;
        }
        self.wait_serving(0).await
    }

    /// Starts a node's process and speaks to it.
    pub async fn start_node(&mut self, at: usize) -> anyhow::Result<()> {
        self.nodes[at].start(&self.binary)?;
        self.sessions[at] = Some(self.connect(at).await?);
        if self.view.is_some() {
            self.push(&[]).await?;
        }
        Ok(())
    }

    async fn connect(&self, at: usize) -> anyhow::Result<Session> {
        for _ in 0..WAIT_MS / POLL_MS {
            if let Ok(session) = self.session(at).await {
                return Ok(session);
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
        bail!(
            "node-{at} does not open its control port; its log: {}",
            self.nodes[at].log_tail()
        )
    }

    async fn session(&self, at: usize) -> anyhow::Result<Session> {
        let node = &self.nodes[at];
        let tls = self.certificates.as_ref();
        let tls = tls.map(|certificates| certificates.known_to(node.name()));
        Session::connect(&node.control_address(), tls).await
    }

    /// Ends a node's process with SIGKILL.
    pub fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        self.sessions[at] = None;
        self.nodes[at].kill()
    }

    /// Stops a process from running (SIGSTOP): none of its threads does when this returns.
    pub fn pause(&mut self, at: usize) -> anyhow::Result<()> {
        self.nodes[at].stop()
    }

    /// Lets a stopped process go on (SIGCONT).
    pub fn resume(&mut self, at: usize) -> anyhow::Result<()> {
        self.nodes[at].signal("CONT")
    }

    /// A node's process.
    #[must_use]
    pub fn node(&self, at: usize) -> &NodeProcess {
        &self.nodes[at]
    }

    /// Waits until a process that was launched says `text` in its log, or opens its control port.
    pub async fn wait_said_or_open(&mut self, at: usize, text: &str) -> anyhow::Result<()> {
        for _ in 0..WAIT_MS / POLL_MS {
            if self.nodes[at].log().contains(text) || self.session(at).await.is_ok() {
                return Ok(());
            }
            if !self.runs(at)? {
                bail!("node-{at} ended; its log: {}", self.nodes[at].log_tail());
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
        bail!(
            "node-{at} neither says {text:?} nor opens its control port; its log: {}",
            self.nodes[at].log_tail()
        )
    }

    /// Starts a node's process and does not wait for its ports.
    pub fn launch(&mut self, at: usize) -> anyhow::Result<()> {
        self.sessions[at] = None;
        self.nodes[at].start(&self.binary)
    }

    /// Speaks to a process that was launched.
    pub async fn meet(&mut self, at: usize) -> anyhow::Result<()> {
        self.sessions[at] = Some(self.connect(at).await?);
        self.push(&[]).await
    }

    /// Whether a node's process still runs.
    pub fn runs(&mut self, at: usize) -> anyhow::Result<bool> {
        self.nodes[at].runs()
    }

    /// Where clients reach a node, as a URL.
    #[must_use]
    pub fn client_url(&self, at: usize) -> String {
        let scheme = match self.nodes[at].client_tls() {
            Some("mutual" | "server-only") => "https",
            _ => "http",
        };
        format!("{scheme}://{}", self.nodes[at].client_address())
    }

    /// Tells nodes from the next view on that clients reach a node at `url`, whether or not they do.
    pub fn say_client_url(&mut self, at: usize, url: &str) {
        self.said_urls.insert(at, url.to_owned());
    }

    /// A client of one node.
    ///
    /// # Panics
    /// When its client port is not open: it was waited for.
    pub async fn client(&self, at: usize) -> Client {
        let node = &self.nodes[at];
        let tls = match (&self.certificates, node.client_tls()) {
            (Some(certificates), Some("mutual")) => Some(certificates.known_to(node.name())),
            (Some(certificates), Some("server-only")) => Some(certificates.to(node.name())),
            _ => None,
        };
        let options = tls.map(|tls| ConnectOptions::new().with_tls(tls));
        let connected = connect_with(&self.client_url(at), options).await;
        connected.expect("the client port of a node that was started is open")
    }

    /// The recorded view.
    pub fn view(&self) -> anyhow::Result<&View> {
        self.view.as_ref().context("no view was recorded yet")
    }

    /// The last report of a node.
    pub fn report(&self, at: usize) -> anyhow::Result<v1::Report> {
        let session = self.sessions[at]
            .as_ref()
            .context("the node does not run")?;
        Ok(session.report())
    }

    /// A node's identity, as it reports it.
    pub async fn id(&self, at: usize) -> anyhow::Result<NodeId> {
        let report = self
            .wait(at, "an identity", |report| report.node.is_some())
            .await?;
        Ok(NodeId::try_from(report.node.context("it was waited for")?)?)
    }

    /// Records the next view, if the rules allow it, and tells everybody who runs.
    pub async fn record(&mut self, next: View, await_nodes: &[NodeId]) -> anyhow::Result<()> {
        self.view()?.check_successor(&next)?;
        self.view = Some(next);
        self.push(await_nodes).await
    }

    /// Asks a process to end (SIGTERM).
    pub fn terminate(&mut self, at: usize) -> anyhow::Result<()> {
        self.nodes[at].signal("TERM")
    }

    /// Waits for a process to end by itself.
    pub fn wait_ended(&mut self, at: usize) -> anyhow::Result<std::process::ExitStatus> {
        self.sessions[at] = None;
        self.nodes[at].wait()
    }

    /// Lets the primary stop serving, and waits until its synchronous node has everything (V8).
    pub async fn step_down(&mut self, at: usize) -> anyhow::Result<()> {
        let epoch = self.view()?.epoch.0;
        let session = self.sessions[at]
            .as_ref()
            .context("the node does not run")?;
        session
            .order(v1::order::Order::StepDown(v1::StepDown { epoch }))
            .await;
        self.wait(at, "a drained log", |report| report.drained)
            .await?;
        Ok(())
    }

    /// Makes a complete node primary, with nobody yet; `stopped` when the former one cannot serve.
    pub async fn promote(&mut self, at: usize, stopped: bool) -> anyhow::Result<()> {
        let next = self.view()?.promote(self.id(at).await?);
        self.view()?.check_successor(&next)?;
        self.view = Some(next);
        self.push_with(&[], stopped).await
    }

    /// Makes a node primary that may lack acknowledged writes up to `loses_up_to`, as if somebody had
    /// consented to that.
    pub async fn promote_with_loss(&mut self, at: usize, loses_up_to: u64) -> anyhow::Result<()> {
        let node = self.id(at).await?;
        let next = self.view()?.promote_with_loss(node, Index(loses_up_to));
        next.check()?;
        self.view = Some(next);
        self.push_with(&[], true).await
    }

    /// Lets the primary acknowledge by itself, once it leads the recorded view.
    pub async fn go_alone(&mut self, at: usize) -> anyhow::Result<()> {
        let epoch = self.view()?.epoch.0;
        self.wait(at, "primary of the recorded view", |report| {
            let leads = report.role == i32::from(v1::Role::Primary);
            leads && report.view.as_ref().is_some_and(|view| view.epoch == epoch)
        })
        .await?;
        let next = self.view()?.go_alone();
        self.record(next, &[]).await
    }

    /// Lets the primary wait for a node, and records it as synchronous once it has everything.
    pub async fn pair_with(&mut self, at: usize) -> anyhow::Result<()> {
        let standby = self.id(at).await?;
        self.push(std::slice::from_ref(&standby)).await?;
        let primary = self.primary().await?;
        let epoch = self.view()?.epoch.0;
        let wire = v1::NodeId::from(&standby);
        self.wait(primary, "a complete standby", |report| {
            report.view.as_ref().is_some_and(|view| view.epoch == epoch)
                && report
                    .peers
                    .iter()
                    .any(|peer| peer.complete && peer.node.as_ref() == Some(&wire))
        })
        .await?;
        let next = self.view()?.with_synchronous(BTreeSet::from([standby]));
        self.record(next, &[]).await
    }

    /// Which node is primary in the recorded view.
    pub async fn primary(&self) -> anyhow::Result<usize> {
        let view = self.view()?;
        for at in 0..self.nodes.len() {
            if self.sessions[at].is_some() && self.id(at).await? == view.primary {
                return Ok(at);
            }
        }
        bail!("the primary of {view} does not run")
    }

    /// Waits until the node serves in the recorded view.
    pub async fn wait_serving(&self, at: usize) -> anyhow::Result<()> {
        let epoch = self.view()?.epoch.0;
        self.wait(at, "serving", |report| {
            report.serving && report.view.as_ref().is_some_and(|view| view.epoch == epoch)
        })
        .await?;
        Ok(())
    }

    /// Waits until a node's report says what is wanted.
    pub async fn wait(
        &self,
        at: usize,
        what: &str,
        wanted: impl Fn(&v1::Report) -> bool,
    ) -> anyhow::Result<v1::Report> {
        let session = self.sessions[at]
            .as_ref()
            .context("the node does not run")?;
        for _ in 0..WAIT_MS / POLL_MS {
            let report = session.report();
            if wanted(&report) {
                return Ok(report);
            }
            session.ping().await;
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
        bail!(
            "node-{at}: no {what} within {WAIT_MS} ms; it reports {:?}; its log: {}",
            session.report(),
            self.nodes[at].log_tail()
        )
    }

    async fn push(&self, await_nodes: &[NodeId]) -> anyhow::Result<()> {
        self.push_with(await_nodes, false).await
    }

    async fn push_with(&self, await_nodes: &[NodeId], stopped: bool) -> anyhow::Result<()> {
        let peers: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(at, node)| v1::PeerAddress {
                name: node.name().to_owned(),
                peer: node.peer_address(),
                client_url: match self.said_urls.get(&at) {
                    Some(url) => url.clone(),
                    None => self.client_url(at),
                },
            })
            .collect();
        let push = v1::PushView {
            view: self.view.as_ref().map(Into::into),
            await_nodes: await_nodes.iter().map(Into::into).collect(),
            previous_primary_stopped: stopped,
            client_url: peers
                .first()
                .map(|peer| peer.client_url.clone())
                .unwrap_or_default(),
            peers,
        };
        for session in self.sessions.iter().flatten() {
            session
                .order(v1::order::Order::PushView(push.clone()))
                .await;
        }
        Ok(())
    }
}
