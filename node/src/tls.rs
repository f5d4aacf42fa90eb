//! Certificates: read from a directory, looked at again now and then, used from the next handshake on.
//! The names in a peer's certificate say what it may do; nothing here decides what that is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::limits::TLS_RELOAD_MS;

/// The DNS name that marks a node's certificate.
pub const NODE_IDENTITY: &str = "node.standby.dev";

/// Why TLS does not work.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("--tls-dir: cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it must.
    #[error("--tls-dir: {} holds no usable {needs}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it must hold.
        needs: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Certificate and key were refused.
    #[error("--tls-dir: certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// No verifier can be made of the CA.
    #[error("--tls-dir: ca.crt cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    /// The handshake took too long.
    #[error("TLS handshake took longer than {0} ms")]
    Slow(u128),
    /// A certificate without the name it needs.
    #[error("the certificate is for {names:?}, it must name {needs:?}")]
    WrongIdentity {
        /// The name it needs.
        needs: &'static str,
        /// The names it has.
        names: Vec<String>,
    },
    /// The peer's certificate cannot be read.
    #[error("the peer's certificate cannot be read: {0}")]
    Peer(String),
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientTls {
    /// Clients show a certificate of the cluster's CA.
    Mutual,
    /// Only the server does.
    ServerOnly,
    /// No TLS on the client port.
    Disabled,
}

#[derive(Debug)]
struct Configs {
    mutual: Arc<ServerConfig>,
    clients: Arc<ServerConfig>,
    dial: Arc<ClientConfig>,
}

/// The certificates of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    dir: PathBuf,
    clients: ClientTls,
    configs: Arc<RwLock<Arc<Configs>>>,
}

impl Tls {
    /// Reads `tls.crt`, `tls.key` and `ca.crt` in `dir`.
    pub fn load(dir: &Path, client_tls: ClientTls) -> Result<Self, TlsError> {
        let configs = Arc::new(RwLock::new(Arc::new(read(dir, client_tls)?)));
        Ok(Self {
            dir: dir.to_owned(),
            clients: client_tls,
            configs,
        })
    }

    /// Reads the files again from time to time. What cannot be read changes nothing.
    pub async fn keep_fresh(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(TLS_RELOAD_MS)).await;
            match read(&self.dir, self.clients) {
                Ok(configs) => *self.configs.write() = Arc::new(configs),
                Err(error) => tracing::warn!(%error, "certificates were not renewed"),
            }
        }
    }

    fn configs(&self) -> Arc<Configs> {
        Arc::clone(&self.configs.read())
    }

    /// The client port's configuration, for each connection anew; none when clients use no TLS.
    #[must_use]
    pub fn client_source(&self) -> Option<Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>> {
        if self.clients == ClientTls::Disabled {
            return None;
        }
        let tls = self.clone();
        Some(Arc::new(move || Arc::clone(&tls.configs().clients)))
    }

    /// Accepts a connection whose other end must show a certificate of the cluster's CA.
    pub async fn accept_mutual<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        limit: Duration,
    ) -> Result<tokio_rustls::server::TlsStream<S>, TlsError> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.configs().mutual));
        match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(accepted) => accepted.map_err(TlsError::Handshake),
            Err(_) => Err(TlsError::Slow(limit.as_millis())),
        }
    }

    /// Connects to the node `name`, which must show a certificate for that name.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: &str,
        limit: Duration,
    ) -> Result<tokio_rustls::client::TlsStream<S>, TlsError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| TlsError::Peer(format!("{name:?} is no DNS name: {error}")))?;
        let connector = TlsConnector::from(Arc::clone(&self.configs().dial));
        match tokio::time::timeout(limit, connector.connect(name, stream)).await {
            Ok(connected) => connected.map_err(TlsError::Handshake),
            Err(_) => Err(TlsError::Slow(limit.as_millis())),
        }
    }
}

fn read_file(dir: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), TlsError> {
    let path = dir.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(source) => Err(TlsError::Read { path, source }),
    }
}

fn certificates(dir: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (path, bytes) = read_file(dir, name)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError::Content {
            path,
            needs: "certificate",
            what: "there is none".into(),
        }),
        Err(error) => Err(TlsError::Content {
            path,
            needs: "certificate",
            what: error.to_string(),
        }),
    }
}

fn read(dir: &Path, client_tls: ClientTls) -> Result<Configs, TlsError> {
    let chain = certificates(dir, "tls.crt")?;
    let (path, bytes) = read_file(dir, "tls.key")?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::Content {
        path,
        needs: "key",
        what: error.to_string(),
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(dir, "ca.crt")? {
        roots.add(certificate)?;
    }
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder(Arc::clone(&roots)).build()?;
    let mutual = ServerConfig::builder()
        .with_client_cert_verifier(Arc::clone(&verifier))
        .with_single_cert(chain.clone(), key.clone_key())?;
    let mut clients = if client_tls == ClientTls::Mutual {
        mutual.clone()
    } else {
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())?
    };
    clients.alpn_protocols = standby_etcd::server::ALPN_PROTOCOLS
        .map(<[u8]>::to_vec)
        .to_vec();
    let mut control = mutual;
    control.alpn_protocols = vec![b"h2".to_vec()];
    let dial = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(Configs {
        mutual: Arc::new(control),
        clients: Arc::new(clients),
        dial: Arc::new(dial),
    })
}

/// The DNS names in the certificate that the other end showed.
pub fn names_of(chain: Option<&[CertificateDer<'_>]>) -> Result<Vec<String>, TlsError> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let shown = chain.and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| TlsError::Peer("none was shown".into()))?;
    let (_, certificate) =
        X509Certificate::from_der(shown).map_err(|error| TlsError::Peer(error.to_string()))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| TlsError::Peer(error.to_string()))?;
    let names = names
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    Ok(names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect())
}
