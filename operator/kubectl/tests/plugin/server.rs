//! An API server in memory: objects by their paths, lists of them, merge patches with their check of
//! the version, rights that are missing, and a script of what the operator does after a patch.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use standby_kubectl::shell::Shell;
use tower::service_fn;

pub const CLUSTERS: &str = "/apis/standby.dev/v1alpha1/namespaces/shop/standbyclusters";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Value,
    pub content_type: String,
}

/// The state of the server.
#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<String, Value>,
    pub texts: BTreeMap<String, String>,
    /// Beginnings of paths that nobody may use.
    pub forbidden: Vec<&'static str>,
    /// Whether the definitions are missing.
    pub bare: bool,
    /// Whether nobody is known.
    pub unknown_caller: bool,
    /// How many patches somebody else is faster than.
    pub races: usize,
    /// Merge patches that the operator writes, one before each look at a cluster after a patch.
    pub script: VecDeque<Value>,
    /// Lines of the next watch.
    pub events: Vec<Value>,
    pub asked: Vec<Asked>,
    patched: bool,
}

/// The server and its client.
#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    /// A server with these clusters, by their names in their namespaces.
    pub fn with(clusters: &[Value]) -> Self {
        let server = Self::default();
        server.change(|state| {
            for cluster in clusters {
                let path = format!(
                    "/apis/standby.dev/v1alpha1/namespaces/{}/standbyclusters/{}",
                    cluster["metadata"]["namespace"]
                        .as_str()
                        .expect("a namespace"),
                    cluster["metadata"]["name"].as_str().expect("a name"),
                );
                state.objects.insert(path, cluster.clone());
            }
        });
        server
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().expect("nobody panicked"))
    }

    pub fn shell(&self) -> Shell {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Shell {
            client: Client::new(service, "shop"),
            namespace: "shop".into(),
        }
    }

    /// What was written.
    pub fn written(&self) -> Vec<Asked> {
        self.change(|state| {
            let writes = state
                .asked
                .iter()
                .filter(|asked| asked.method == Method::PATCH);
            writes.cloned().collect()
        })
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let asked = Asked {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            content_type: head
                .headers
                .get("content-type")
                .map_or(String::new(), |value| value.to_str().expect("text").into()),
        };
        self.change(|state| {
            state.asked.push(asked.clone());
            state.answer(&asked)
        })
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Response<Body> {
        let path = asked.path.as_str();
        if self.unknown_caller {
            return failure(401, "Unauthorized", "Unauthorized");
        }
        if self.forbidden.iter().any(|start| path.starts_with(start)) {
            return failure(
                403,
                "Forbidden",
                &format!("{path} is forbidden: User \"ada\" cannot"),
            );
        }
        if self.bare && path.starts_with("/apis/standby.dev/") {
            return text(404, "404 page not found\n");
        }
        if let Some(found) = self.texts.get(path) {
            return text(200, found);
        }
        match asked.method {
            Method::POST if path.ends_with("/selfsubjectreviews") => json_of(
                201,
                &json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
                    "metadata": {}, "status": {"userInfo": {"username": "ada@example.org"}}}),
            ),
            Method::PATCH => self.patch(asked),
            _ if asked.query.contains("watch=true") => self.watch(),
            _ => self.get(path),
        }
    }

    fn get(&mut self, path: &str) -> Response<Body> {
        if self.patched
            && path.contains("/standbyclusters/")
            && let Some(step) = self.script.pop_front()
            && let Some(object) = self.objects.get_mut(path)
        {
            merge(object, &step);
        }
        if let Some(object) = self.objects.get(path) {
            return json_of(200, object);
        }
        let kind = path.rsplit('/').next().unwrap_or_default();
        let list = !["standbyclusters", "standbyviews"]
            .iter()
            .any(|kind| path.contains(&format!("/{kind}/")));
        if list {
            let items: Vec<&Value> = self
                .objects
                .iter()
                .filter(|(name, _)| listed(path, name))
                .map(|(_, object)| object)
                .collect();
            return json_of(
                200,
                &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "50"},
                    "items": items}),
            );
        }
        failure(404, "NotFound", &format!("{kind} not found"))
    }

    fn patch(&mut self, asked: &Asked) -> Response<Body> {
        let Some(object) = self.objects.get_mut(&asked.path) else {
            return failure(404, "NotFound", "not found");
        };
        let version = object["metadata"]["resourceVersion"].as_str();
        let version: u64 = version.and_then(|text| text.parse().ok()).unwrap_or(0);
        if self.races > 0 {
            self.races -= 1;
            object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
            return failure(409, "Conflict", "the object has been modified");
        }
        let given = &asked.body["metadata"]["resourceVersion"];
        if given
            .as_str()
            .is_some_and(|given| given != version.to_string())
        {
            return failure(409, "Conflict", "the object has been modified");
        }
        merge(object, &asked.body);
        object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
        self.patched = true;
        json_of(200, object)
    }

    fn watch(&mut self) -> Response<Body> {
        let lines: String = self
            .events
            .drain(..)
            .map(|event| format!("{event}\n"))
            .collect::<Vec<_>>()
            .concat();
        text(200, &lines)
    }
}

/// Whether an object is in a list: of its folder, or of all namespaces.
fn listed(list: &str, object: &str) -> bool {
    let Some((folder, _)) = object.rsplit_once('/') else {
        return false;
    };
    if folder == list {
        return true;
    }
    let Some((start, rest)) = folder.split_once("/namespaces/") else {
        return false;
    };
    let kind = rest.split_once('/').map_or("", |(_, kind)| kind);
    list == format!("{start}/{kind}")
}

pub fn merge(into: &mut Value, from: &Value) {
    let Value::Object(fields) = from else {
        *into = from.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            into.as_object_mut().expect("it is an object").remove(name);
        } else {
            merge(&mut into[name], value);
        }
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    json_of(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
            "reason": reason, "code": code}),
    )
}

fn json_of(code: u16, body: &Value) -> Response<Body> {
    text(code, &body.to_string())
}

fn text(code: u16, body: &str) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(code).expect("a status"))
        .body(Body::from(body.as_bytes().to_vec()))
        .expect("a response")
}
