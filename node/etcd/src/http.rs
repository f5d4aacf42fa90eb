//! Plain HTTP on the client port: health, version, metrics, in etcd's words.
//!
//! Never decides whether the node is healthy: that is [`crate::health`].

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use prometheus::{Encoder as _, IntCounter, Registry, TextEncoder};
use tonic::body::Body;

use crate::health::{Check, HealthSource};

/// The version of etcd's API that is served; clients parse it.
pub const ETCD_VERSION: &str = "3.7.3";
/// The cluster's and the storage's version, as etcd 3.7.3 gives them.
pub const ETCD_CLUSTER_VERSION: &str = "3.7.0";

const LIVEZ: [Check; 1] = [Check::SerializableRead];
const READYZ: [Check; 4] = [
    Check::DataCorruption,
    Check::SerializableRead,
    Check::LinearizableRead,
    Check::NonLearner,
];

/// Answers HTTP requests.
pub struct HttpApi {
    health: Arc<dyn HealthSource>,
    registry: Registry,
    healthy: IntCounter,
    unhealthy: IntCounter,
}

impl HttpApi {
    /// Answers from these sources. Adds etcd's health counters to `registry`.
    pub fn new(
        health: Arc<dyn HealthSource>,
        registry: Registry,
    ) -> Result<Self, prometheus::Error> {
        let healthy = IntCounter::new(
            "etcd_server_health_success",
            "The total number of successful health checks",
        )?;
        let unhealthy = IntCounter::new(
            "etcd_server_health_failures",
            "The total number of failed health checks",
        )?;
        registry.register(Box::new(healthy.clone()))?;
        registry.register(Box::new(unhealthy.clone()))?;
        Ok(Self {
            health,
            registry,
            healthy,
            unhealthy,
        })
    }

    /// The answer to a request.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = Query::of(request.uri().query());
        let get = request.method() == Method::GET;
        self.answer_path(&path, get, &query).await
    }

    async fn answer_path(&self, path: &str, get: bool, query: &Query) -> Response<Body> {
        let known = ["/health", "/livez", "/readyz", "/version", "/metrics"];
        let root = known.iter().find(|root| {
            path.strip_prefix(**root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let Some(root) = root else {
            return plain(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if !get {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET"));
            return answer;
        }
        match (*root, &path[root.len()..]) {
            ("/health", "") => self.health(query).await,
            ("/livez", rest) => self.checks(&LIVEZ, rest, query).await,
            ("/readyz", rest) => self.checks(&READYZ, rest, query).await,
            ("/version", "") => version(),
            ("/metrics", "") => self.metrics(),
            _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    async fn health(&self, query: &Query) -> Response<Body> {
        let reason = self.sickness(query).await;
        let healthy = reason.is_empty();
        let text =
            serde_json::json!({ "health": healthy.to_string(), "reason": reason }).to_string();
        if healthy {
            self.healthy.inc();
            return plain(StatusCode::OK, text);
        }
        self.unhealthy.inc();
        plain(StatusCode::SERVICE_UNAVAILABLE, text + "\n")
    }

    /// Why the node is not healthy; empty when it is.
    async fn sickness(&self, query: &Query) -> String {
        let alarms = self.health.alarms();
        if let Some(alarm) = alarms
            .into_iter()
            .find(|alarm| !query.has("exclude", alarm))
        {
            return format!("ALARM {alarm}");
        }
        let serializable = query.has("serializable", "true");
        if !serializable && !self.health.knows_leader() {
            return "RAFT NO LEADER".to_owned();
        }
        let read = if serializable {
            Check::SerializableRead
        } else {
            Check::LinearizableRead
        };
        match self.health.check(read).await {
            Ok(()) => String::new(),
            Err(what) => format!("RANGE ERROR:{what}"),
        }
    }

    /// `rest` is empty for all checks, or names one.
    async fn checks(&self, checks: &[Check], rest: &str, query: &Query) -> Response<Body> {
        let chosen: Vec<Check> = match rest.strip_prefix('/') {
            None => checks
                .iter()
                .copied()
                .filter(|check| !query.has("exclude", check.name()))
                .collect(),
            Some(name) => checks
                .iter()
                .copied()
                .filter(|check| check.name() == name)
                .collect(),
        };
        if chosen.is_empty() && !rest.is_empty() {
            return plain(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let mut report = String::new();
        let mut failed = false;
        for check in chosen {
            match self.health.check(check).await {
                Ok(()) => write(&mut report, format_args!("[+]{} ok\n", check.name())),
                Err(what) => {
                    failed = true;
                    write(
                        &mut report,
                        format_args!("[-]{} failed: {what}\n", check.name()),
                    );
                }
            }
        }
        if failed {
            return plain(StatusCode::SERVICE_UNAVAILABLE, report + "\n");
        }
        let text = if query.names("verbose") {
            report + "ok\n"
        } else {
            "ok\n".to_owned()
        };
        plain(StatusCode::OK, text)
    }

    fn metrics(&self) -> Response<Body> {
        let encoder = TextEncoder::new();
        let mut text = Vec::new();
        match encoder.encode(&self.registry.gather(), &mut text) {
            Ok(()) => answer(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                text,
            ),
            Err(error) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("metrics: {error}\n"),
            ),
        }
    }
}

fn write(report: &mut String, line: std::fmt::Arguments<'_>) {
    report.write_fmt(line).expect("a string takes any line");
}

fn version() -> Response<Body> {
    let text = format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_CLUSTER_VERSION}","storage":"{ETCD_CLUSTER_VERSION}"}}"#
    );
    answer(StatusCode::OK, "application/json", text)
}

fn plain(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut answer = answer(status, "text/plain; charset=utf-8", text);
    let nosniff = HeaderValue::from_static("nosniff");
    answer
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

fn answer(
    status: StatusCode,
    content: &'static str,
    text: impl Into<bytes::Bytes>,
) -> Response<Body> {
    let mut answer = Response::new(Body::new(Full::new(text.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    answer
}

/// The query part of a URL. Its values here are plain words, so nothing is unescaped.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn names(&self, name: &str) -> bool {
        self.0.iter().any(|pair| pair.0 == name)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|pair| pair.0 == name && pair.1 == value)
    }
}

#[cfg(test)]
mod tests;
