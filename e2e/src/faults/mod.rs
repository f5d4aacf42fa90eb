//! Faults on purpose: processes killed, stopped or starved, power and cables cut, packets dropped or
//! delayed, disks frozen, slowed, filled or rolled back, clocks that jump, a store put back. Each is undone by its guard, also when a test fails; [`heal`] undoes them all.
//!
//! Faults act from the machine's side. The programs under test are never asked to cooperate.

mod clock;
mod delay;
mod disk;
mod packets;
mod store;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rustix::process::Signal;

use crate::cluster::cgroup;
use crate::cluster::control_plane::{self, Program};
use crate::cluster::host::Host;
use crate::cluster::layout::HOSTS;
use crate::cluster::{Cluster, network};
use crate::error::{Error, Result};

pub use self::clock::jump_clock;
pub use self::delay::{Delay, delay_packets};
pub use self::disk::{
    Copied, copy_volume, fill, flip_bits, freeze, lose_volume, thaw, thaw_all, throttle,
};
pub use self::packets::{
    Direction, lose_packets, next_address, one_way, part_hosts, part_pods, part_pods_both, unplug,
};
pub use self::store::{StoreBackup, back_up_store};

/// A fault that lasts until it is undone; dropping it undoes it as well.
#[must_use = "dropping a fault undoes it at once"]
pub struct Fault {
    undo: Option<Box<dyn FnOnce() + Send>>,
}

impl Fault {
    fn new(undo: impl FnOnce() + Send + 'static) -> Self {
        Self {
            undo: Some(Box::new(undo)),
        }
    }

    /// Undone by a command.
    fn by_command(words: Vec<String>) -> Self {
        Self::new(move || {
            // What it would undo may be gone with the host: then there is nothing left to do.
            let _ = std::process::Command::new(&words[0])
                .args(&words[1..])
                .output();
        })
    }

    /// Ends the fault.
    pub fn undo(self) {
        drop(self);
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            undo();
        }
    }
}

/// The running processes of a container, as the machine numbers them.
pub fn container_processes(cluster: &Cluster, pod: &Pod, container: &str) -> Result<Vec<i32>> {
    let host = host_of(cluster, pod)?;
    let id = container_id(pod, container)?;
    let processes = cgroup::container_processes(&host.node(), &id);
    if processes.is_empty() {
        return Err(Error::Wrong(format!(
            "{} has no running process",
            pod.name_any()
        )));
    }
    Ok(processes)
}

/// Kills a container's processes by SIGKILL, as the kernel does when memory runs out.
pub fn kill_container(cluster: &Cluster, pod: &Pod, container: &str) -> Result<()> {
    let processes = container_processes(cluster, pod, container)?;
    for process in processes {
        cgroup::signal(process, Signal::KILL);
    }
    Ok(())
}

/// Stops a container's processes by SIGSTOP until the fault is undone.
pub fn stop_container(cluster: &Cluster, pod: &Pod, container: &str) -> Result<Fault> {
    let processes = container_processes(cluster, pod, container)?;
    for process in &processes {
        cgroup::signal(*process, Signal::STOP);
    }
    Ok(Fault::new(move || {
        for process in processes {
            cgroup::signal(process, Signal::CONT);
        }
    }))
}

/// Gives a container's pod that many thousandths of one processor until the fault is undone.
pub fn starve(cluster: &Cluster, pod: &Pod, container: &str, thousandths: u64) -> Result<Fault> {
    let host = host_of(cluster, pod)?;
    let id = container_id(pod, container)?;
    let folder = cgroup::of_container(&host.node(), "cpu", &id)
        .ok_or_else(|| Error::Wrong(format!("{} has no cgroup for processors", pod.name_any())))?;
    let quota_us = thousandths * STARVE_PERIOD_US / 1000;
    let (file, on, off) = if cgroup::is_unified() {
        let on = format!("{quota_us} {STARVE_PERIOD_US}");
        (
            folder.join("cpu.max"),
            on,
            format!("max {STARVE_PERIOD_US}"),
        )
    } else {
        (
            folder.join("cpu.cfs_quota_us"),
            quota_us.to_string(),
            "-1".to_owned(),
        )
    };
    std::fs::write(&file, on).map_err(Error::file("write", &file))?;
    Ok(Fault::new(move || {
        // The container may be gone, and its cgroup with it.
        let _ = std::fs::write(&file, off);
    }))
}

/// The kernel's own period of a quota, in microseconds.
const STARVE_PERIOD_US: u64 = 100_000;

/// Undoes every fault that may be left: power, cables, packet filters, frozen disks, stopped
/// processes, the programs of the control plane, and cordons.
pub async fn heal(cluster: &Cluster) -> Result<()> {
    let layout = cluster.layout;
    thaw_all(layout).await?;
    for name in HOSTS {
        let host = cluster.host(name);
        network::set_link(layout, name, true).await?;
        packets::remove_tables(&layout.node_name(name)).await?;
        for process in cgroup::processes(&host.node()) {
            cgroup::signal(process, Signal::CONT);
        }
        host.power_on().await?;
    }
    for program in control_plane::ALL {
        if program != Program::ApiServer {
            program.start(layout, &cluster.programs)?;
        }
    }
    cluster.start_program(Program::ApiServer).await?;
    let nodes = HOSTS.map(|name| layout.node_name(name));
    let words = ["uncordon", &nodes[0], &nodes[1], &nodes[2]];
    cluster.api.kubectl(&words).await.map(drop)
}

/// The host a pod runs on.
pub fn host_of(cluster: &Cluster, pod: &Pod) -> Result<Host> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.ok_or_else(|| Error::Wrong(format!("{} has no host", pod.name_any())))?;
    cluster.host_of_node(node)
}

/// The address of a pod.
pub fn pod_address(pod: &Pod) -> Result<&str> {
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref());
    address.ok_or_else(|| Error::Wrong(format!("{} has no address", pod.name_any())))
}

fn container_id(pod: &Pod, container: &str) -> Result<String> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .and_then(|all| all.iter().find(|one| one.name == container))
        .and_then(|one| one.container_id.as_deref())
        .and_then(|id| id.strip_prefix("containerd://"))
        .map(String::from)
        .ok_or_else(|| {
            Error::Wrong(format!(
                "{} has no running container {container}",
                pod.name_any()
            ))
        })
}

fn powered(host: Host) -> Result<i32> {
    host.init()
        .ok_or_else(|| Error::Wrong(format!("{} has no power", host.node())))
}
