//! The certificates of one loopback cluster, as the operator makes them for pods: one CA, one certificate
//! for each node, one for whoever gives orders.
//!
//! Never used for anything but tests: keys are as old as the cluster and are removed with it.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use standby_control::OPERATOR_IDENTITY;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The DNS name that marks a node's certificate.
const NODE_IDENTITY: &str = "node.standby.dev";

/// A CA, and what it has issued.
pub struct Certificates {
    dir: tempfile::TempDir,
    ca: String,
    issuer: Issuer<'static, KeyPair>,
    /// Certificate and key of whoever gives orders, and of clients.
    ours: (String, String),
}

impl Certificates {
    /// Makes a CA.
    pub fn make() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = "standby loopback";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let ours = issue(&issuer, &[OPERATOR_IDENTITY])?;
        Ok(Self {
            dir: tempfile::tempdir()?,
            ca,
            issuer,
            ours,
        })
    }

    /// A directory for a node's `--tls-dir`.
    pub fn for_node(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir)?;
        let (certificate, key) = issue(&self.issuer, &[NODE_IDENTITY, name])?;
        fs::write(dir.join("tls.crt"), certificate)?;
        fs::write(dir.join("tls.key"), key)?;
        fs::write(dir.join("ca.crt"), &self.ca)?;
        Ok(dir)
    }

    /// What a client of the node `name` needs that only has to know the server.
    pub fn to(&self, name: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .domain_name(name)
    }

    /// What a client of the node `name` needs that has to be known itself.
    pub fn known_to(&self, name: &str) -> ClientTlsConfig {
        let (certificate, key) = &self.ours;
        self.to(name).identity(Identity::from_pem(certificate, key))
    }
}

fn issue(issuer: &Issuer<'static, KeyPair>, names: &[&str]) -> anyhow::Result<(String, String)> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
