//! The Secrets of a cluster: names, labels and keys. What is in them comes from [`super::pki`].

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use standby_api::names;

use super::meta;
use super::pki::{Authority, Issued};
use crate::validate::ValidatedCluster;

/// Key of the certificate in every Secret.
pub const KEY_CERTIFICATE: &str = "tls.crt";
/// Key of the private key in every Secret.
pub const KEY_PRIVATE: &str = "tls.key";
/// Key of the CA's certificate.
pub const KEY_CA: &str = "ca.crt";

/// Key of a CA that is trusted already and issues nothing yet, in the Secret of the CA.
pub const KEY_CA_NEXT: &str = "next.crt";
/// Key of that CA's private key.
pub const KEY_CA_NEXT_PRIVATE: &str = "next.key";
/// Key of a CA that is trusted still and issues nothing any more.
pub const KEY_CA_OLD: &str = "old.crt";

/// The name of the Secret that holds the cluster's CA with its key; only the operator reads it.
#[must_use]
pub fn authority_name(cluster: &str) -> String {
    format!("{cluster}-ca")
}

/// The name of the Secret that applications use.
#[must_use]
pub fn client_name(cluster: &str) -> String {
    format!("{cluster}-client-tls")
}

/// The name of the Secret with which the operator shows itself to nodes.
#[must_use]
pub fn operator_name(cluster: &str) -> String {
    format!("{cluster}-operator-tls")
}

/// The name of a node's Secret.
#[must_use]
pub fn node_name(pod: &str) -> String {
    format!("{pod}-tls")
}

/// The Secret of the cluster's CA.
#[must_use]
pub fn authority(cluster: &ValidatedCluster, authority: &Authority) -> Secret {
    let data = [
        (KEY_CERTIFICATE, authority.certificate_pem()),
        (KEY_PRIVATE, authority.key_pem()),
    ];
    secret(
        cluster,
        authority_name(&cluster.name),
        meta::labels(cluster),
        &data,
    )
}

/// The Secret that applications use.
#[must_use]
pub fn client(cluster: &ValidatedCluster, issued: &Issued) -> Secret {
    leaf(
        cluster,
        client_name(&cluster.name),
        meta::labels(cluster),
        issued,
    )
}

/// The Secret with which the operator shows itself to nodes.
#[must_use]
pub fn operator(cluster: &ValidatedCluster, issued: &Issued) -> Secret {
    leaf(
        cluster,
        operator_name(&cluster.name),
        meta::labels(cluster),
        issued,
    )
}

/// A node's Secret.
#[must_use]
pub fn node(cluster: &ValidatedCluster, pod: &str, issued: &Issued) -> Secret {
    leaf(
        cluster,
        node_name(pod),
        meta::instance_labels(cluster, pod),
        issued,
    )
}

fn leaf(
    cluster: &ValidatedCluster,
    name: String,
    labels: BTreeMap<String, String>,
    issued: &Issued,
) -> Secret {
    let data = [
        (KEY_CERTIFICATE, issued.certificate_pem.as_str()),
        (KEY_PRIVATE, issued.key_pem.as_str()),
        (KEY_CA, issued.ca_pem.as_str()),
    ];
    let mut secret = secret(cluster, name, labels, &data);
    secret.metadata.annotations = Some(BTreeMap::from([(
        names::ANNOTATION_RENEW_AT.to_owned(),
        issued.renew_at.to_string(),
    )]));
    secret
}

fn secret(
    cluster: &ValidatedCluster,
    name: String,
    labels: BTreeMap<String, String>,
    data: &[(&str, &str)],
) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Secret {
        metadata: meta::owned(cluster, name, labels),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            data.iter()
                .map(|(key, text)| ((*key).to_owned(), bytes(text)))
                .collect(),
        ),
        ..Secret::default()
    }
}
