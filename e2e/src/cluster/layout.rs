//! Names, addresses and folders of cluster number C. Pure: everything follows from the number, so
//! two clusters never meet and what a killed run left is found again.

use std::path::PathBuf;

/// The worker hosts, one in each zone.
pub const HOSTS: [HostName; 3] = [HostName('a'), HostName('b'), HostName('c')];

/// The highest cluster number: its addresses are `10.(100+C).0.0/16`.
pub const HIGHEST_NUMBER: u8 = 99;

/// As many addresses as a /20 has.
const SIMULATED_PODS_MAX: u16 = 4_096;

/// The name of a worker host, which is also the name of its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(pub char);

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl HostName {
    /// 1, 2, 3.
    fn index(self) -> u8 {
        u8::try_from(u32::from(self.0) - u32::from('a')).expect("hosts are a, b and c") + 1
    }
}

/// Names, addresses and folders of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    number: u8,
}

impl Layout {
    /// The layout of cluster `number`.
    ///
    /// # Panics
    /// When the number is above [`HIGHEST_NUMBER`].
    pub fn new(number: u8) -> Self {
        assert!(
            number <= HIGHEST_NUMBER,
            "cluster numbers go from 0 to {HIGHEST_NUMBER}"
        );
        Self { number }
    }

    /// The number of the cluster.
    pub fn number(self) -> u8 {
        self.number
    }

    /// The prefix of every name this cluster makes outside its folder.
    pub fn prefix(self) -> String {
        format!("k{}-", self.number)
    }

    /// The folder of everything the cluster keeps.
    pub fn folder(self) -> PathBuf {
        PathBuf::from(format!("/var/lib/standby-{}", self.number))
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Links to the programs a person wants.
    pub fn bin(self) -> PathBuf {
        self.folder().join("bin")
    }

    /// Certificates and keys.
    pub fn pki(self) -> PathBuf {
        self.folder().join("pki")
    }

    /// Data, process ids and logs of the control plane.
    pub fn control(self) -> PathBuf {
        self.folder().join("control")
    }

    /// The folder of a host. Short: sockets below it have at most 107 bytes for their path.
    pub fn host_folder(self, host: HostName) -> PathBuf {
        self.folder().join(host.to_string())
    }

    /// The Kubernetes name of a host, also that of its network namespace and of its cgroups.
    pub fn node_name(self, host: HostName) -> String {
        format!("k{}-{host}", self.number)
    }

    /// The network namespace with the switch between all hosts. It is also the way from the machine
    /// to Service addresses, and outlives every host.
    pub fn switch(self) -> String {
        format!("k{}-switch", self.number)
    }

    /// The switch's end of the cable of a host.
    pub fn port(self, host: HostName) -> String {
        format!("port-{host}")
    }

    /// The machine's end of its cable to the switch.
    pub fn root_link(self) -> String {
        format!("vk{}", self.number)
    }

    /// The cgroup of the control plane and of the switch's programs.
    pub fn control_cgroup(self) -> String {
        format!("k{}-control", self.number)
    }

    fn base(self) -> String {
        format!("10.{}", 100 + u16::from(self.number))
    }

    /// Where the control plane listens.
    pub fn control_address(self) -> String {
        format!("{}.0.1", self.base())
    }

    /// The switch's own address.
    pub fn switch_address(self) -> String {
        format!("{}.0.10", self.base())
    }

    /// The address of a host.
    pub fn host_address(self, host: HostName) -> String {
        format!("{}.0.{}", self.base(), 10 + host.index())
    }

    /// The addresses of a host's pods.
    pub fn pod_subnet(self, host: HostName) -> String {
        format!("{}.{}.0/24", self.base(), host.index())
    }

    /// The addresses of simulated pods, on a control plane without hosts.
    pub fn simulated_subnet(self) -> String {
        format!("{}.16.0/20", self.base())
    }

    /// The address of the simulated pod with that number, from 0; none when all are taken.
    pub fn simulated_address(self, number: usize) -> Option<std::net::Ipv4Addr> {
        let low = u16::try_from(number)
            .ok()
            .filter(|low| *low < SIMULATED_PODS_MAX)?;
        let [high, low] = low.to_be_bytes();
        Some(std::net::Ipv4Addr::new(
            10,
            100 + self.number,
            16 + high,
            low,
        ))
    }

    /// The addresses of Services.
    pub fn service_subnet(self) -> String {
        format!("{}.128.0/20", self.base())
    }

    /// The address of the API server's Service.
    pub fn api_service_address(self) -> String {
        format!("{}.128.1", self.base())
    }

    /// The address of cluster DNS.
    pub fn dns_address(self) -> String {
        format!("{}.128.10", self.base())
    }

    /// All pods and hosts.
    pub fn whole_subnet(self) -> String {
        format!("{}.0.0/16", self.base())
    }

    /// The API server's URL.
    pub fn api_url(self) -> String {
        format!("https://{}:6443", self.control_address())
    }

    /// The control plane's etcd.
    pub fn etcd_url(self) -> String {
        format!("https://{}:2379", self.control_address())
    }

    /// The host of that Kubernetes name.
    pub fn host_of_node(self, node: &str) -> Option<HostName> {
        HOSTS.into_iter().find(|host| self.node_name(*host) == node)
    }
}

#[cfg(test)]
mod tests {
    use super::{HOSTS, Layout};

    #[test]
    fn two_clusters_share_no_address() {
        let (first, second) = (Layout::new(0), Layout::new(99));
        assert_eq!(first.whole_subnet(), "10.100.0.0/16");
        assert_eq!(second.whole_subnet(), "10.199.0.0/16");
        assert_eq!(first.pod_subnet(HOSTS[2]), "10.100.3.0/24");
        assert_eq!(first.host_address(HOSTS[0]), "10.100.0.11");
    }

    #[test]
    fn simulated_pods_have_addresses_of_their_own_until_none_is_left() {
        let layout = Layout::new(98);
        let address = |number| layout.simulated_address(number).map(|it| it.to_string());
        assert_eq!(address(0).as_deref(), Some("10.198.16.0"));
        assert_eq!(address(4_095).as_deref(), Some("10.198.31.255"));
        assert_eq!(address(4_096), None);
    }

    #[test]
    fn a_socket_path_of_a_host_is_short_enough() {
        let socket = Layout::new(99)
            .host_folder(HOSTS[0])
            .join("containerd.sock.ttrpc");
        assert!(socket.to_string_lossy().len() < 107);
    }

    #[test]
    fn a_host_is_found_by_its_node_name() {
        let layout = Layout::new(7);
        assert_eq!(layout.host_of_node("k7-b"), Some(HOSTS[1]));
        assert_eq!(layout.host_of_node("k8-b"), None);
    }
}
