//! `/healthz`, `/readyz` (which says why not) and `/metrics`. Never calls the Kubernetes API: the
//! operator must not be restarted because the API server is away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What keeps this replica from being ready, by topic.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<BTreeMap<&'static str, String>>);

impl Readiness {
    /// Something is not ready yet, and why.
    pub fn wait(&self, topic: &'static str, why: impl Into<String>) {
        self.0.lock().insert(topic, why.into());
    }

    /// It is ready now.
    pub fn ready(&self, topic: &'static str) {
        self.0.lock().remove(topic);
    }

    /// Why this replica is not ready; empty when it is.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.0
            .lock()
            .iter()
            .map(|(topic, why)| format!("{topic}: {why}"))
            .collect()
    }
}

#[derive(Clone)]
struct Served {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

/// Serves until `stop`.
pub async fn serve(
    listen: SocketAddr,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    axum::serve(listener, router(readiness, metrics))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
        .with_state(Served { readiness, metrics })
}

async fn ready(State(served): State<Served>) -> (StatusCode, String) {
    let missing = served.readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
}

async fn text(State(served): State<Served>) -> impl IntoResponse {
    match served.metrics.text() {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            (StatusCode::OK, kind, text)
        }
        Err(error) => {
            let kind = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(router: Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = router.oneshot(request).await.expect("an answer");
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn readyz_says_why_not() {
        let readiness = Arc::new(Readiness::default());
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        readiness.wait("caches", "pods have not been listed yet");
        let asked = ask(router(readiness.clone(), metrics.clone()), "/readyz").await;
        let why = "caches: pods have not been listed yet\n".to_owned();
        assert_eq!(asked, (StatusCode::SERVICE_UNAVAILABLE, why));
        readiness.ready("caches");
        assert_eq!(
            ask(router(readiness, metrics), "/readyz").await.0,
            StatusCode::OK
        );
    }
}
