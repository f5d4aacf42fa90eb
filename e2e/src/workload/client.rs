//! How writers, watch and checker connect. Every connection is a fresh one.

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use serde::{Deserialize, Serialize};

use crate::command::until;
use crate::error::{Error, Result};
use crate::limits::{
    CONNECT_TIMEOUT, FAILOVER_TIMEOUT, PUT_TIMEOUT, WATCH_KEEP_ALIVE, WATCH_KEEP_ALIVE_TIMEOUT,
};

/// Where a cluster is and how to prove who one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// URLs.
    pub endpoints: Vec<String>,
    /// Certificates, unless the connection is plain.
    pub tls: Option<Tls>,
}

/// Certificates as PEM text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Of the authority that signed the server's certificate.
    pub authority: String,
    /// Our own, when the server asks for one.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The name in the server's certificate.
    pub server_name: String,
}

impl Target {
    /// A plain connection to one URL.
    pub fn plain(url: &str) -> Self {
        Self {
            endpoints: vec![url.to_owned()],
            tls: None,
        }
    }

    /// A client of our own, not connected yet.
    pub async fn client(&self, options: ConnectOptions) -> Result<Client> {
        let mut options = options.with_connect_timeout(CONNECT_TIMEOUT);
        if let Some(tls) = &self.tls {
            let mut files = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(&tls.authority))
                .domain_name(&tls.server_name);
            if !tls.certificate.is_empty() {
                files = files.identity(Identity::from_pem(&tls.certificate, &tls.key));
            }
            options = options.with_tls(files);
        }
        Client::connect(&self.endpoints, Some(options))
            .await
            .map_err(Error::from)
    }

    /// A client for a watch: it notices within a second that nobody is there any more.
    pub async fn watch_client(&self) -> Result<Client> {
        let options = ConnectOptions::new()
            .with_keep_alive(WATCH_KEEP_ALIVE, WATCH_KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true);
        self.client(options).await
    }

    /// A client whose every call has the time limit of a put.
    pub async fn quick_client(&self) -> Result<Client> {
        self.client(ConnectOptions::new().with_timeout(PUT_TIMEOUT))
            .await
    }
}

/// The store's revision now, as soon as somebody answers.
pub async fn revision(target: &Target) -> Result<i64> {
    until("a linearizable answer", FAILOVER_TIMEOUT, async || {
        let mut client = target
            .quick_client()
            .await
            .map_err(|error| error.to_string())?;
        let answer = client
            .get("revision", None)
            .await
            .map_err(|error| error.to_string())?;
        Ok(answer
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision))
    })
    .await
}
