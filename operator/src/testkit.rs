//! A scripted API server for tests: each request is answered by the next line of the test.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use standby_operator_core::validate::Settings;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_test::mock::{Handle, SendResponse, pair};

use crate::clock::Clock;
use crate::context::{Context, Wakers};
use crate::http::Readiness;
use crate::metrics::Metrics;
use crate::remembered::Remembered;
use crate::stores::Stores;

/// The side of the API server.
pub type Server = Handle<Request<Body>, Response<Body>>;

/// A client and the server that answers it.
pub fn server(namespace: &str) -> (Client, Server) {
    let (service, server) = pair::<Request<Body>, Response<Body>>();
    (Client::new(service, namespace), server)
}

/// What the operator of these tests was started with.
pub fn settings() -> Settings {
    Settings {
        node_image: "node:1".into(),
        operator_namespace: "operators".into(),
        version: "0.1.0".into(),
    }
}

/// A context whose calls are answered by the script. Its watches have a server of their own that
/// never answers.
pub fn context() -> (Context, Server) {
    let stopped = CancellationToken::new();
    stopped.cancel();
    let (unanswered, _) = server("shop");
    context_with(Stores::start(
        &unanswered,
        &[],
        Remembered::default(),
        &stopped,
    ))
}

/// A context with these caches.
pub fn context_with(stores: Stores) -> (Context, Server) {
    let (client, server) = server("shop");
    let reporter = Reporter {
        controller: "standby-operator".into(),
        instance: None,
    };
    let context = Context {
        heartbeats: tokio::runtime::Handle::current(),
        recorder: Recorder::new(client.clone(), reporter),
        client,
        settings: settings(),
        clock: Clock::start(),
        stores,
        wakers: Wakers::default(),
        events: Arc::new(Semaphore::new(1)),
        metrics: Arc::new(Metrics::new().expect("metrics")),
        readiness: Arc::new(Readiness::default()),
    };
    (context, server)
}

/// The next request, and how to answer it.
async fn next(server: &mut Server) -> (Method, Value, SendResponse<Response<Body>>) {
    let (request, send) = server.next_request().await.expect("a request");
    let method = request.method().clone();
    let body = request.into_body().collect().await.expect("a body");
    let value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    (method, value, send)
}

fn response(code: u16, body: &Value) -> Response<Body> {
    let body = Body::from(serde_json::to_vec(body).expect("json"));
    Response::builder()
        .status(StatusCode::from_u16(code).expect("a status"))
        .body(body)
        .expect("a response")
}

/// Answers a request.
pub fn answer(send: SendResponse<Response<Body>>, code: u16, body: &Value) {
    send.send_response(response(code, body));
}

/// Answers the next request, and says what it was.
pub async fn serve(server: &mut Server, code: u16, body: Value) -> (Method, Value) {
    let (method, value, send) = next(server).await;
    send.send_response(response(code, &body));
    (method, value)
}

/// Answers the next request with what it holds, as the API server does with a write.
pub async fn serve_back(server: &mut Server) -> (Method, Value) {
    let (method, value, send) = next(server).await;
    send.send_response(response(200, &value));
    (method, value)
}

/// What the API server says when it refuses.
pub fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
        "reason": reason, "code": code})
}
