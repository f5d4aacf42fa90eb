//! Keeps one connection to the primary of the view, as long as there is one to follow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use standby_core::NodeId;
use standby_core::replica::Input;
use standby_store::volume::PeerAddress;
use tokio::sync::watch;

use super::network::Dial;
use super::{PeerContext, connection};
use crate::limits::{HANDSHAKE_MS, PEER_CONNECT_MS, REDIAL_FIRST_MS, REDIAL_LONGEST_MS};
use crate::replication::Command;

/// Where everybody is, and the address that follows the primary.
pub type Addresses = watch::Receiver<(Vec<PeerAddress>, String)>;

/// Dials until the driver has gone.
pub async fn run<O: Send + 'static, D: Dial>(
    context: Arc<PeerContext<O>>,
    network: D,
    mut follow: watch::Receiver<Option<NodeId>>,
    mut addresses: Addresses,
) {
    let mut pause_ms = REDIAL_FIRST_MS;
    loop {
        let target = follow.borrow_and_update().clone();
        let address = target
            .as_ref()
            .and_then(|node| address_of(&mut addresses, node));
        let (Some(target), Some(address)) = (target, address) else {
            if wait_for_news(&mut follow, &mut addresses).await.is_err() {
                return;
            }
            continue;
        };
        let attempt = dial_and_run(&context, &network, &target, &address);
        tokio::pin!(attempt);
        let outcome = loop {
            tokio::select! {
                outcome = &mut attempt => break Some(outcome),
                changed = follow.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break None;
                }
                changed = addresses.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // That others moved is no reason to leave the primary.
                    if address_of(&mut addresses, &target).as_ref() != Some(&address) {
                        break None;
                    }
                }
            }
        };
        let Some(outcome) = outcome else {
            pause_ms = REDIAL_FIRST_MS;
            continue;
        };
        match outcome {
            Ok(()) => pause_ms = REDIAL_FIRST_MS,
            Err(refused) => {
                if refused {
                    // The driver is gone only when the process ends.
                    let _ = context.driver.send(Command::Input(Input::ConnectRefused));
                }
                pause_ms = (pause_ms * 2).min(REDIAL_LONGEST_MS);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            changed = follow.changed() => if changed.is_err() { return },
        }
    }
}

fn address_of(addresses: &mut Addresses, node: &NodeId) -> Option<String> {
    let known = addresses.borrow_and_update();
    known
        .0
        .iter()
        .find(|peer| peer.name == node.name)
        .map(|peer| peer.peer.clone())
}

async fn wait_for_news(
    follow: &mut watch::Receiver<Option<NodeId>>,
    addresses: &mut Addresses,
) -> Result<(), watch::error::RecvError> {
    tokio::select! {
        changed = follow.changed() => changed,
        changed = addresses.changed() => changed,
    }
}

/// Opens a connection to a peer's port.
pub(crate) async fn connect<D: Dial>(network: &D, address: &str) -> io::Result<D::Stream> {
    let limit = Duration::from_millis(PEER_CONNECT_MS);
    let connected = tokio::time::timeout(limit, network.dial(address)).await;
    connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Connects and runs the connection to its end. The error says whether connecting was refused.
async fn dial_and_run<O: Send + 'static, D: Dial>(
    context: &Arc<PeerContext<O>>,
    network: &D,
    target: &NodeId,
    address: &str,
) -> Result<(), bool> {
    let stream = match connect(network, address).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%target, address, %error, "the primary cannot be reached");
            return Err(error.kind() == io::ErrorKind::ConnectionRefused);
        }
    };
    let Some(tls) = &context.tls else {
        connection::run(Arc::clone(context), stream, true, None).await;
        return Ok(());
    };
    let limit = Duration::from_millis(HANDSHAKE_MS);
    match tls.connect(stream, &target.name, limit).await {
        Ok(stream) => {
            connection::run(Arc::clone(context), stream, true, None).await;
            Ok(())
        }
        Err(error) => {
            tracing::debug!(%target, address, %error, "the primary's handshake failed");
            Err(false)
        }
    }
}

#[cfg(test)]
#[path = "dialer_tests.rs"]
mod tests;
