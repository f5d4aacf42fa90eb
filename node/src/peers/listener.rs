//! Accepts followers on the peer port. A peer must show a certificate of this cluster that marks it as
//! a node; a client's certificate is not enough.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::network::Accept;
use super::{PeerContext, connection};
use crate::limits::{ACCEPT_RETRY_MS, HANDSHAKE_MS, PEER_CONNECTIONS_MAX};
use crate::tls::{NODE_IDENTITY, Tls};

/// Accepts until `shutdown`.
pub async fn run<O: Send + 'static>(
    context: Arc<PeerContext<O>>,
    listener: impl Accept,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(PEER_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a peer failed");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(limit = PEER_CONNECTIONS_MAX, "too many peer connections");
            continue;
        };
        let context = Arc::clone(&context);
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = serve(context, stream) => {}
            }
            drop(slot);
        });
    }
}

async fn serve<O, S>(context: Arc<PeerContext<O>>, stream: S)
where
    O: Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Some(tls) = &context.tls else {
        return connection::run(context, stream, false, None).await;
    };
    match handshake(tls, stream).await {
        Ok((stream, names)) => connection::run(context, stream, false, Some(names)).await,
        Err(error) => tracing::warn!(%error, "a peer was not let in"),
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    stream: S,
) -> Result<(tokio_rustls::server::TlsStream<S>, Vec<String>), crate::tls::TlsError> {
    let accepted = tls
        .accept_mutual(stream, Duration::from_millis(HANDSHAKE_MS))
        .await?;
    let names = crate::tls::names_of(accepted.get_ref().1.peer_certificates())?;
    if !names.iter().any(|name| name == NODE_IDENTITY) {
        return Err(crate::tls::TlsError::WrongIdentity {
            needs: NODE_IDENTITY,
            names,
        });
    }
    Ok((accepted, names))
}
