//! A cluster's own certificate authority and the certificates it issues: EC P-256, by ring.
//!
//! The time is an argument. Keys are drawn from the system's entropy, the one thing in this crate
//! that is not a function of its arguments. Nothing here stores a certificate or decides when to ask
//! for one; [`renewal`] says whether a stored one is still good.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::limits;
use super::secret::{KEY_CA, KEY_CA_NEXT, KEY_CA_OLD, KEY_CERTIFICATE, KEY_PRIVATE};
use super::service::{self, Access};

/// Name in the certificate of every node: marks a peer.
pub const SAN_NODE: &str = "node.standby.dev";
/// Name in the certificate of the operator: the only one let in at control ports.
pub const SAN_OPERATOR: &str = "operator.standby.dev";
/// Name in the certificate of applications.
pub const SAN_CLIENT: &str = "client.standby.dev";
/// The organisation in every certificate.
const ORGANISATION: &str = "Standby";
/// The longest common name X.509 allows.
const COMMON_NAME_LENGTH_MAX: usize = 64;

/// What can be wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// It could not be made.
    #[error("cannot make the {what} certificate: {source}")]
    Make {
        /// Which one.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// The Secret of the CA lacks a key.
    #[error("Secret {secret} has no key {key}, or it is not text")]
    Missing {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// The Secret of the CA does not hold a CA.
    #[error("Secret {secret} does not hold a certificate and key of a CA: {source}")]
    Authority {
        /// The Secret.
        secret: String,
        /// Why.
        source: rcgen::Error,
    },
    /// A date that certificates cannot hold.
    #[error("{0} is no date of a certificate")]
    Date(Timestamp),
}

/// A cluster's CA with its key.
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    /// Other CAs that are trusted while one takes the other's place.
    beside: Vec<String>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate, its key, and the CA it can be checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
    /// The certificates of every CA that is trusted.
    pub ca_pem: String,
    /// When two thirds of its time have passed.
    pub renew_at: Timestamp,
}

/// Why a stored certificate must be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Renewal {
    /// There is none, or not all of it.
    #[error("key {0} is missing")]
    Incomplete(&'static str),
    /// It is none.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Another CA issued it, or other CAs are trusted now.
    #[error("another CA issues, or is trusted, now")]
    OtherAuthority,
    /// Two thirds of its time have passed.
    #[error("two thirds of its time passed at {0}")]
    Due(Timestamp),
    /// It lacks a name it needs.
    #[error("it lacks the name {0}")]
    Name(String),
}

/// A certificate's purpose, which decides its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A node's, for its clients, peers and the operator; and towards other nodes.
    Node {
        /// The cluster.
        cluster: &'a str,
        /// Its namespace.
        namespace: &'a str,
        /// The pod.
        pod: &'a str,
    },
    /// An application's.
    Client,
    /// The operator's, towards nodes.
    Operator,
}

impl Subject<'_> {
    /// The DNS names in the certificate; the first is its common name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Node {
                cluster,
                namespace,
                pod,
            } => {
                let mut names = vec![(*pod).to_owned(), SAN_NODE.to_owned()];
                for access in Access::ALL {
                    let name = service::name(cluster, access);
                    names.push(format!("{name}.{namespace}"));
                    names.push(format!("{name}.{namespace}.svc"));
                    names.push(format!("{name}.{namespace}.svc.cluster.local"));
                    names.push(name);
                }
                names.push("localhost".to_owned());
                names
            }
            Self::Client => vec![SAN_CLIENT.to_owned()],
            Self::Operator => vec![SAN_OPERATOR.to_owned()],
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Node { .. } => "node",
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }

    fn usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Node { .. } => {
                vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ]
            }
            Self::Client | Self::Operator => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

