//! The configuration of the programs on a host, and the script that is its first process. Written
//! once; a host that comes back reads the same files.

use serde_json::{Value, json};

use super::host::Host;
use super::network::POD_BRIDGE;
use crate::error::{Error, Result};
use crate::parts::Programs;

/// The image of every pod's first process.
pub const PAUSE_IMAGE: &str = "docker.io/local/pause:1";

/// Writes all files of a host.
pub fn write(host: Host, programs: &Programs) -> Result<()> {
    let folder = host.folder();
    for sub in [
        "cni",
        "volumes",
        "logs",
        "pod-logs",
        "plugins",
        "kubelet/pki",
    ] {
        let path = folder.join(sub);
        std::fs::create_dir_all(&path).map_err(Error::file("make", path))?;
    }
    let files = [
        ("containerd.toml", containerd(host, programs)),
        ("cni/10-bridge.conflist", pretty(&cni(host))),
        ("kubelet.json", pretty(&kubelet(host))),
        ("kube-proxy.json", pretty(&kube_proxy(host))),
        ("init", init(host, programs)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::file("write", path))?;
    }
    Ok(())
}

/// The configuration of the kube-proxy on the switch: it translates for the machine itself.
pub fn switch_proxy(host: Host) -> String {
    pretty(&kube_proxy(host))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value can be written")
}

fn containerd(host: Host, programs: &Programs) -> String {
    let folder = host.folder();
    let folder = folder.display();
    let (socket, runc, bin) = (
        host.socket(),
        programs.text("runc"),
        programs.folder_of("bridge").display().to_string(),
    );
    format!(
        r#"version = 4
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.image-verifier.v1.bindir",
]

[plugins."io.containerd.server.v1.grpc"]
  address = "{socket}"

[plugins."io.containerd.server.v1.ttrpc"]
  address = "{socket}.ttrpc"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  enable_selinux = false
  enable_criu = false
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{bin}"]
    conf_dir = "{folder}/cni"
"#
    )
}

fn cni(host: Host) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": POD_BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-ipam",
                "ranges": [[{"subnet": host.layout.pod_subnet(host.name)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn kubelet(host: Host) -> Value {
    let folder = host.folder();
    let folder = folder.display();
    let pki = host.layout.pki();
    let pki = pki.display();
    let node = host.node();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{pki}/ca-kube.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": format!("{pki}/{node}.crt"),
        "tlsPrivateKeyFile": format!("{pki}/{node}.key"),
        "address": host.layout.host_address(host.name),
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "clusterDNS": [host.layout.dns_address()],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{}", host.socket()),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": true,
        "cgroupRoot": format!("/{node}"),
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        "podLogsDir": format!("{folder}/pod-logs"),
        "volumePluginDir": format!("{folder}/plugins"),
        "makeIPTablesUtilChains": false,
        "protectKernelDefaults": false,
        // Several hosts share one disk, and images cannot be pulled again.
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // A process that is killed over and over must not make the tests wait for minutes.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "nodeStatusUpdateFrequency": "1s",
        "registerNode": true,
    })
}

fn kube_proxy(host: Host) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": host.node(),
        "clientConnection": {
            "kubeconfig": host.layout.pki().join("kube-proxy.kubeconfig"),
        },
        "detectLocalMode": "BridgeInterface",
        "detectLocal": {"bridgeInterface": POD_BRIDGE},
        // These settings of the kernel are read-only in a network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

/// The host's first process. It waits for `go` before it starts what needs the API server: a kubelet
/// that finds none falls into growing pauses. When the host comes back `go` is there already.
fn init(host: Host, programs: &Programs) -> String {
    let folder = host.folder();
    let folder = folder.display();
    let node = host.node();
    let pki = host.layout.pki();
    let pki = pki.display();
    let (zone, address) = (host.name, host.layout.host_address(host.name));
    let path = [
        programs.folder_of("containerd").display().to_string(),
        programs.folder_of("runc").display().to_string(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    ]
    .join(":");
    let (containerd, kubelet) = (programs.text("containerd"), programs.text("kubelet"));
    let (kube_proxy, provisioner) = (programs.text("kube-proxy"), programs.text("provisioner"));
    format!(
        r#"export PATH={path}
hostname {node}
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /var/lib/cni
mount -t tmpfs tmpfs /var/log/containers
mkdir -p /run/lock
rm -f {folder}/containerd.sock {folder}/containerd.sock.ttrpc
for image in {folder}/volumes/*.img; do
  [ -e "$image" ] || continue
  mkdir -p "${{image%.img}}"
  mount -o loop "$image" "${{image%.img}}"
done
{containerd} --config {folder}/containerd.toml >> {folder}/logs/containerd.log 2>&1 &
(
  until [ -e {folder}/go ]; do sleep 0.05; done
  {kube_proxy} --config={folder}/kube-proxy.json >> {folder}/logs/kube-proxy.log 2>&1 &
  {provisioner} --kubeconfig={pki}/provisioner.kubeconfig --host={node} \
    --folder={folder}/volumes >> {folder}/logs/provisioner.log 2>&1 &
  until [ -S {folder}/containerd.sock ]; do sleep 0.05; done
  # The socket is there before anybody answers on it, and a kubelet that gets no answer ends.
  while :; do
    {kubelet} --config={folder}/kubelet.json --kubeconfig={pki}/{node}.kubeconfig \
      --root-dir={folder}/kubelet --cert-dir={folder}/kubelet/pki --hostname-override={node} \
      --node-ip={address} --node-labels=topology.kubernetes.io/zone={zone} \
      >> {folder}/logs/kubelet.log 2>&1
    sleep 0.5
  done
) &
sleep infinity &
# The first process adopts every orphan of the host and must reap it.
while :; do wait; done
"#
    )
}
