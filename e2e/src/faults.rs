//! Faults on purpose: processes killed or stopped, power and cables cut, packets dropped, disks
//! frozen or slowed. Each is undone by its guard, also when a test fails; [`heal`] undoes them all.
//!
//! Faults act from the machine's side. The programs under test are never asked to cooperate.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use rustix::process::Signal;

use crate::cluster::cgroup;
use crate::cluster::control_plane::{self, Program};
use crate::cluster::host::Host;
use crate::cluster::layout::{HOSTS, HostName, Layout};
use crate::cluster::{Cluster, network};
use crate::command::{line, run};
use crate::error::{Error, Result};

/// The name before the number of every packet filter table that a fault makes.
const TABLE: &str = "fault";
/// Before connection tracking and address translation, so that nothing gets past.
const HOOK_PRIORITY: &str = "-400";

static NEXT_TABLE: AtomicU32 = AtomicU32::new(1);

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

/// Pulls the cable of a host.
pub async fn unplug(cluster: &Cluster, name: HostName) -> Result<Fault> {
    network::set_link(cluster.layout, name, false).await?;
    let switch = cluster.layout.switch();
    let plug = format!("ip -n {switch} link set {} up", cluster.layout.port(name));
    Ok(Fault::by_command(
        plug.split(' ').map(String::from).collect(),
    ))
}

/// Which packets a host drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What comes in by the cable.
    Incoming,
    /// What would go out by the cable.
    Outgoing,
}

/// Makes a host deaf or mute: one direction of its cable is dead.
pub async fn one_way(cluster: &Cluster, name: HostName, direction: Direction) -> Result<Fault> {
    let (hook, rule) = match direction {
        Direction::Incoming => ("prerouting", "iifname eth0 drop"),
        Direction::Outgoing => ("postrouting", "oifname eth0 drop"),
    };
    drop_packets(cluster, name, hook, &[rule.to_owned()]).await
}

/// Cuts the way between two hosts, in both directions, at the first one. Others reach both.
pub async fn part_hosts(cluster: &Cluster, name: HostName, from: HostName) -> Result<Fault> {
    let layout = cluster.layout;
    let addresses = format!(
        "{{ {}, {} }}",
        layout.host_address(from),
        layout.pod_subnet(from)
    );
    let rules = ["saddr", "daddr"].map(|side| format!("ip {side} {addresses} drop"));
    drop_packets(cluster, name, "prerouting", &rules).await
}

/// Drops what one pod sends to another, at the receiver's host; the other way stays open.
pub async fn part_pods(cluster: &Cluster, from: &Pod, to: &Pod) -> Result<Fault> {
    let host = host_of(cluster, to)?;
    let rule = format!(
        "ip saddr {} ip daddr {} drop",
        pod_address(from)?,
        pod_address(to)?
    );
    drop_packets(cluster, host.name, "prerouting", &[rule]).await
}

async fn drop_packets(
    cluster: &Cluster,
    name: HostName,
    hook: &str,
    rules: &[String],
) -> Result<Fault> {
    let namespace = cluster.layout.node_name(name);
    let table = format!("{TABLE}{}", NEXT_TABLE.fetch_add(1, Ordering::Relaxed));
    let chain = format!("type filter hook {hook} priority {HOOK_PRIORITY}");
    let rules = rules.join("\n");
    let text = format!("table inet {table} {{\nchain drops {{\n{chain};\n{rules}\n}}\n}}\n");
    run("ip", &["netns", "exec", &namespace, "nft", &text]).await?;
    let undo = format!("ip netns exec {namespace} nft delete table inet {table}");
    Ok(Fault::by_command(
        undo.split(' ').map(String::from).collect(),
    ))
}

/// Freezes the filesystem of a claim: writes and syncs hang and their processes cannot be killed.
pub async fn freeze(cluster: &Cluster, pod: &Pod, claim: &PersistentVolumeClaim) -> Result<Fault> {
    let host = host_of(cluster, pod)?;
    let path = volume_path(host, claim)?.to_string_lossy().into_owned();
    let init = powered(host)?.to_string();
    let words = ["nsenter", "--target", &init, "--mount", "fsfreeze"];
    run(words[0], &[&words[1..], &["--freeze", &path]].concat()).await?;
    let undo = [&words[..], &["--unfreeze", &path]].concat();
    Ok(Fault::by_command(
        undo.into_iter().map(String::from).collect(),
    ))
}