impl Authority {
    /// A new CA for a cluster.
    pub fn new(cluster: &str, namespace: &str, now: Timestamp) -> Result<Self, PkiError> {
        let fail = |source| PkiError::Make { what: "CA", source };
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&format!("{cluster}.{namespace} CA"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        set_validity(&mut params, now, limits::CA_VALID_DAYS)?;
        let key = KeyPair::generate().map_err(fail)?;
        let certificate_pem = params.self_signed(&key).map_err(fail)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self {
            certificate_pem,
            key_pem,
            beside: Vec::new(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The CA that a Secret holds.
    pub fn from_secret(secret: &Secret) -> Result<Self, PkiError> {
        let name = || secret.metadata.name.clone().unwrap_or_default();
        let part = |key| {
            text(secret, key).ok_or(PkiError::Missing {
                secret: name(),
                key,
            })
        };
        let certificate_pem = part(KEY_CERTIFICATE)?;
        let key_pem = part(KEY_PRIVATE)?;
        let fail = |source| PkiError::Authority {
            secret: name(),
            source,
        };
        let key = KeyPair::from_pem(&key_pem).map_err(fail)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key).map_err(fail)?;
        let beside = [KEY_CA_NEXT, KEY_CA_OLD];
        Ok(Self {
            certificate_pem,
            key_pem,
            beside: beside.iter().filter_map(|key| text(secret, key)).collect(),
            issuer,
        })
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Every CA that is trusted now, the one that issues first.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        let mut all = self.certificate_pem.clone();
        for other in &self.beside {
            all.push_str(other);
        }
        all
    }

    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A new certificate with a new key.
    pub fn issue(&self, subject: &Subject<'_>, now: Timestamp) -> Result<Issued, PkiError> {
        let fail = |source| PkiError::Make {
            what: subject.what(),
            source,
        };
        let names = subject.names();
        let mut params = CertificateParams::new(names.clone()).map_err(fail)?;
        if matches!(subject, Subject::Node { .. }) {
            let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
            params.subject_alt_names.push(SanType::IpAddress(localhost));
        }
        params.distinguished_name = distinguished(&names[0]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = subject.usages();
        params.use_authority_key_identifier_extension = true;
        let renew_at = set_validity(&mut params, now, limits::CERTIFICATE_VALID_DAYS)?;
        let key = KeyPair::generate().map_err(fail)?;
        let certificate_pem = params.signed_by(&key, &self.issuer).map_err(fail)?.pem();
        Ok(Issued {
            certificate_pem,
            key_pem: key.serialize_pem(),
            ca_pem: self.bundle_pem(),
            renew_at,
        })
    }

    /// Whether the certificate in `secret` must be replaced, and why.
    #[must_use]
    pub fn renewal(
        &self,
        secret: &Secret,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Option<Renewal> {
        for key in [KEY_CERTIFICATE, KEY_PRIVATE, KEY_CA] {
            if text(secret, key).is_none() {
                return Some(Renewal::Incomplete(key));
            }
        }
        if text(secret, KEY_CA) != Some(self.bundle_pem()) {
            return Some(Renewal::OtherAuthority);
        }
        let Some((renew_at, names)) = text(secret, KEY_CERTIFICATE).and_then(|pem| read(&pem))
        else {
            return Some(Renewal::Unreadable);
        };
        if let Some(name) = subject
            .names()
            .into_iter()
            .find(|name| !names.contains(name))
        {
            return Some(Renewal::Name(name));
        }
        (now >= renew_at).then_some(Renewal::Due(renew_at))
    }
}

/// A key never gets into a log.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A key never gets into a log.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

pub(super) fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    let end = common_name.len().min(COMMON_NAME_LENGTH_MAX);
    name.push(
        DnType::CommonName,
        common_name.get(..end).unwrap_or(common_name),
    );
    name
}

/// Sets from when to when a certificate is valid; returns when it is to be renewed.
fn set_validity(
    params: &mut CertificateParams,
    now: Timestamp,
    days: i64,
) -> Result<Timestamp, PkiError> {
    let whole = SignedDuration::from_hours(days * 24);
    let from = now - SignedDuration::from_secs(limits::CERTIFICATE_BACKDATE_SECONDS);
    let until = now.checked_add(whole).map_err(|_| PkiError::Date(now))?;
    let date = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| PkiError::Date(at))
    };
    params.not_before = date(from)?;
    params.not_after = date(until)?;
    Ok(two_thirds(from, until))
}

pub(super) fn two_thirds(from: Timestamp, until: Timestamp) -> Timestamp {
    let seconds = (until.as_second() - from.as_second()) / 3 * 2;
    from + SignedDuration::from_secs(seconds)
}

/// When a certificate is to be renewed, and its DNS names.
fn read(pem: &str) -> Option<(Timestamp, Vec<String>)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let names = certificate.subject_alternative_name().ok()??;
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    Some((
        two_thirds(at(validity.not_before)?, at(validity.not_after)?),
        names,
    ))
}
