//! A cluster's certificates.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use standby_operator_core::build::pki::{Authority, Issued, Renewal, Subject};
use standby_operator_core::build::rotation::{self, Step};
use standby_operator_core::build::secret;
use standby_operator_core::validate::{Settings, ValidatedCluster, validate};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

fn cluster() -> ValidatedCluster {
    let resource = serde_json::from_value(json!({
        "apiVersion": "standby.dev/v1alpha1",
        "kind": "StandbyCluster",
        "metadata": { "name": "db", "namespace": "shop", "uid": "u-1" },
        "spec": { "storage": { "size": "1Gi" } },
    }))
    .expect("the resource fits the types");
    let settings = Settings {
        node_image: "standby-node:0.1.0".into(),
        operator_namespace: "standby-system".into(),
        version: "0.1.0".into(),
    };
    validate(&resource, &settings, None).expect("the resource is valid")
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a date")
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

const NODE: Subject<'static> = Subject::Node {
    cluster: "db",
    namespace: "shop",
    pod: "db-1",
};

fn der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .expect("PEM")
        .1
        .contents
}

fn authority() -> Authority {
    Authority::new("db", "shop", now()).expect("a CA is made")
}

/// As if stored and read again.
fn reread(authority: &Authority) -> Authority {
    Authority::from_secret(&secret::authority(&cluster(), authority)).expect("it is a CA")
}

#[test]
fn a_node_certificate_carries_every_name_it_is_called_by() {
    let issued = authority().issue(&NODE, now()).expect("it is issued");
    let der = der(&issued.certificate_pem);
    let (_, certificate) = X509Certificate::from_der(&der).expect("it is a certificate");
    let names = &certificate
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    for name in [
        "db-1",
        "node.standby.dev",
        "db-rw",
        "db-rw.shop",
        "db-rw.shop.svc",
        "db-rw.shop.svc.cluster.local",
        "db-ro.shop.svc",
        "db-r.shop.svc",
        "localhost",
    ] {
        assert!(
            names.contains(&GeneralName::DNSName(name)),
            "{name} is missing in {names:?}"
        );
    }
    assert!(names.contains(&GeneralName::IPAddress(&[127, 0, 0, 1])));
    assert!(!names.contains(&GeneralName::DNSName("operator.standby.dev")));
}

#[test]
fn only_the_operator_has_the_name_that_opens_control_ports() {
    assert_eq!(Subject::Operator.names(), ["operator.standby.dev"]);
    assert!(
        !Subject::Client
            .names()
            .contains(&"operator.standby.dev".to_owned())
    );
    assert!(
        !Subject::Client
            .names()
            .contains(&"node.standby.dev".to_owned())
    );
}

#[test]
fn a_stored_ca_goes_on_issuing_certificates_that_its_own_key_signed() {
    let stored = reread(&authority());
    let issued = stored.issue(&NODE, now()).expect("it is issued");
    let (ca, leaf) = (der(stored.certificate_pem()), der(&issued.certificate_pem));
    let (_, ca) = X509Certificate::from_der(&ca).expect("it is a certificate");
    let (_, leaf) = X509Certificate::from_der(&leaf).expect("it is a certificate");
    assert_eq!(leaf.issuer(), ca.subject());
    assert!(ca.is_ca());
    leaf.verify_signature(Some(ca.public_key()))
        .expect("the CA signed it");
    assert!(!leaf.is_ca());
}

#[test]
fn a_certificate_is_valid_for_a_year_and_renewed_when_two_thirds_have_passed() {
    let authority = authority();
    let issued = authority.issue(&NODE, now()).expect("it is issued");
    let stored = secret::node(&cluster(), "db-1", &issued);
    let renewal = |at: Timestamp| authority.renewal(&stored, &NODE, at);
    assert_eq!(renewal(now()), None);
    assert_eq!(renewal(now() + days(240)), None);
    assert_eq!(
        renewal(now() + days(242)),
        Some(Renewal::Due(issued.renew_at))
    );
    let der = der(&issued.certificate_pem);
    let (_, certificate) = X509Certificate::from_der(&der).expect("it is a certificate");
    let until = Timestamp::from_second(certificate.validity().not_after.timestamp()).unwrap();
    assert_eq!(until, now() + days(365));
}

#[test]
fn a_certificate_of_another_ca_or_without_a_name_is_replaced() {
    let one = authority();
    let stored = secret::node(&cluster(), "db-1", &one.issue(&NODE, now()).unwrap());
    assert_eq!(
        authority().renewal(&stored, &NODE, now()),
        Some(Renewal::OtherAuthority)
    );
    let moved = Subject::Node {
        cluster: "db",
        namespace: "shop",
        pod: "db-2",
    };
    assert_eq!(
        one.renewal(&stored, &moved, now()),
        Some(Renewal::Name("db-2".into()))
    );
}

#[test]
fn a_secret_that_somebody_emptied_is_filled_again() {
    let empty = Secret::default();
    assert_eq!(
        authority().renewal(&empty, &Subject::Client, now()),
        Some(Renewal::Incomplete("tls.crt"))
    );
    assert!(
        Authority::from_secret(&empty)
            .unwrap_err()
            .to_string()
            .contains("has no key tls.crt")
    );
}

