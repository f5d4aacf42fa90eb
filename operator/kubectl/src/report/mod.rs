//! A report for support: what is taken out of the objects before they go in, and how they are packed.
//! Pure: collecting stands in [`crate::shell::report`].

pub mod pack;
pub mod redact;

use crate::document::LeftOut;

/// One file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the archive.
    pub file: String,
    /// What it holds.
    pub what: String,
    /// Its content.
    pub content: String,
}

/// What no report ever holds.
#[must_use]
pub fn never() -> Vec<LeftOut> {
    let left = |what: &str, why: &str| LeftOut {
        what: what.into(),
        why: why.into(),
    };
    vec![
        left("Secrets", "never read: they hold keys and passwords"),
        left("ConfigMaps", "never read"),
        left(
            "data of the cluster",
            "never read: no key or value of a client is asked for",
        ),
        left(
            "values of environment variables",
            "replaced, but for the operator's own settings (STANDBY_...)",
        ),
        left(
            "annotations of others",
            "values replaced, but for those of Standby and Kubernetes",
        ),
        left(
            "fields named like secrets, private keys, bearer tokens, passwords in addresses",
            "replaced in objects, Events and logs",
        ),
        left("managedFields", "taken out: long, and of no use here"),
    ]
}
