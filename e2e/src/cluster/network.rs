//! The network of one local cluster: a switch in a namespace of its own, a cable to each host and one
//! to the machine. Nothing has a way out, and deleting the namespaces removes all of it.

use super::layout::{HOSTS, HostName, Layout};
use crate::command::{line, run};
use crate::error::Result;

/// The bridge on each host that its pods are connected to; the host's CNI makes it.
pub const POD_BRIDGE: &str = "cni0";

/// Lays all cables.
pub async fn make(layout: Layout) -> Result<()> {
    let switch = layout.switch();
    line(&format!("ip netns add {switch}")).await?;
    line(&format!("ip -n {switch} link set lo up")).await?;
    line(&format!("ip -n {switch} link add br0 type bridge")).await?;
    line(&format!(
        "ip -n {switch} addr add {}/24 dev br0",
        layout.switch_address()
    ))
    .await?;
    line(&format!("ip -n {switch} link set br0 up")).await?;
    sysctl(&switch, &["net.ipv4.ip_forward=1"]).await?;
    // Only what is routed through the switch is for its kube-proxy; what it passes between hosts is
    // for theirs. Without the bridge filter there is nothing to switch off.
    let _ = sysctl(&switch, &["net.bridge.bridge-nf-call-iptables=0"]).await;

    let root = layout.root_link();
    line(&format!(
        "ip link add {root} type veth peer name root netns {switch}"
    ))
    .await?;
    line(&format!("ip -n {switch} link set root master br0 up")).await?;
    line(&format!(
        "ip addr add {}/24 dev {root}",
        layout.control_address()
    ))
    .await?;
    line(&format!("ip link set {root} up")).await?;
    for host in HOSTS {
        make_host(layout, host).await?;
    }
    let services = layout.service_subnet();
    line(&format!(
        "ip route add {services} via {}",
        layout.switch_address()
    ))
    .await?;
    for host in HOSTS {
        let (pods, via) = (layout.pod_subnet(host), layout.host_address(host));
        line(&format!("ip route add {pods} via {via}")).await?;
        line(&format!("ip -n {switch} route add {pods} via {via}")).await?;
    }
    Ok(())
}

/// Only the address of the control plane, and the addresses of simulated pods: all of them lead back to
/// this machine, and all vanish with one link.
pub async fn make_alone(layout: Layout) -> Result<()> {
    let root = layout.root_link();
    line(&format!("ip link add {root} type bridge")).await?;
    line(&format!(
        "ip addr add {}/24 dev {root}",
        layout.control_address()
    ))
    .await?;
    line(&format!("ip link set {root} up")).await?;
    let pods = layout.simulated_subnet();
    line(&format!("ip route add local {pods} dev {root}"))
        .await
        .map(drop)
}

async fn make_host(layout: Layout, host: HostName) -> Result<()> {
    let (name, switch, port) = (layout.node_name(host), layout.switch(), layout.port(host));
    line(&format!("ip netns add {name}")).await?;
    line(&format!("ip -n {name} link set lo up")).await?;
    line(&format!(
        "ip -n {name} link add eth0 type veth peer name {port} netns {switch}"
    ))
    .await?;
    line(&format!("ip -n {switch} link set {port} master br0 up")).await?;
    line(&format!(
        "ip -n {name} addr add {}/24 dev eth0",
        layout.host_address(host)
    ))
    .await?;
    line(&format!("ip -n {name} link set eth0 up")).await?;
    routes(layout, host).await?;
    sysctl(&name, &["net.ipv4.ip_forward=1"]).await?;
    // Without it the answer of a pod on the same host passes the bridge untranslated.
    let _ = sysctl(&name, &["net.bridge.bridge-nf-call-iptables=1"]).await;
    Ok(())
}

/// The routes of a host. They vanish when its cable is pulled, so they are laid again with it.
async fn routes(layout: Layout, host: HostName) -> Result<()> {
    let name = layout.node_name(host);
    // A connect to a Service address needs some route before kube-proxy can translate it.
    let services = layout.service_subnet();
    line(&format!(
        "ip -n {name} route replace {services} via {}",
        layout.switch_address()
    ))
    .await?;
    for other in HOSTS.into_iter().filter(|other| *other != host) {
        let (pods, via) = (layout.pod_subnet(other), layout.host_address(other));
        line(&format!("ip -n {name} route replace {pods} via {via}")).await?;
    }
    Ok(())
}

async fn sysctl(namespace: &str, settings: &[&str]) -> Result<()> {
    let arguments = [&["netns", "exec", namespace, "sysctl", "-qw"], settings].concat();
    run("ip", &arguments).await.map(drop)
}

/// Pulls or plugs in the cable of a host, at the switch's end.
pub async fn set_link(layout: Layout, host: HostName, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    let (switch, port) = (layout.switch(), layout.port(host));
    line(&format!("ip -n {switch} link set {port} {state}")).await?;
    if up {
        routes(layout, host).await?;
    }
    Ok(())
}

/// What a kernel forgets when it loses power, and a namespace does not: who had which address, the pods'
/// network, how Services are translated. New pods would be looked for at the old ones' places.
pub async fn forget(layout: Layout, host: HostName) -> Result<()> {
    let name = layout.node_name(host);
    line(&format!("ip -n {name} neigh flush all")).await?;
    line(&format!("ip netns exec {name} nft flush ruleset")).await?;
    let links = line(&format!("ip -n {name} -br link show type bridge")).await?;
    if links.contains(POD_BRIDGE) {
        line(&format!("ip -n {name} link delete {POD_BRIDGE}")).await?;
    }
    Ok(())
}

/// Removes what [`make`] made, also half of it.
pub async fn remove(layout: Layout) -> Result<()> {
    let present = line("ip netns list").await?;
    let names = HOSTS.map(|host| layout.node_name(host));
    for name in names.into_iter().chain([layout.switch()]) {
        if present
            .lines()
            .any(|line| line.split(' ').next() == Some(&name))
        {
            line(&format!("ip netns delete {name}")).await?;
        }
    }
    // The cable's other end takes this one along, but only once the kernel gets to it.
    let root = layout.root_link();
    if std::path::Path::new("/sys/class/net").join(&root).exists() {
        let _ = line(&format!("ip link delete {root}")).await;
    }
    Ok(())
}
