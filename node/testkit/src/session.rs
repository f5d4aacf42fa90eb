//! The stand-in operator's stream to one node.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use standby_control::v1;
use standby_control::v1::control_client::ControlClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{ClientTlsConfig, Endpoint};

/// A stream of orders and reports.
pub struct Session {
    orders: mpsc::Sender<v1::Order>,
    reports: watch::Receiver<v1::Report>,
    sequence: AtomicU64,
}

impl Session {
    /// Connects to a control port, without TLS where none is given.
    pub async fn connect(address: &str, tls: Option<ClientTlsConfig>) -> anyhow::Result<Self> {
        let endpoint = match tls {
            Some(tls) => Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?,
            None => Endpoint::from_shared(format!("http://{address}"))?,
        };
        let mut client = ControlClient::new(endpoint.connect().await?);
        let (orders, receiver) = mpsc::channel(64);
        let stream = client.session(ReceiverStream::new(receiver)).await?;
        let mut stream = stream.into_inner();
        let first = stream.message().await?.context("a node reports first")?;
        let (sender, reports) = watch::channel(first);
        tokio::spawn(async move {
            while let Ok(Some(report)) = stream.message().await {
                sender.send_replace(report);
            }
        });
        Ok(Self {
            orders,
            reports,
            sequence: AtomicU64::new(0),
        })
    }

    /// The last report.
    #[must_use]
    pub fn report(&self) -> v1::Report {
        self.reports.borrow().clone()
    }

    /// Asks for a report.
    pub async fn ping(&self) {
        self.order(v1::order::Order::Ping(v1::Ping {})).await;
    }

    /// Gives an order. A node that has gone is noticed by its missing reports.
    pub async fn order(&self, order: v1::order::Order) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = self
            .orders
            .send(v1::Order {
                sequence,
                order: Some(order),
            })
            .await;
    }
}
