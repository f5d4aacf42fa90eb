//! Certificates, keys and kubeconfigs of one local cluster. They live as long as the cluster and are
//! never used for anything else.

use std::net::IpAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use super::layout::{HOSTS, Layout};
use crate::error::{Error, Result};

/// One certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate says about its holder.
struct Holder<'a> {
    file: &'a str,
    name: &'a str,
    organization: Option<&'a str>,
    addresses: Vec<String>,
}

/// Makes everything the programs of the cluster need to trust each other.
pub fn make(layout: Layout) -> Result<()> {
    let folder = layout.pki();
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let kube = Authority::new(&folder, "kube")?;
    let etcd = Authority::new(&folder, "etcd")?;
    let front = Authority::new(&folder, "front")?;

    let control = layout.control_address();
    etcd.issue(&folder, &Holder::new("etcd", "etcd").at([control.clone()]))?;
    etcd.issue(&folder, &Holder::new("etcd-client", "kube-apiserver"))?;
    front.issue(&folder, &Holder::new("front-client", "front-proxy-client"))?;
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let addresses = names.map(String::from).into_iter().chain([
        control,
        layout.api_service_address(),
        "127.0.0.1".to_owned(),
    ]);
    kube.issue(
        &folder,
        &Holder::new("apiserver", "kube-apiserver").at(addresses),
    )?;
    let masters = "system:masters";
    kube.issue(
        &folder,
        &Holder::new("kubelet-client", "kube-apiserver").of(masters),
    )?;
    for (file, name, organization) in [
        ("admin", "admin", Some(masters)),
        ("provisioner", "volume-provisioner", Some(masters)),
        (
            "kube-controller-manager",
            "system:kube-controller-manager",
            None,
        ),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
    ] {
        kube.issue(
            &folder,
            &Holder {
                organization,
                ..Holder::new(file, name)
            },
        )?;
        kubeconfig(layout, file)?;
    }
    for host in HOSTS {
        let node = layout.node_name(host);
        let name = format!("system:node:{node}");
        let addresses = [node.clone(), layout.host_address(host)];
        kube.issue(
            &folder,
            &Holder::new(&node, &name).of("system:nodes").at(addresses),
        )?;
        kubeconfig(layout, &node)?;
    }
    let accounts = KeyPair::generate()?;
    write(&folder.join("accounts.key"), &accounts.serialize_pem())?;
    write(&folder.join("accounts.pub"), &accounts.public_key_pem())?;
    let admin = folder.join("admin.kubeconfig");
    std::fs::copy(&admin, layout.kubeconfig()).map_err(Error::file("copy", &admin))?;
    Ok(())
}

impl<'a> Holder<'a> {
    fn new(file: &'a str, name: &'a str) -> Self {
        Self {
            file,
            name,
            organization: None,
            addresses: Vec::new(),
        }
    }

    fn of(mut self, organization: &'a str) -> Self {
        self.organization = Some(organization);
        self
    }

    fn at(mut self, addresses: impl IntoIterator<Item = String>) -> Self {
        self.addresses.extend(addresses);
        self
    }
}

fn named(name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        full.push(DnType::OrganizationName, organization);
    }
    full
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("standby local {name}"), None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        write(&folder.join(format!("ca-{name}.crt")), &certificate)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
        })
    }

    fn issue(&self, folder: &Path, holder: &Holder<'_>) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(holder.name, holder.organization);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        for address in &holder.addresses {
            params
                .subject_alt_names
                .push(match address.parse::<IpAddr>() {
                    Ok(ip) => SanType::IpAddress(ip),
                    Err(_) => SanType::DnsName(address.as_str().try_into()?),
                });
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        write(&folder.join(format!("{}.crt", holder.file)), &certificate)?;
        write(
            &folder.join(format!("{}.key", holder.file)),
            &key.serialize_pem(),
        )
    }
}

/// Writes the kubeconfig of the holder of `<file>.crt`, complete in one file.
fn kubeconfig(layout: Layout, file: &str) -> Result<()> {
    let folder = layout.pki();
    let data = |name: String| -> Result<String> {
        let path = folder.join(name);
        std::fs::read(&path)
            .map(|bytes| STANDARD.encode(bytes))
            .map_err(Error::file("read", path))
    };
    let name = format!("standby-{}", layout.number());
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": layout.api_url(),
            "certificate-authority-data": data("ca-kube.crt".to_owned())?,
        }}],
        "users": [{"name": file, "user": {
            "client-certificate-data": data(format!("{file}.crt"))?,
            "client-key-data": data(format!("{file}.key"))?,
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": file}}],
    });
    write(
        &folder.join(format!("{file}.kubeconfig")),
        &serde_yaml::to_string(&document)?,
    )
}

/// Writes a file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::file("write", path))
}
