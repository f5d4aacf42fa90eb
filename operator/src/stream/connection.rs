//! How a node is reached: TCP, TLS and HTTP/2, one connection for one session. Nothing is dialled anew
//! here and nothing waits in line: a client library's channel would keep 10 KB for each of the thousands of
//! nodes to be able to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use standby_control::v1::control_client::ControlClient;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tower::Service;
use tracing::debug;

use super::{SessionError, Target};
use crate::limits::{NODE_CONNECT_MS, NODE_SESSION_MS, REPORT_BYTES_MAX, ms};
use crate::tls::OperatorTls;

/// A connection to a node's control port. Dropping it closes it.
pub(super) struct Connection {
    requests: SendRequest<Body>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects, and makes sure of who answers.
    pub async fn open(
        target: &Target,
        tls: &OperatorTls,
    ) -> Result<ControlClient<Self>, SessionError> {
        let origin = Uri::try_from(format!("http://{}", target.address))?;
        let name = ServerName::try_from(target.pod.clone())?;
        let connector = TlsConnector::from(tls.config()?);
        let limit = ms(NODE_CONNECT_MS + NODE_SESSION_MS);
        let connection = timeout(limit, Self::dial(target, connector, name))
            .await
            .map_err(|_| SessionError::Timeout)??;
        Ok(ControlClient::with_origin(connection, origin)
            .max_decoding_message_size(REPORT_BYTES_MAX))
    }

    async fn dial(
        target: &Target,
        connector: TlsConnector,
        name: ServerName<'static>,
    ) -> Result<Self, SessionError> {
        let stream = timeout(ms(NODE_CONNECT_MS), TcpStream::connect(&target.address))
            .await
            .map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let encrypted = connector.connect(name, stream).await;
        let encrypted = encrypted.map_err(SessionError::Handshake)?;
        let (requests, driver) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(encrypted)).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                debug!(%error, "the connection ended");
            }
        });
        Ok(Self {
            requests,
            _driver: AbortOnDropHandle::new(driver),
        })
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
