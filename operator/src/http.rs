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
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::limits::{
    HTTP_ACCEPT_RETRY_MS, HTTP_CONNECTION_MS, HTTP_CONNECTIONS_MAX, HTTP_HEADER_MS, ms,
};
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
    let accepting = accept(listener, router(readiness, metrics));
    // Requests under way end by themselves, within their time.
    stop.run_until_cancelled(accepting).await;
    Ok(())
}

/// Takes connections, so many at once: the others wait in the kernel's queue. One request for each, so that
/// nobody keeps a place that the kubelet's probes need.
async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(ms(HTTP_HEADER_MS))
        .keep_alive(false);
    // Fails only when it is closed, which nobody does.
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "no connection for probes and metrics could be taken");
                tokio::time::sleep(ms(HTTP_ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            // Who does not read the answer is not waited for either.
            match timeout(ms(HTTP_CONNECTION_MS), connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a connection for probes and metrics ended"),
                Err(_) => debug!("a connection for probes and metrics took too long"),
            }
            drop(place);
        });
    }
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;
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
    /// Serves on loopback; its places are taken by connections that say nothing.
    async fn serving(silent: usize) -> (SocketAddr, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        tokio::spawn(accept(listener, router(Arc::default(), metrics)));
        let mut connections = Vec::new();
        for _ in 0..silent {
            connections.push(TcpStream::connect(address).await.expect("connected"));
        }
        (address, connections)
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on() {
        let (_, mut silent) = serving(1).await;
        let mut said = Vec::new();
        let ended = timeout(ms(HTTP_HEADER_MS * 2), silent[0].read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "it is still open");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_connections_than_the_bound_are_served_at_once() {
        let begun = Instant::now();
        let (address, _silent) = serving(HTTP_CONNECTIONS_MAX).await;
        let mut one_more = TcpStream::connect(address).await.expect("connected");
        let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
        one_more.write_all(request).await.expect("sent");
        let mut said = String::new();
        let answer = one_more.read_to_string(&mut said);
        timeout(ms(HTTP_CONNECTION_MS * 2), answer)
            .await
            .expect("in time")
            .expect("an answer");
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        let waited = begun.elapsed();
        assert!(waited >= ms(HTTP_HEADER_MS), "served after {waited:?}");
    }
}
