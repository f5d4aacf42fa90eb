//! The operator's identity towards the nodes of one cluster, from its Secret.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Secret;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use standby_operator_core::build::secret::{KEY_CA, KEY_CERTIFICATE, KEY_PRIVATE};

/// Certificate and key of the operator, and the CA that issued those of the nodes.
#[derive(Clone)]
pub struct OperatorTls {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
    /// What all streams of the cluster share, made when the first of them dials.
    config: OnceLock<Arc<ClientConfig>>,
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The texts are not what they should be.
    #[error("the operator's certificate, its key or the CA is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// They do not fit together.
    #[error("the operator's certificate, its key or the CA cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl PartialEq for OperatorTls {
    fn eq(&self, other: &Self) -> bool {
        (&self.certificate, &self.key, &self.ca) == (&other.certificate, &other.key, &other.ca)
    }
}

impl Eq for OperatorTls {}

impl std::fmt::Debug for OperatorTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorTls").finish_non_exhaustive()
    }
}

impl OperatorTls {
    /// From PEM texts.
    #[must_use]
    pub fn new(certificate: Vec<u8>, key: Vec<u8>, ca: Vec<u8>) -> Self {
        Self {
            certificate,
            key,
            ca,
            config: OnceLock::new(),
        }
    }

    /// From the Secret, if it is whole.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let part = |key: &str| data.get(key).map(|bytes| bytes.0.clone());
        Some(Self::new(
            part(KEY_CERTIFICATE)?,
            part(KEY_PRIVATE)?,
            part(KEY_CA)?,
        ))
    }

    /// For dialling any node of the cluster.
    pub fn config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let made = Arc::new(self.make_config()?);
        Ok(self.config.get_or_init(|| made).clone())
    }

    fn make_config(&self) -> Result<ClientConfig, IdentityError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&self.ca) {
            roots.add(authority?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&self.certificate);
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Connections last for as long as their node: tickets for the next one would only take memory.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}
