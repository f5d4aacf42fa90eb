//! What becomes of clients when this node is primary no more: they must find the next one, and after a
//! planned move nobody has to be refused meanwhile. Those that only read where they are stay.
//!
//! Never decides about roles; it follows them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use standby_core::NodeId;
use standby_etcd::server::{EtcdServer, Onward};
use standby_etcd::state::Outcome;
use standby_interface::{Role, RoleInfo};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::limits::{
    CLIENTS_CLOSED_AFTER_MS, HANDSHAKE_MS, PASSED_ON_CLOSED_AFTER_MS, PASSED_ON_MS,
};
use crate::peers::dialer::Addresses;
use crate::peers::network::{Dial, Tcp};
use crate::replication::NodeReplication;
use crate::tls::Tls;

/// Looks after the clients of a node whose role comes and goes.
pub(super) struct Clients {
    pub(super) server: EtcdServer<Arc<NodeReplication<Outcome>>>,
    pub(super) role: watch::Receiver<RoleInfo>,
    pub(super) addresses: Addresses,
    pub(super) tls: Option<Tls>,
}

impl Clients {
    /// Works until the driver has gone.
    pub(super) async fn look_after(mut self) {
        let mut before = self.role.borrow_and_update().role;
        while self.role.changed().await.is_ok() {
            let now = self.role.borrow_and_update().role;
            match (before, now) {
                (_, Role::SteppedDown) => self.server.onward().hold(),
                (Role::SteppedDown, Role::Primary | Role::PrimaryWaiting) => {
                    self.server.onward().end();
                }
                (Role::SteppedDown, _) => self.move_on().await,
                (_, Role::Primary | Role::PrimaryWaiting) => {}
                _ if before.is_primary() => self.close(&CLIENTS_CLOSED_AFTER_MS),
                _ => {}
            }
            before = self.role.borrow().role;
        }
    }

    /// The role went elsewhere by plan: requests go on to where it is now for as long as hosts may take
    /// to follow the Service.
    async fn move_on(&mut self) {
        let onward = self.server.onward().clone();
        let limit = Duration::from_millis(PASSED_ON_MS);
        let passed = timeout(limit, self.pass_on(&onward)).await;
        match passed {
            Ok(Ok(())) => {
                self.close(&PASSED_ON_CLOSED_AFTER_MS);
                let mut role = self.role.clone();
                // Whoever is primary again answers here, and so does everybody after a while.
                let again = role.wait_for(|info| info.role.is_primary());
                let _ = timeout(limit, again).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "requests cannot be passed on to the next primary");
                self.close(&CLIENTS_CLOSED_AFTER_MS);
            }
            Err(_) => self.close(&CLIENTS_CLOSED_AFTER_MS),
        }
        onward.end();
    }

    /// Waits until the next primary leads, which shows in that this node follows it, and connects.
    async fn pass_on(&mut self, onward: &Onward) -> io::Result<()> {
        let led = |info: &RoleInfo| {
            info.role.is_primary() || info.role == Role::Follower && info.primary_alive
        };
        let info = self.role.wait_for(led).await;
        let info = info.map_err(io::Error::other)?.clone();
        let next = info.primary.filter(|_| !info.role.is_primary());
        let next = next.ok_or_else(|| io::Error::other("this node is primary again"))?;
        let address = self.address_of(&next)?;
        let stream = Tcp.dial(&address).await?;
        match &self.tls {
            Some(tls) if tls.client_source().is_some() => {
                let limit = Duration::from_millis(HANDSHAKE_MS);
                let stream = tls.connect(stream, &next.name, limit).await;
                onward.pass_on(stream.map_err(io::Error::other)?).await
            }
            _ => onward.pass_on(stream).await,
        }
        .map_err(io::Error::other)
    }

    /// Host and port of a node's client port.
    fn address_of(&self, node: &NodeId) -> io::Result<String> {
        let addresses = self.addresses.borrow();
        let url = addresses.0.iter().find(|peer| peer.name == node.name);
        let url = url.map(|peer| peer.client_url.as_str());
        let address = url.and_then(|url| url.split_once("://"));
        match address {
            Some((_, address)) => Ok(address.to_owned()),
            None => Err(io::Error::other(format!(
                "no client address of {node} is known, but {url:?}"
            ))),
        }
    }

    /// Closes connections again and again: clients connect anew at once, and the Service takes a moment to
    /// lead to the next primary, so whoever still arrived here is told again. A promotion closes nothing.
    fn close(&self, after_ms: &'static [u64]) {
        for after in after_ms {
            let (server, role) = (self.server.clone(), self.role.clone());
            tokio::spawn(async move {
                sleep(Duration::from_millis(*after)).await;
                if !role.borrow().role.is_primary() {
                    server.close_all().await;
                }
            });
        }
    }
}
