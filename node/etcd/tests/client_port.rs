//! The client port as clients see it: HTTP and gRPC on one listener, TLS that rotates, health, and how
//! connections end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use standby_etcd::pb::etcdserverpb::alarm_request::AlarmAction;
use standby_etcd::pb::etcdserverpb::kv_client::KvClient;
use standby_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use standby_etcd::pb::etcdserverpb::watch_client::WatchClient;
use standby_etcd::pb::etcdserverpb::watch_request::RequestUnion;
use standby_etcd::pb::etcdserverpb::{
    AlarmRequest, AlarmType, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use standby_etcd::server::{ALPN_PROTOCOLS, TlsSource};
use standby_interface::Role;
use support::LocalServer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn connect(server: &LocalServer) -> Channel {
    Channel::from_shared(server.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn tcp(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap()
}

async fn watch(
    channel: Channel,
    metadata: Option<&'static str>,
) -> tonic::Result<Streaming<WatchResponse>> {
    let create = WatchCreateRequest {
        key: "a".into(),
        ..WatchCreateRequest::default()
    };
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    // The client asks once and goes on listening.
    let requests = tokio_stream::once(create).chain(tokio_stream::pending());
    let mut request = Request::new(requests);
    if let Some(name) = metadata {
        request.metadata_mut().insert(name, "true".parse().unwrap());
    }
    Ok(WatchClient::new(channel).watch(request).await?.into_inner())
}

fn put(key: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        ..PutRequest::default()
    }
}

#[tokio::test]
async fn http_and_grpc_share_the_plain_port() {
    let server = LocalServer::start().await;
    let answer = get(tcp(&server.url).await, "/version").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#));
    let answer = get(tcp(&server.url).await, "/readyz?verbose").await;
    assert!(answer.contains("[+]linearizable_read ok"), "{answer}");
    let mut kv = KvClient::new(connect(&server).await);
    kv.put(put("a")).await.unwrap();
    let answer = get(tcp(&server.url).await, "/metrics").await;
    assert!(
        answer.contains("etcd_debugging_mvcc_watcher_total 0"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let server = LocalServer::start().await;
    let mut silent = tcp(&server.url).await;
    let day = std::time::Duration::from_hours(24);
    let closed = tokio::time::timeout(day, silent.read(&mut [0])).await;
    // Whether by an end or a reset is nothing to the test.
    assert_eq!(closed.expect("it is closed").unwrap_or(0), 0);
}

#[tokio::test]
async fn a_call_that_is_not_served_is_unimplemented_and_named() {
    let server = LocalServer::start().await;
    let mut grpc = tonic::client::Grpc::new(connect(&server).await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/v3lockpb.Lock/Lock");
    let codec = tonic_prost::ProstCodec::<RangeRequest, RangeRequest>::default();
    let request = Request::new(RangeRequest::default());
    let status = grpc.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(
        status.message().contains("/v3lockpb.Lock/Lock"),
        "{}",
        status.message()
    );
}

/// A certificate for localhost, and the server's and a client's settings for it.
fn certificate() -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    (cert.der().clone(), Arc::new(config))
}

/// Connects over TLS, trusting `trusted`, with one protocol offered.
async fn tls(
    url: &str,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp(url).await)
        .await
}

#[tokio::test]
async fn tls_offers_both_protocols_and_uses_a_new_certificate_from_the_next_connection_on() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = LocalServer::start().await;
    let (first, config) = certificate();
    let current = Arc::new(Mutex::new(config));
    let given = Arc::clone(&current);
    let source: TlsSource = Arc::new(move || Arc::clone(&given.lock()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let port = standby_etcd::server::ClientServer::new(standby_etcd::server::Lifetimes::default());
    let service = tower::service_fn(async |_| {
        Ok(http::Response::new(tonic::body::Body::new(
            "hello".to_owned(),
        )))
    });
    let until = shutdown.clone();
    let serving =
        tokio::spawn(async move { port.serve(listener, Some(source), service, until).await });

    for protocol in ALPN_PROTOCOLS {
        let stream = tls(&url, &first, protocol).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    }
    let stream = tls(&url, &first, b"http/1.1").await.unwrap();
    assert!(get(stream, "/").await.ends_with("hello"));

    let (second, config) = certificate();
    *current.lock() = config;
    assert!(
        tls(&url, &first, b"h2").await.is_err(),
        "the old certificate is still served"
    );
    tls(&url, &second, b"h2").await.unwrap();
    shutdown.cancel();
    serving.await.unwrap();
    drop(server);
}

#[tokio::test]
async fn the_loss_of_the_role_ends_connections_and_streams_and_new_ones_are_served() {
    let server = LocalServer::start().await;
    let channel = connect(&server).await;
    let mut stream = watch(channel, None).await.unwrap();
    assert!(stream.message().await.unwrap().unwrap().created);
    server.server.close_all().await;
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "etcdserver: server stopped");
    let mut kv = KvClient::new(connect(&server).await);
    kv.put(put("a")).await.unwrap();
    let mut stream = watch(connect(&server).await, None).await.unwrap();
    assert!(stream.message().await.unwrap().unwrap().created);
}

#[tokio::test]
async fn who_needs_a_leader_is_refused_without_one_and_others_watch_on() {
    let server = LocalServer::start().await;
    server.replication.become_role(Role::Follower, false);
    let status = watch(connect(&server).await, Some("hasleader"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
    let mut stream = watch(connect(&server).await, None).await.unwrap();
    assert!(stream.message().await.unwrap().unwrap().created);
    server.replication.become_role(Role::Follower, true);
    watch(connect(&server).await, Some("hasleader"))
        .await
        .unwrap();
}

#[tokio::test]
async fn grpc_health_follows_the_role() {
    let server = LocalServer::start().await;
    let mut health = HealthClient::new(connect(&server).await);
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut seen = health.watch(request).await.unwrap().into_inner();
    let mut expect = async |status: ServingStatus| {
        let expected = if status == ServingStatus::Serving {
            1
        } else {
            2
        };
        while seen.message().await.unwrap().unwrap().status != expected {}
    };
    expect(ServingStatus::Serving).await;
    server.replication.become_role(Role::Unassigned, false);
    expect(ServingStatus::NotServing).await;
    server.replication.become_role(Role::Primary, true);
    expect(ServingStatus::Serving).await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_goes_on_listening() {
    let server = LocalServer::start().await;
    let create = WatchCreateRequest {
        key: "a".into(),
        ..WatchCreateRequest::default()
    };
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let mut client = WatchClient::new(connect(&server).await);
    let mut stream = client
        .watch(tokio_stream::once(create))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().unwrap().created);
    KvClient::new(connect(&server).await)
        .put(put("a"))
        .await
        .unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().events.len(), 1);
}

#[tokio::test]
async fn alarms_are_listed_and_end_by_themselves() {
    let server = LocalServer::start().await;
    let mut client = MaintenanceClient::new(connect(&server).await);
    let ask = |action: AlarmAction, alarm: AlarmType| AlarmRequest {
        action: action.into(),
        member_id: 0,
        alarm: alarm.into(),
    };
    let list = ask(AlarmAction::Get, AlarmType::None);
    let listed = client.alarm(list).await.unwrap().into_inner();
    assert!(listed.header.is_some());
    assert_eq!(listed.alarms, []);
    server.replication.disk_full.store(true, Ordering::Relaxed);
    let listed = client.alarm(list).await.unwrap().into_inner();
    assert_eq!(listed.alarms.len(), 1);
    assert_eq!(listed.alarms[0].alarm(), AlarmType::Nospace);
    let member = listed.header.unwrap().member_id;
    assert_eq!(listed.alarms[0].member_id, member);
    let corrupt = ask(AlarmAction::Get, AlarmType::Corrupt);
    let listed = client.alarm(corrupt).await.unwrap().into_inner();
    assert_eq!(listed.alarms, []);
    let disarm = ask(AlarmAction::Deactivate, AlarmType::Nospace);
    let refused = client.alarm(disarm).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("ends by itself"), "{refused}");
}
