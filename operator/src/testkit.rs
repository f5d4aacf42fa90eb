//! A scripted API server for tests: each request is answered by the next line of the test.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{Handle, SendResponse, pair};

/// The side of the API server.
pub type Server = Handle<Request<Body>, Response<Body>>;

/// A client and the server that answers it.
pub fn server(namespace: &str) -> (Client, Server) {
    let (service, server) = pair::<Request<Body>, Response<Body>>();
    (Client::new(service, namespace), server)
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
