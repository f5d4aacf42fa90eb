//! A local Kubernetes with one control plane and three worker hosts in three zones, made of
//! namespaces, cgroups and processes of this machine.

pub mod alone;
pub mod cgroup;
pub mod control_plane;
pub mod host;
mod host_files;
pub mod layout;
mod manifests;
pub mod network;
mod pid_file;
mod pki;
mod process;

use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use tokio::time::{Duration, timeout};

use self::control_plane::Program;
use self::host::Host;
use self::layout::{HOSTS, HostName, Layout};
use self::process::Detached;
use crate::command::{run, until};
use crate::error::{Error, Result};
use crate::images;
use crate::kubernetes::{self, Kubernetes};
use crate::limits::{API_READY_TIMEOUT, NODE_READY_TIMEOUT};
use crate::parts::{self, Programs};
use crate::progress::Progress;

/// Folders of the machine that hosts cover with their own; made when missing, removed when empty.
const COVERED: [&str; 2] = ["/var/lib/cni", "/var/log/containers"];
/// The lines a new host's own network takes to see its first answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// A local Kubernetes that is up.
pub struct Cluster {
    /// Its names, addresses and folders.
    pub layout: Layout,
    /// Where its programs are.
    pub programs: Programs,
    /// Its API server.
    pub api: Kubernetes,
}

impl Cluster {
    /// Brings cluster `number` up from nothing; removes first what an earlier run of it left.
    pub async fn up(number: u8, progress: &Progress) -> Result<Self> {
        let programs = parts::build_all(progress)?;
        let layout = Layout::new(number);
        let step = progress.step("removing what an earlier run left");
        remove(layout).await?;
        step.done();

        let step = progress.step("starting one control plane and three hosts");
        let hosts = HOSTS.map(|name| Host { layout, name });
        prepare(layout, &hosts, &programs).await?;
        Program::Etcd.start(layout, &programs)?;
        Program::ApiServer.start(layout, &programs)?;
        try_join_all(hosts.iter().map(|host| host.power_on())).await?;
        let pause = images::pause(&programs, &layout.folder())?;
        let dns = images::dns(&programs, &layout.folder())?;
        let loaded = try_join_all(hosts.iter().map(|host| async {
            host.runtime_ready(&programs).await?;
            host.load(&programs, &pause).await?;
            host.load(&programs, &dns).await
        }));
        let (api, _) = futures::future::try_join(api_ready(layout, &programs), loaded).await?;
        step.done();

        let cluster = Self {
            layout,
            programs,
            api,
        };
        let step = progress.step("waiting for three Ready nodes, storage and DNS");
        cluster.start_the_rest().await?;
        step.done();
        Ok(cluster)
    }

