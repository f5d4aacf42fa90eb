//! One worker host: a process tree with its own network, mounts, processes, host name and IPC, in
//! which containerd, kubelet, kube-proxy and the volume provisioner run. Killing its first process
//! is cutting its power.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::host_files;
use super::layout::{HostName, Layout};
use super::pid_file::PidFile;
use super::process::Detached;
use super::{cgroup, network};
use crate::command::{run, until};
use crate::error::Result;
use crate::limits::{CONTAINERD_TIMEOUT, GONE_TIMEOUT};
use crate::parts::Programs;

/// One worker host of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The cluster it belongs to.
    pub layout: Layout,
    /// Its name.
    pub name: HostName,
}

impl Host {
    /// Its name in Kubernetes.
    pub fn node(self) -> String {
        self.layout.node_name(self.name)
    }

    /// Its folder, which outlives its power.
    pub fn folder(self) -> PathBuf {
        self.layout.host_folder(self.name)
    }

    /// Where its programs write what they have to say.
    pub fn logs(self) -> PathBuf {
        self.folder().join("logs")
    }

    fn pid_file(self) -> PidFile {
        PidFile(self.folder().join("power.pid"))
    }

    /// The process that holds the host's power, if it is on: killing its child kills the host.
    pub fn power(self) -> Option<i32> {
        self.pid_file().living()
    }

    /// The host's first process, as the machine numbers it.
    pub fn init(self) -> Option<i32> {
        let holder = self.power()?;
        let children = format!("/proc/{holder}/task/{holder}/children");
        std::fs::read_to_string(children)
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }

    /// Writes the configuration of its programs.
    pub fn install(self, programs: &Programs) -> Result<()> {
        host_files::write(self, programs)
    }

    /// Switches it on: plugs the cable in and starts its first process, which starts the rest.
    pub async fn power_on(self) -> Result<()> {
        if self.power().is_some() {
            return Ok(());
        }
        network::set_link(self.layout, self.name, true).await?;
        let detached = Detached {
            log: self.logs().join("init.log"),
            cgroup: format!("{}/host", self.node()),
        };
        let namespace = format!("--net=/run/netns/{}", self.node());
        let init = self.folder().join("init");
        let init = init.to_string_lossy();
        let arguments = [
            namespace.as_str(),
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "bash",
            init.as_ref(),
        ];
        let process = detached.start(Path::new("/usr/bin/nsenter"), &arguments)?;
        self.pid_file().write(process)
    }

    /// Cuts its power: everything on it dies in one stroke, its mounts go, its cable is dead.
    /// What it had written to its disk is there when it comes back.
    pub async fn power_off(self) -> Result<()> {
        // The cable first: a dying machine sends no last reset.
        network::set_link(self.layout, self.name, false).await?;
        // A process that writes to a frozen disk cannot be killed.
        crate::faults::thaw(self).await?;
        if let Some(init) = self.init() {
            cgroup::signal(init, Signal::KILL);
        }
        cgroup::kill(&self.node()).await?;
        network::forget(self.layout, self.name).await?;
        until(
            &format!("the loop devices of {} to go", self.node()),
            GONE_TIMEOUT,
            async || {
                let left = self
                    .loop_devices()
                    .await
                    .map_err(|error| error.to_string())?;
                if left.is_empty() {
                    Ok(())
                } else {
                    Err(left.join(", "))
                }
            },
        )
        .await
    }

    /// The loop devices that hold images of this host's volumes.
    pub async fn loop_devices(self) -> Result<Vec<String>> {
        let listed = run(
            "losetup",
            &["--list", "--noheadings", "--output", "NAME,BACK-FILE"],
        );
        let folder = self.folder();
        Ok(listed
            .await?
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .filter(|(_, file)| Path::new(file.trim()).starts_with(&folder))
            .map(|(device, _)| device.to_owned())
            .collect())
    }

    /// Waits until its container runtime answers.
    pub async fn runtime_ready(self, programs: &Programs) -> Result<()> {
        let ctr = programs.text("ctr");
        let socket = self.socket();
        until(
            &format!("containerd on {}", self.node()),
            CONTAINERD_TIMEOUT,
            async || {
                run(&ctr, &["--address", &socket, "version"])
                    .await
                    .map(drop)
                    .map_err(|e| e.to_string())
            },
        )
        .await
    }

    /// Loads an image from an archive; pods made from then on use it.
    pub async fn load(self, programs: &Programs, archive: &Path) -> Result<()> {
        let archive = archive.to_string_lossy();
        let ctr = programs.text("ctr");
        let socket = self.socket();
        let arguments = [
            "--address",
            &socket,
            "--namespace",
            "k8s.io",
            "images",
            "import",
        ];
        run(
            &ctr,
            &[&arguments[..], &["--all-platforms", &archive]].concat(),
        )
        .await
        .map(drop)
    }

    /// The socket of its container runtime.
    pub fn socket(self) -> String {
        self.folder()
            .join("containerd.sock")
            .to_string_lossy()
            .into_owned()
    }
}