/// Slows the direct and synchronous writes of a container to its volume.
pub fn throttle(
    cluster: &Cluster,
    (pod, container): (&Pod, &str),
    claim: &PersistentVolumeClaim,
    bytes_per_second: u64,
) -> Result<Fault> {
    let host = host_of(cluster, pod)?;
    let id = container_id(pod, container)?;
    let inside = volume_path(host, claim)?;
    let inside = inside.strip_prefix("/").unwrap_or(&inside);
    let seen = PathBuf::from(format!("/proc/{}/root", powered(host)?)).join(inside);
    let device = std::fs::metadata(&seen)
        .map_err(Error::file("look at", &seen))?
        .dev();
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let folder = cgroup::of_container(&host.node(), "blkio", &id)
        .ok_or_else(|| Error::Wrong(format!("{} has no cgroup for its disk", pod.name_any())))?;
    let (file, on, off) = if cgroup::is_unified() {
        (
            "io.max",
            format!("{device} wbps={bytes_per_second}"),
            format!("{device} wbps=max"),
        )
    } else {
        let file = "blkio.throttle.write_bps_device";
        (
            file,
            format!("{device} {bytes_per_second}"),
            format!("{device} 0"),
        )
    };
    let file = folder.join(file);
    std::fs::write(&file, on).map_err(Error::file("write", &file))?;
    Ok(Fault::new(move || {
        // The container may be gone, and its cgroup with it.
        let _ = std::fs::write(&file, off);
    }))
}

/// Undoes every fault that may be left: power, cables, packet filters, frozen disks, stopped
/// processes, and the programs of the control plane.
pub async fn heal(cluster: &Cluster) -> Result<()> {
    let layout = cluster.layout;
    thaw_all(layout).await?;
    for name in HOSTS {
        let host = cluster.host(name);
        network::set_link(layout, name, true).await?;
        remove_tables(&layout.node_name(name)).await?;
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
    cluster.start_program(Program::ApiServer).await
}

async fn remove_tables(namespace: &str) -> Result<()> {
    let listed = line(&format!("ip netns exec {namespace} nft list tables inet")).await?;
    for table in listed
        .lines()
        .filter_map(|line| line.strip_prefix("table inet "))
    {
        if table.starts_with(TABLE) {
            line(&format!(
                "ip netns exec {namespace} nft delete table inet {table}"
            ))
            .await?;
        }
    }
    Ok(())
}

/// Thaws every volume of every host that has power. A frozen one would keep its processes, and so
/// the host, from ending.
pub async fn thaw_all(layout: Layout) -> Result<()> {
    for name in HOSTS {
        thaw(Host { layout, name }).await?;
    }
    Ok(())
}

/// Thaws every volume of one host.
pub async fn thaw(host: Host) -> Result<()> {
    let Some(init) = host.init() else {
        return Ok(());
    };
    let folder = host.folder().join("volumes");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(());
    };
    for entry in entries.filter_map(std::result::Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            let init = init.to_string();
            let path = path.to_string_lossy();
            // Refused for what is not frozen, which is what is wanted.
            let _ = run(
                "nsenter",
                &["-t", &init, "-m", "fsfreeze", "--unfreeze", &path],
            )
            .await;
        }
    }
    Ok(())
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

fn volume_path(host: Host, claim: &PersistentVolumeClaim) -> Result<PathBuf> {
    let volume = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref());
    let volume =
        volume.ok_or_else(|| Error::Wrong(format!("{} has no volume", claim.name_any())))?;
    Ok(host.folder().join("volumes").join(volume))
}

fn powered(host: Host) -> Result<i32> {
    host.init()
        .ok_or_else(|| Error::Wrong(format!("{} has no power", host.node())))
}
