//! Asks other nodes for a later view while this node's primary does not answer (V9): nodes pass the
//! highest view on to each other, also when no operator is there to push it.
//!
//! One question at a time, with a pause, to one node after the other. Never to the primary of the stored
//! view: that one is dialled anyway, and would take the question for a follower that presents itself.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use standby_core::replica::{Input, Status};
use standby_core::{ClusterId, Epoch, Hello, LogOutline, Message, NodeId, View};
use standby_interface::RoleInfo;
use standby_store::volume::PeerAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio_util::codec::Framed;

use super::dialer::{Addresses, connect};
use super::network::Dial;
use super::wire::{self, Packet};
use super::{PeerContext, connection};
use crate::limits::{HANDSHAKE_MS, VIEW_ASK_AFTER_MS, VIEW_ASK_EVERY_MS};
use crate::replication::Command;

/// Why nobody answered; only ever logged.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node: NodeId,
}

/// Asks, whenever the primary is out of reach for long, until the driver has gone.
pub async fn run<O: Send + 'static, D: Dial>(
    context: Arc<PeerContext<O>>,
    network: D,
    asker: Asker,
    role: watch::Receiver<RoleInfo>,
    addresses: Addresses,
) {
    let pause = Duration::from_millis(VIEW_ASK_EVERY_MS);
    let mut lonely_ms = 0;
    let mut turn = 0;
    while role.has_changed().is_ok() {
        tokio::time::sleep(pause).await;
        if role.borrow().primary_alive {
            lonely_ms = 0;
            continue;
        }
        lonely_ms += VIEW_ASK_EVERY_MS;
        if lonely_ms < VIEW_ASK_AFTER_MS {
            continue;
        }
        let known = addresses.borrow().0.clone();
        let question = asker.ask_next(&context, &network, &known, turn);
        match tokio::time::timeout(pause, question).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "no node told its view"),
            Err(_) => tracing::debug!("a node that was asked for its view did not answer"),
        }
        turn += 1;
    }
}

/// Whom to ask, in turn: everybody but this node and the primary of its view.
fn whom(
    known: &[PeerAddress],
    me: &str,
    primary: Option<&str>,
    turn: usize,
) -> Option<PeerAddress> {
    let others: Vec<_> = known
        .iter()
        .filter(|peer| peer.name != me && Some(peer.name.as_str()) != primary)
        .collect();
    let at = turn.checked_rem(others.len())?;
    Some(others[at].clone())
}

impl Asker {
    async fn ask_next<O: Send + 'static, D: Dial>(
        &self,
        context: &PeerContext<O>,
        network: &D,
        known: &[PeerAddress],
        turn: usize,
    ) -> Result<(), Failure> {
        let (reply, status) = oneshot::channel();
        context
            .driver
            .send(Command::Status(reply))
            .map_err(|_| "the process is ending")?;
        let status = status.await?;
        let primary = status.view.as_ref().map(|view| view.primary.name.as_str());
        let Some(peer) = whom(known, &self.node.name, primary, turn) else {
            return Ok(());
        };
        let mine = status.view.as_ref().map_or(Epoch(0), |view| view.epoch);
        let stream = connect(network, &peer.peer).await?;
        let hello = self.hello(status);
        let limit = Duration::from_millis(HANDSHAKE_MS);
        let view = match &context.tls {
            Some(tls) => exchange(tls.connect(stream, &peer.name, limit).await?, &hello).await?,
            None => exchange(stream, &hello).await?,
        };
        if view.epoch > mine {
            tracing::info!(from = peer.name, %view, "another node knows a later view");
            let input = Input::View {
                view,
                await_nodes: std::collections::BTreeSet::new(),
                previous_stopped: false,
            };
            context
                .driver
                .send(Command::Input(input))
                .map_err(|_| "the process is ending")?;
        }
        Ok(())
    }

    /// Presents this node with its view, for the other to learn from as well, and with no log: nothing is
    /// to be matched.
    fn hello(&self, status: Status) -> Hello {
        Hello {
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
            view: status.view,
            log: LogOutline::EMPTY,
            commit: status.commit,
            damaged: false,
            attempt: 0,
        }
    }
}

/// Presents `hello` and waits for the view that the other has.
async fn exchange<S>(stream: S, hello: &Hello) -> Result<View, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut frames = Framed::new(stream, connection::codec());
    frames
        .send(wire::encode(&Message::Hello(hello.clone())))
        .await?;
    while let Some(frame) = frames.next().await {
        if let Packet::Core(Message::ViewIs(view)) = wire::decode(frame?.freeze())? {
            return Ok(view);
        }
    }
    Err("the connection ended without a view".into())
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
