//! What becomes of clients when this node is primary no more: they must find the next one, and after a
//! planned move nobody has to be refused meanwhile. Those that only read where they are stay.
//!
//! Never decides about roles; it follows them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use standby_core::NodeId;
use standby_etcd::limits::REQUESTS_HELD_MS;
use standby_etcd::server::{EtcdServer, Onward};
use standby_etcd::state::Outcome;
use standby_interface::{Role, RoleInfo};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::limits::{
    CLIENTS_CLOSED_AFTER_MS, HANDSHAKE_MS, PASSED_ON_CLOSED_AFTER_MS, PASSED_ON_MS,
};
use crate::peers::dialer::{Addresses, connect};
use crate::peers::network::Tcp;
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
        let mut before = Role::Unassigned;
        let mut moved_out = None;
        loop {
            let now = self.role.borrow_and_update().clone();
            if now.role == Role::SteppedDown && moved_out != Some(now.epoch) {
                moved_out = Some(now.epoch);
                self.move_out().await;
                // Whatever changed meanwhile is looked at at once.
                before = Role::Follower;
                continue;
            }
            if before.is_primary() && !now.role.is_primary() {
                self.close(&CLIENTS_CLOSED_AFTER_MS);
            }
            before = now.role;
            if self.role.changed().await.is_err() {
                return;
            }
        }
    }

    /// The role goes elsewhere by plan: requests wait until it is known where, and go on to there for as
    /// long as hosts may take to follow the Service. Whatever comes of it, they are answered here in the
    /// end.
    async fn move_out(&mut self) {
        let onward = self.server.onward().clone();
        onward.hold();
        let limit = Duration::from_millis(REQUESTS_HELD_MS);
        let (next, connection) = match timeout(limit, self.pass_on(&onward)).await {
            Ok(Ok(Some(way))) => way,
            Ok(Ok(None)) => return onward.end(),
            Ok(Err(error)) => return self.gives_up(&onward, &error.to_string()),
            Err(_) => {
                let why = format!("nobody leads after {REQUESTS_HELD_MS} ms");
                return self.gives_up(&onward, &why);
            }
        };
        self.close(&PASSED_ON_CLOSED_AFTER_MS);
        let elsewhere = |info: &RoleInfo| info.primary.as_ref() != Some(&next);
        let ended_early = tokio::select! {
            () = sleep(Duration::from_millis(PASSED_ON_MS)) => None,
            _ = connection => Some("the connection to it ended"),
            _ = self.role.wait_for(elsewhere) => Some("another is primary by now"),
        };
        onward.end();
        if let Some(why) = ended_early {
            tracing::info!(why, "requests are passed on to the next primary no more");
            self.close(&CLIENTS_CLOSED_AFTER_MS);
        }
    }

    /// Clients are refused until they have found the next primary by themselves.
    fn gives_up(&self, onward: &Onward, why: &str) {
        onward.end();
        tracing::warn!(why, "requests are not passed on to the next primary");
        self.close(&CLIENTS_CLOSED_AFTER_MS);
    }

    /// Waits until another node leads, which shows in that this one follows it, and connects to it.
    /// Nothing when this node leads again.
    async fn pass_on(&self, onward: &Onward) -> io::Result<Option<(NodeId, JoinHandle<()>)>> {
        let settled = |info: &RoleInfo| match info.role {
            Role::Primary | Role::PrimaryWaiting => true,
            Role::Follower => info.primary_alive,
            Role::SteppedDown | Role::Unassigned => false,
        };
        let mut role = self.role.clone();
        let info = role.wait_for(settled).await;
        let info = info.map_err(io::Error::other)?.clone();
        let Some(next) = info.primary.filter(|_| !info.role.is_primary()) else {
            return Ok(None);
        };
        let (scheme, address) = self.address_of(&next)?;
        let stream = connect(&Tcp, &address).await?;
        // What this node's own port speaks says nothing: a change of that is rolled out node by node.
        let connection = match (scheme.as_str(), &self.tls) {
            ("https", Some(tls)) => {
                let limit = Duration::from_millis(HANDSHAKE_MS);
                let stream = tls.connect(stream, &next.name, limit).await;
                onward.pass_on(stream.map_err(io::Error::other)?).await
            }
            ("http", _) => onward.pass_on(stream).await,
            _ => {
                let tls = self
                    .tls
                    .as_ref()
                    .map_or("no certificates", |_| "certificates");
                return Err(io::Error::other(format!(
                    "{next} is reached by {scheme}://{address}, and this node has {tls}"
                )));
            }
        };
        Ok(Some((next, connection.map_err(io::Error::other)?)))
    }

    /// What a node's client port speaks, and its host and port.
    fn address_of(&self, node: &NodeId) -> io::Result<(String, String)> {
        let addresses = self.addresses.borrow();
        let url = addresses.0.iter().find(|peer| peer.name == node.name);
        let url = url.map(|peer| peer.client_url.as_str());
        let address = url.and_then(|url| url.split_once("://"));
        match address {
            Some((scheme, address)) => Ok((scheme.to_owned(), address.to_owned())),
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
