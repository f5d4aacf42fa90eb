//! Takes out of objects and texts what could be a secret. When in doubt it goes: a report is sent to
//! people who have no business with it.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

/// What stands where something was.
pub const GONE: &str = "(left out)";

/// Annotations whose values stay: by the end of the domain in their names.
const DOMAINS: [&str; 3] = ["standby.dev", "kubernetes.io", "k8s.io"];
/// An annotation that repeats the whole object, with everything in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Environment variables whose values stay begin with this.
const OWN_ENVIRONMENT: &str = "STANDBY_";
/// Words in a field's or flag's name that mark its text as a secret.
const SECRET_WORDS: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "token",
    "credential",
    "privatekey",
    "secretkey",
    "apikey",
];

static PRIVATE_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)")
});
static BEARER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"));
static WEB_TOKEN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"));
static USER_INFO: LazyLock<Regex> = LazyLock::new(|| pattern(r"://[^/\s:@]+:[^/\s@]+@"));
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    let words = r"[a-z0-9_.-]*(?:password|passwd|passphrase|token|credential|private_?key|secret_?key|api_?key)[a-z0-9_-]*";
    pattern(&format!(r#"(?i)\b({words}"?\s*[=:]\s*"?)[^\s",}}]+"#))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is written correctly")
}

/// An object without what could be a secret; none: it is a secret as a whole.
#[must_use]
pub fn object(mut object: Value) -> Option<Value> {
    if matches!(
        object.get("kind").and_then(Value::as_str),
        Some("Secret" | "ConfigMap" | "SecretList" | "ConfigMapList")
    ) {
        return None;
    }
    walk(&mut object);
    Some(object)
}

/// A text, such as a log, without what could be a secret.
#[must_use]
pub fn text(text: &str) -> String {
    let text = PRIVATE_KEY.replace_all(text, GONE);
    let text = WEB_TOKEN.replace_all(&text, GONE);
    let text = BEARER.replace_all(&text, format!("$1 {GONE}"));
    let text = USER_INFO.replace_all(&text, format!("://{GONE}@"));
    ASSIGNED
        .replace_all(&text, format!("${{1}}{GONE}"))
        .into_owned()
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => fields_of(fields),
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(string) => {
            let clean = text(string);
            if clean != *string {
                *string = clean;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn fields_of(fields: &mut Map<String, Value>) {
    fields.remove("managedFields");
    for (name, value) in fields.iter_mut() {
        match (name.as_str(), &mut *value) {
            ("annotations", Value::Object(annotations)) => self::annotations(annotations),
            ("env", Value::Array(variables)) => variables.iter_mut().for_each(variable),
            ("args" | "command", Value::Array(words)) => arguments(words),
            (name, Value::String(_)) if is_secret_name(name) => *value = GONE.into(),
            (_, value) => walk(value),
        }
    }
}

fn annotations(annotations: &mut Map<String, Value>) {
    annotations.remove(LAST_APPLIED);
    for (name, value) in annotations.iter_mut() {
        let domain = name.split_once('/').map_or("", |(domain, _)| domain);
        let known = DOMAINS.iter().any(|known| {
            domain
                .strip_suffix(known)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        if known {
            walk(value);
        } else {
            *value = GONE.into();
        }
    }
}

fn variable(variable: &mut Value) {
    let name = variable.get("name").and_then(Value::as_str);
    let stays = name.is_some_and(|name| name.starts_with(OWN_ENVIRONMENT) && !is_secret_name(name));
    if let Some(value) = variable.get_mut("value") {
        if stays {
            walk(value);
        } else {
            *value = GONE.into();
        }
    }
}

/// Flags of containers: `--password=x`, and `--password x`.
fn arguments(words: &mut [Value]) {
    let mut follows = false;
    for word in words {
        let Value::String(string) = word else {
            continue;
        };
        let flag = string.starts_with('-');
        match string.split_once('=') {
            _ if follows && !flag => GONE.clone_into(string),
            Some((name, _)) if flag && is_secret_name(name) => *string = format!("{name}={GONE}"),
            _ => *string = text(string),
        }
        follows = flag && !string.contains('=') && is_secret_name(string);
    }
}

fn is_secret_name(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_goes_as_a_whole() {
        assert_eq!(
            object(json!({"kind": "Secret", "data": {"a": "eA=="}})),
            None
        );
    }

    #[test]
    fn only_known_annotations_keep_their_values() {
        let clean = object(json!({"metadata": {
            "managedFields": [1],
            "annotations": {
                "standby.dev/fence": "db-3",
                "volume.kubernetes.io/selected-node": "host-1",
                "notkubernetes.io/x": "y",
                "team": "hunter2",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        }}));
        let annotations = json!({
            "standby.dev/fence": "db-3",
            "volume.kubernetes.io/selected-node": "host-1",
            "notkubernetes.io/x": GONE,
            "team": GONE,
        });
        assert_eq!(
            clean,
            Some(json!({"metadata": {"annotations": annotations}}))
        );
    }

    #[test]
    fn values_of_the_environment_go_but_our_own() {
        let clean = object(json!({"env": [
            {"name": "STANDBY_NAME", "value": "db-1"},
            {"name": "STANDBY_API_TOKEN", "value": "hunter2"},
            {"name": "OTHER", "value": "hunter2"},
            {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]}));
        let expected = json!({"env": [
            {"name": "STANDBY_NAME", "value": "db-1"},
            {"name": "STANDBY_API_TOKEN", "value": GONE},
            {"name": "OTHER", "value": GONE},
            {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]});
        assert_eq!(clean, Some(expected));
    }

    #[test]
    fn flags_with_secrets_lose_them() {
        let clean =
            object(json!({"args": ["--token=x1", "--password", "x2", "--tls-dir", "/etc"]}));
        let expected = json!({"args": [
            format!("--token={GONE}"), "--password", GONE, "--tls-dir", "/etc",
        ]});
        assert_eq!(clean, Some(expected));
    }

    #[test]
    fn fields_named_like_secrets_go_and_names_of_secrets_stay() {
        let clean =
            object(json!({"apiToken": "x", "secretName": "db-1-tls", "n": {"password": 1}}));
        let expected = json!({"apiToken": GONE, "secretName": "db-1-tls", "n": {"password": 1}});
        assert_eq!(clean, Some(expected));
    }

    #[test]
    fn texts_lose_keys_tokens_and_passwords() {
        let log = "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb \
                   Authorization: Bearer abcdefghijkl c https://me:pw@host/x \
                   eyJhbGciOiJSUzI1.eyJpc3MiOiJr.c2ln d password=hunter2, {\"token\":\"hunter2\"}";
        let clean = text(log);
        for gone in ["MHc", "abcdefghijkl", "pw@", "eyJ", "hunter2"] {
            assert!(!clean.contains(gone), "{gone} is still in {clean}");
        }
        for stays in ["a\n", "b Authorization", "host/x", " d password="] {
            assert!(clean.contains(stays), "{stays} is gone from {clean}");
        }
    }

    #[test]
    fn a_private_key_that_is_cut_off_goes_too() {
        assert_eq!(
            text("x -----BEGIN PRIVATE KEY-----\nMHc"),
            format!("x {GONE}")
        );
    }

    #[test]
    fn ordinary_log_lines_stay() {
        let line = r#"{"level":"info","epoch":7,"why":"the container has ended (exit code 1)"}"#;
        assert_eq!(text(line), line);
    }
}
