//! A new CA in the place of an old one, without a moment in which two parties do not trust each other.
//!
//! Three steps: the new CA is trusted beside the old one; it issues every certificate anew, and the old
//! one is trusted still; the old one is let go of. A step is taken only when every certificate has agreed
//! with the one before for so long that everybody has taken it up.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use standby_api::names;

use super::limits;
use super::pki::{Authority, PkiError, text, two_thirds};
use super::secret::{KEY_CA_NEXT, KEY_CA_NEXT_PRIVATE, KEY_CA_OLD, KEY_CERTIFICATE, KEY_PRIVATE};

/// What is to be done about a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Trust a new CA beside this one.
    Introduce,
    /// Every certificate agrees with the last step: note since when.
    Settle,
    /// Let the new CA issue, and trust the old one still.
    Switch,
    /// Let go of the old CA.
    Drop,
}

/// The next step for the CA in `secret`, given that every certificate agrees with it; none: not now.
#[must_use]
pub fn due(secret: &Secret, now: Timestamp) -> Option<Step> {
    let (next, old) = (text(secret, KEY_CA_NEXT), text(secret, KEY_CA_OLD));
    if next.is_none() && old.is_none() {
        return (asked(secret) || aged(secret, now)).then_some(Step::Introduce);
    }
    let Some(since) = settled(secret) else {
        return Some(Step::Settle);
    };
    let overlap = SignedDuration::from_hours(limits::CA_OVERLAP_DAYS * 24);
    let over = since.checked_add(overlap).is_ok_and(|until| now >= until);
    match next {
        Some(_) => over.then_some(Step::Switch),
        None => over.then_some(Step::Drop),
    }
}

/// The merge patch that takes a step, against exactly the version of `secret`.
///
/// # Errors
/// When a CA cannot be made, or the Secret lacks what the step needs.
pub fn patch(
    secret: &Secret,
    step: Step,
    cluster: &str,
    namespace: &str,
    now: Timestamp,
) -> Result<Value, PkiError> {
    let bytes = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let part = |key: &'static str| {
        text(secret, key).ok_or(PkiError::Missing {
            secret: secret.metadata.name.clone().unwrap_or_default(),
            key,
        })
    };
    let (mut settled, mut asked) = (Value::Null, json!({}));
    let data = match step {
        Step::Settle => {
            settled = json!(now.to_string());
            json!({})
        }
        Step::Introduce => {
            asked = json!({ names::ANNOTATION_ROTATE_CA: null });
            let made = Authority::new(cluster, namespace, now)?;
            json!({
                KEY_CA_NEXT: bytes(made.certificate_pem()),
                KEY_CA_NEXT_PRIVATE: bytes(made.key_pem()),
            })
        }
        Step::Switch => json!({
            KEY_CERTIFICATE: bytes(&part(KEY_CA_NEXT)?),
            KEY_PRIVATE: bytes(&part(KEY_CA_NEXT_PRIVATE)?),
            KEY_CA_OLD: bytes(&part(KEY_CERTIFICATE)?),
            KEY_CA_NEXT: null,
            KEY_CA_NEXT_PRIVATE: null,
        }),
        Step::Drop => json!({ KEY_CA_OLD: null }),
    };
    asked[names::ANNOTATION_CA_SETTLED] = settled;
    Ok(json!({
        "metadata": {
            "resourceVersion": secret.metadata.resource_version,
            "annotations": asked,
        },
        "data": data,
    }))
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a String> {
    secret.metadata.annotations.as_ref()?.get(name)
}

fn asked(secret: &Secret) -> bool {
    annotation(secret, names::ANNOTATION_ROTATE_CA).is_some_and(|value| value == "true")
}

fn settled(secret: &Secret) -> Option<Timestamp> {
    annotation(secret, names::ANNOTATION_CA_SETTLED)?
        .parse()
        .ok()
}

/// Whether two thirds of the CA's time have passed.
fn aged(secret: &Secret, now: Timestamp) -> bool {
    text(secret, KEY_CERTIFICATE)
        .and_then(|pem| {
            let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
            let certificate = pem.parse_x509().ok()?;
            let validity = certificate.validity();
            let from = Timestamp::from_second(validity.not_before.timestamp()).ok()?;
            let until = Timestamp::from_second(validity.not_after.timestamp()).ok()?;
            Some(now >= two_thirds(from, until))
        })
        .unwrap_or_default()
}