    /// Finds a cluster that is up already.
    pub async fn attach(number: u8) -> Result<Self> {
        let layout = Layout::new(number);
        let programs = parts::find_all()?;
        let api = Kubernetes::connect(layout, &programs).await?;
        timeout(PROBE_TIMEOUT, api.is_ready())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| {
                Error::Wrong(format!("cluster {number} is not up: run `cargo xtask up`"))
            })?;
        Ok(Self {
            layout,
            programs,
            api,
        })
    }

    /// The cluster as it is if it is up, else a new one.
    pub async fn attach_or_up(number: u8, progress: &Progress) -> Result<Self> {
        match Self::attach(number).await {
            Ok(cluster) if cluster.is_whole().await => {
                progress.say("using the local Kubernetes that is up already");
                Ok(cluster)
            }
            _ => Self::up(number, progress).await,
        }
    }

    /// Whether every host has power and every control program lives.
    async fn is_whole(&self) -> bool {
        let hosts = HOSTS
            .into_iter()
            .all(|name| self.host(name).power().is_some());
        let control = control_plane::ALL
            .into_iter()
            .all(|program| program.process(self.layout).is_some());
        hosts && control && self.api.nodes_ready(HOSTS.len()).await.is_ok()
    }

    /// Removes everything cluster `number` made, also half of it.
    pub async fn down(number: u8) -> Result<()> {
        remove(Layout::new(number)).await
    }

    /// One of its hosts.
    pub fn host(&self, name: HostName) -> Host {
        Host {
            layout: self.layout,
            name,
        }
    }

    /// The host with that Kubernetes name.
    pub fn host_of_node(&self, node: &str) -> Result<Host> {
        let name = self.layout.host_of_node(node);
        name.map(|name| self.host(name))
            .ok_or_else(|| Error::Wrong(format!("no host is {node}")))
    }

    /// Loads images on every host that has power.
    pub async fn load(&self, archives: &[PathBuf]) -> Result<()> {
        let hosts = HOSTS.map(|name| self.host(name));
        let alive = hosts.iter().filter(|host| host.power().is_some());
        try_join_all(alive.map(|host| async {
            for archive in archives {
                host.load(&self.programs, archive).await?;
            }
            Ok(())
        }))
        .await
        .map(drop)
    }

    /// Starts a program of the control plane and, for the API server, waits until it is ready.
    pub async fn start_program(&self, program: Program) -> Result<()> {
        program.start(self.layout, &self.programs)?;
        if program == Program::ApiServer {
            api_ready(self.layout, &self.programs).await?;
            // Both give up their leases, and end, when the API server was away for long.
            Program::Controllers.start(self.layout, &self.programs)?;
            Program::Scheduler.start(self.layout, &self.programs)?;
        }
        Ok(())
    }

    async fn start_the_rest(&self) -> Result<()> {
        let layout = self.layout;
        Program::Controllers.start(layout, &self.programs)?;
        Program::Scheduler.start(layout, &self.programs)?;
        for name in HOSTS {
            let go = self.host(name).folder().join("go");
            std::fs::write(&go, "").map_err(Error::file("write", go))?;
        }
        self.start_switch_proxy()?;
        self.api.apply_text(&manifests::all(layout)).await?;
        until("three Ready nodes", NODE_READY_TIMEOUT, async || {
            self.api.nodes_ready(HOSTS.len()).await
        })
        .await?;
        self.api
            .deployment_ready("kube-system", "coredns", NODE_READY_TIMEOUT)
            .await
    }

    /// The machine reaches Service addresses through the switch, so that no host's death cuts it off.
    fn start_switch_proxy(&self) -> Result<()> {
        let layout = self.layout;
        let host = self.host(HOSTS[0]);
        let config = layout.control().join("switch-proxy.json");
        std::fs::write(&config, host_files::switch_proxy(host))
            .map_err(Error::file("write", &config))?;
        let detached = Detached {
            log: layout.control().join("switch-proxy.log"),
            cgroup: layout.control_cgroup(),
        };
        let namespace = format!("--net=/run/netns/{}", layout.switch());
        let proxy = self.programs.text("kube-proxy");
        let config = format!("--config={}", config.display());
        detached
            .start(
                Path::new("/usr/bin/nsenter"),
                &[&namespace, &proxy, &config],
            )
            .map(drop)
    }
}

async fn prepare(layout: Layout, hosts: &[Host], programs: &Programs) -> Result<()> {
    let control = layout.control();
    std::fs::create_dir_all(&control).map_err(Error::file("make", &control))?;
    for folder in COVERED {
        std::fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    }
    let bin = layout.bin();
    std::fs::create_dir_all(&bin).map_err(Error::file("make", &bin))?;
    for program in ["kubectl", "helm", "etcdctl", "ctr"] {
        let link = bin.join(program);
        std::os::unix::fs::symlink(programs.path(program), &link)
            .map_err(Error::file("link", link))?;
    }
    pki::make(layout)?;
    network::make(layout).await?;
    hosts.iter().try_for_each(|host| host.install(programs))
}

async fn api_ready(layout: Layout, programs: &Programs) -> Result<Kubernetes> {
    let api = Kubernetes::connect(layout, programs).await?;
    until("the API server", API_READY_TIMEOUT, async || {
        if Program::ApiServer.process(layout).is_none() {
            // Waiting would not help.
            return Ok(Err(kubernetes::tail(&Program::ApiServer.log(layout))));
        }
        match timeout(PROBE_TIMEOUT, api.is_ready()).await {
            Ok(answer) => answer.map(Ok).map_err(|error| error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    })
    .await?
    .map_err(|log| Error::Wrong(format!("the API server ended:\n{log}")))?;
    Ok(api)
}

/// Removes everything that carries the cluster's number.
async fn remove(layout: Layout) -> Result<()> {
    crate::faults::thaw_all(layout).await?;
    let names = cgroup::with_prefix(&layout.prefix());
    try_join_all(names.iter().map(|name| cgroup::kill(name))).await?;
    for name in HOSTS {
        let host = Host { layout, name };
        until(
            &format!("the loop devices of {} to go", host.node()),
            PROBE_TIMEOUT,
            async || match host.loop_devices().await {
                Ok(left) if left.is_empty() => Ok(()),
                Ok(left) => Err(left.join(", ")),
                Err(error) => Err(error.to_string()),
            },
        )
        .await?;
    }
    network::remove(layout).await?;
    try_join_all(names.iter().map(|name| cgroup::remove(name))).await?;
    let folder = layout.folder();
    if folder.exists() {
        run(
            "rm",
            &[
                "--recursive",
                "--force",
                "--one-file-system",
                &folder.to_string_lossy(),
            ],
        )
        .await?;
    }
    for covered in COVERED {
        // Only when empty: it may be the machine's own.
        let _ = std::fs::remove_dir(covered);
    }
    Ok(())
}
