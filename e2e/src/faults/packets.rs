//! Cables pulled and packets dropped: between hosts, between pods, in one direction or both.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Pod;

use super::{Fault, host_of, pod_address, powered};
use crate::cluster::host::Host;
use crate::cluster::layout::HostName;
use crate::cluster::{Cluster, network};
use crate::command::{line, run};
use crate::error::{Error, Result};

/// The name before the number of every packet filter table that a fault makes.
const TABLE: &str = "fault";
/// Before connection tracking and address translation, so that nothing gets past.
const HOOK_PRIORITY: &str = "-400";

static NEXT_TABLE: AtomicU32 = AtomicU32::new(1);

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

/// Drops everything between two pods, in both directions. Others reach both.
pub async fn part_pods_both(cluster: &Cluster, one: &Pod, other: &Pod) -> Result<[Fault; 2]> {
    Ok([
        part_pods(cluster, one, other).await?,
        part_pods(cluster, other, one).await?,
    ])
}

/// Loses one packet in `each` of all that come in by a host's cable.
pub async fn lose_packets(cluster: &Cluster, name: HostName, each: u32) -> Result<Fault> {
    let rule = format!("iifname eth0 numgen random mod {each} 0 drop");
    drop_packets(cluster, name, "prerouting", &[rule]).await
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

/// Has a host give this address to its next new pod. It must be free by then.
pub fn next_address(host: Host, address: &str) -> Result<()> {
    let wrong = || Error::Wrong(format!("{address} is no address of a pod"));
    let wanted: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let before = Ipv4Addr::from(u32::from(wanted).checked_sub(1).ok_or_else(wrong)?);
    // Where the network plugin of the host remembers which address it gave last.
    let file = format!(
        "/proc/{}/root/run/cni-ipam/pods/last_reserved_ip.0",
        powered(host)?
    );
    std::fs::write(&file, before.to_string()).map_err(Error::file("write", file))
}

/// Removes every table that a fault made.
pub(super) async fn remove_tables(namespace: &str) -> Result<()> {
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
