//! What every local cluster has besides its programs: a storage class and DNS.

use super::layout::Layout;

/// The storage class: an ext4 image of the claim's size, on the host its pod is scheduled to.
pub const STORAGE_CLASS: &str = "standby-local";

const DOCUMENTS: &str = include_str!("../../manifests/cluster.yaml");

/// The documents, as one YAML text.
pub fn all(layout: Layout) -> String {
    DOCUMENTS
        .replace("@STORAGE_CLASS@", STORAGE_CLASS)
        .replace("@DNS_ADDRESS@", &layout.dns_address())
}
