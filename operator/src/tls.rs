//! The operator's identity towards the nodes of one cluster, from its Secret.

use k8s_openapi::api::core::v1::Secret;
use standby_operator_core::build::secret::{KEY_CA, KEY_CERTIFICATE, KEY_PRIVATE};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Certificate and key of the operator, and the CA that issued those of the nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorTls {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

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

    /// For dialling the node `pod`: its certificate must carry that name.
    #[must_use]
    pub fn towards(&self, pod: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name(pod)
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.certificate, &self.key))
    }
}