#[test]
fn the_secrets_have_the_names_and_keys_that_pods_and_people_expect() {
    let authority = authority();
    let issued = authority
        .issue(&Subject::Client, now())
        .expect("it is issued");
    let keys = |secret: &Secret| {
        let keys = secret
            .data
            .as_ref()
            .map(|data| data.keys().cloned().collect::<Vec<_>>());
        (
            secret.metadata.name.clone().unwrap(),
            keys.unwrap().join(" "),
        )
    };
    let text = |name: &str, keys: &str| (name.to_owned(), keys.to_owned());
    let all = "ca.crt tls.crt tls.key";
    assert_eq!(
        keys(&secret::authority(&cluster(), &authority)),
        text("db-ca", "tls.crt tls.key")
    );
    assert_eq!(
        keys(&secret::client(&cluster(), &issued)),
        text("db-client-tls", all)
    );
    assert_eq!(
        keys(&secret::operator(&cluster(), &issued)),
        text("db-operator-tls", all)
    );
    assert_eq!(
        keys(&secret::node(&cluster(), "db-1", &issued)),
        text("db-1-tls", all)
    );
}

#[test]
fn no_key_gets_into_a_log() {
    let authority = authority();
    let issued = authority
        .issue(&Subject::Client, now())
        .expect("it is issued");
    let text = format!("{authority:?} {issued:?}");
    assert!(
        !text.contains("PRIVATE") && !text.contains("BEGIN"),
        "{text}"
    );
}

/// The Secret after a merge patch, as the API server would keep it.
fn patched(secret: &Secret, patch: &Value) -> Secret {
    fn merge(into: &mut Value, patch: &Value) {
        for (key, value) in patch.as_object().expect("an object") {
            match value {
                Value::Null => {
                    into.as_object_mut().expect("an object").remove(key);
                }
                Value::Object(_) => {
                    if !into[key].is_object() {
                        into[key] = json!({});
                    }
                    merge(&mut into[key], value);
                }
                other => into[key] = other.clone(),
            }
        }
    }
    let mut value = serde_json::to_value(secret).expect("json");
    merge(&mut value, patch);
    serde_json::from_value(value).expect("a Secret")
}

/// Whether somebody who trusts the CAs in `bundle` lets this certificate in.
fn trusts(bundle: &str, issued: &Issued) -> bool {
    let leaf = der(&issued.certificate_pem);
    let (_, leaf) = X509Certificate::from_der(&leaf).expect("it is a certificate");
    x509_parser::pem::Pem::iter_from_buffer(bundle.as_bytes()).any(|pem| {
        let pem = pem.expect("PEM");
        let ca = pem.parse_x509().expect("it is a certificate");
        leaf.verify_signature(Some(ca.public_key())).is_ok()
    })
}

/// Through all of a rotation: whoever has the files of one step trusts whoever has those of the step
/// before or after, both ways.
#[test]
fn while_a_ca_is_replaced_everybody_trusts_everybody() {
    let mut at = now();
    let mut stored = secret::authority(&cluster(), &authority());
    assert_eq!(rotation::due(&stored, at), None);
    let annotations = stored.metadata.annotations.get_or_insert_default();
    annotations.insert("standby.dev/rotate-ca".into(), "true".into());
    let first = Authority::from_secret(&stored).expect("a CA");
    let mut before = first.issue(&NODE, at).expect("it is issued");
    let mut steps = Vec::new();
    for _ in 0..20 {
        if let Some(step) = rotation::due(&stored, at) {
            let patch = rotation::patch(&stored, step, "db", "shop", at).expect("a patch");
            stored = patched(&stored, &patch);
            steps.push(step);
            let ca = Authority::from_secret(&stored).expect("a CA");
            let after = ca.issue(&NODE, at).expect("it is issued");
            assert!(
                trusts(&before.ca_pem, &after),
                "old files, new certificate: {step:?}"
            );
            assert!(
                trusts(&after.ca_pem, &before),
                "new files, old certificate: {step:?}"
            );
            before = after;
        }
        at += days(1);
    }
    assert_eq!(
        steps,
        [
            Step::Introduce,
            Step::Settle,
            Step::Switch,
            Step::Settle,
            Step::Drop
        ]
    );
    let last = Authority::from_secret(&stored).expect("a CA");
    assert_eq!(last.bundle_pem(), last.certificate_pem());
    assert_ne!(last.certificate_pem(), first.certificate_pem());
    let keys: Vec<&String> = stored.data.as_ref().expect("data").keys().collect();
    assert_eq!(keys, ["tls.crt", "tls.key"]);
}

#[test]
fn a_ca_is_replaced_by_itself_when_two_thirds_of_its_time_have_passed() {
    let stored = secret::authority(&cluster(), &authority());
    assert_eq!(rotation::due(&stored, now() + days(2_400)), None);
    assert_eq!(
        rotation::due(&stored, now() + days(2_440)),
        Some(Step::Introduce)
    );
}

#[test]
fn every_step_of_a_rotation_issues_every_certificate_anew() {
    let stored = secret::authority(&cluster(), &authority());
    let ca = Authority::from_secret(&stored).expect("a CA");
    let leaf = secret::node(&cluster(), "db-1", &ca.issue(&NODE, now()).expect("issued"));
    let step = Step::Introduce;
    let patch = rotation::patch(&stored, step, "db", "shop", now()).expect("a patch");
    let both = Authority::from_secret(&patched(&stored, &patch)).expect("a CA");
    assert_eq!(
        both.renewal(&leaf, &NODE, now()),
        Some(Renewal::OtherAuthority)
    );
}
