//! etcd, the API server, the controllers and the scheduler, as processes of the machine. Each can be
//! stopped and started by itself. Nothing restarts one that dies alone.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::cgroup;
use super::layout::Layout;
use super::pid_file::PidFile;
use super::process::Detached;
use crate::command::until;
use crate::error::Result;
use crate::limits::GONE_TIMEOUT;
use crate::parts::Programs;

/// One program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The control plane's own store, not the product.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers.
    Controllers,
    /// The scheduler.
    Scheduler,
}

/// All of them in the order in which they start.
pub const ALL: [Program; 4] = [
    Program::Etcd,
    Program::ApiServer,
    Program::Controllers,
    Program::Scheduler,
];

/// How long a program may take to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

impl Program {
    /// The name of the program's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::Controllers => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }

    fn arguments(self, layout: Layout) -> Vec<String> {
        match self {
            Self::Etcd => etcd(layout),
            Self::ApiServer => api_server(layout),
            Self::Controllers => controllers(layout),
            Self::Scheduler => scheduler(layout),
        }
    }

    fn pid_file(self, layout: Layout) -> PidFile {
        PidFile(layout.control().join(format!("{}.pid", self.name())))
    }

    /// Where its output goes.
    pub fn log(self, layout: Layout) -> PathBuf {
        layout.control().join(format!("{}.log", self.name()))
    }

    /// Its process, if it lives.
    pub fn process(self, layout: Layout) -> Option<i32> {
        self.pid_file(layout).living()
    }

    /// Starts it unless it lives already.
    pub fn start(self, layout: Layout, programs: &Programs) -> Result<()> {
        self.start_with(layout, programs, &[])
    }

    /// Starts it with further flags unless it lives already.
    pub fn start_with(self, layout: Layout, programs: &Programs, more: &[String]) -> Result<()> {
        if self.process(layout).is_some() {
            return Ok(());
        }
        let detached = Detached {
            log: self.log(layout),
            cgroup: layout.control_cgroup(),
        };
        let arguments = [&self.arguments(layout)[..], more].concat();
        let process = detached.start(&programs.path(self.name()), &arguments)?;
        self.pid_file(layout).write(process)
    }

    /// Kills it without a warning and waits until it is gone.
    pub async fn kill(self, layout: Layout) -> Result<()> {
        self.end(layout, Signal::KILL, GONE_TIMEOUT).await
    }

    /// Asks it to end, and kills it when it does not.
    pub async fn stop(self, layout: Layout) -> Result<()> {
        match self.end(layout, Signal::TERM, STOP_GRACE).await {
            Ok(()) => Ok(()),
            Err(_) => self.kill(layout).await,
        }
    }

    async fn end(self, layout: Layout, signal: Signal, limit: Duration) -> Result<()> {
        if let Some(process) = self.process(layout) {
            cgroup::signal(process, signal);
        }
        until(
            &format!("{} to end", self.name()),
            limit,
            async || match self.process(layout) {
                None => Ok(()),
                Some(process) => Err(format!("process {process} is still there")),
            },
        )
        .await
    }
}

fn pki(layout: Layout, file: &str) -> String {
    layout.pki().join(file).to_string_lossy().into_owned()
}

fn etcd(layout: Layout) -> Vec<String> {
    let (client, peer) = (
        layout.etcd_url(),
        format!("http://{}:2380", layout.control_address()),
    );
    vec![
        "--name=control".into(),
        format!("--data-dir={}", layout.control().join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=control={peer}"),
        format!("--cert-file={}", pki(layout, "etcd.crt")),
        format!("--key-file={}", pki(layout, "etcd.key")),
        format!("--trusted-ca-file={}", pki(layout, "ca-etcd.crt")),
        "--client-cert-auth".into(),
        // The control plane's disk is not what is tested, and shares one with what is.
        "--unsafe-no-fsync".into(),
    ]
}

fn api_server(layout: Layout) -> Vec<String> {
    let address = layout.control_address();
    vec![
        format!("--advertise-address={address}"),
        format!("--bind-address={address}"),
        "--secure-port=6443".into(),
        format!("--etcd-servers={}", layout.etcd_url()),
        format!("--etcd-cafile={}", pki(layout, "ca-etcd.crt")),
        format!("--etcd-certfile={}", pki(layout, "etcd-client.crt")),
        format!("--etcd-keyfile={}", pki(layout, "etcd-client.key")),
        format!("--client-ca-file={}", pki(layout, "ca-kube.crt")),
        format!("--tls-cert-file={}", pki(layout, "apiserver.crt")),
        format!("--tls-private-key-file={}", pki(layout, "apiserver.key")),
        format!(
            "--kubelet-client-certificate={}",
            pki(layout, "kubelet-client.crt")
        ),
        format!("--kubelet-client-key={}", pki(layout, "kubelet-client.key")),
        format!(
            "--kubelet-certificate-authority={}",
            pki(layout, "ca-kube.crt")
        ),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", pki(layout, "accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            pki(layout, "accounts.key")
        ),
        format!("--service-cluster-ip-range={}", layout.service_subnet()),
        format!(
            "--requestheader-client-ca-file={}",
            pki(layout, "ca-front.crt")
        ),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        format!(
            "--proxy-client-cert-file={}",
            pki(layout, "front-client.crt")
        ),
        format!(
            "--proxy-client-key-file={}",
            pki(layout, "front-client.key")
        ),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        format!("--cert-dir={}", layout.control().join("certs").display()),
    ]
}

fn controllers(layout: Layout) -> Vec<String> {
    let kubeconfig = pki(layout, "kube-controller-manager.kubeconfig");
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", layout.control_address()),
        "--use-service-account-credentials".into(),
        format!("--root-ca-file={}", pki(layout, "ca-kube.crt")),
        format!(
            "--service-account-private-key-file={}",
            pki(layout, "accounts.key")
        ),
        "--allocate-node-cidrs=false".into(),
        "--controllers=*,-certificatesigningrequest-signing-controller,\
         -certificatesigningrequest-approving-controller"
            .into(),
        // At the default of 20 a second it needs 5 s only to start its controllers.
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
        format!("--cert-dir={}", layout.control().join("certs").display()),
    ]
}

fn scheduler(layout: Layout) -> Vec<String> {
    let kubeconfig = pki(layout, "kube-scheduler.kubeconfig");
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", layout.control_address()),
        format!("--cert-dir={}", layout.control().join("certs").display()),
    ]
}
