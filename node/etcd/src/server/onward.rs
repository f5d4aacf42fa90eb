//! Passes requests on to the next primary after a planned move (V8). Clients are still connected here, and
//! hosts take a moment to follow the Service: meanwhile nobody has to be refused.
//!
//! Never decides who is primary and answers nothing itself: who is at the other end answers, as primary or
//! not at all (V1). Never sends a request twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;

use crate::limits::{
    H2_SHARED_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, REQUESTS_HELD_MAX, REQUESTS_HELD_MS,
};

/// Where requests are answered.
#[derive(Clone, Debug, Default)]
enum Place {
    /// Here, by whatever this node is.
    #[default]
    Here,
    /// Not known yet: this node has stepped down, and the next view is awaited.
    Awaited,
    /// At the other end.
    There(SendRequest<Incoming>),
}

/// The way to the next primary. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Onward {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What every request looks at.
    away: AtomicBool,
    place: watch::Sender<Place>,
    /// Bounds the requests that wait for it.
    held: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            away: AtomicBool::default(),
            place: watch::Sender::default(),
            held: Semaphore::new(REQUESTS_HELD_MAX),
        }
    }
}

impl Onward {
    /// Holds requests: who will answer them is known in a moment.
    pub fn hold(&self) {
        self.set(Place::Awaited, true);
    }

    /// Answers requests here again, those that were held too.
    pub fn end(&self) {
        self.set(Place::Here, false);
    }

    /// Passes requests on over `io`, a connection to the client port of the next primary. What is returned
    /// ends with that connection.
    ///
    /// # Errors
    /// When the other end does not speak HTTP/2. Nothing has changed then.
    pub async fn pass_on<IO>(&self, io: IO) -> hyper::Result<JoinHandle<()>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            // Clients share it: one that does not read must not hold up the others.
            .initial_connection_window_size(H2_SHARED_WINDOW_BYTES);
        let (requests, connection) = builder.handshake(TokioIo::new(io)).await?;
        // It ends with the last request once nothing more is passed on.
        let running = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the next primary ended");
            }
        });
        self.set(Place::There(requests), true);
        Ok(running)
    }

    fn set(&self, place: Place, away: bool) {
        self.shared.place.send_replace(place);
        self.shared.away.store(away, Ordering::Release);
    }

    /// Whether requests are for somebody else, or may be.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }

    /// Has the next primary answer, or gives the request back: it is to be answered here.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Request<Incoming>> {
        let Some(mut requests) = self.there().await else {
            return Err(request);
        };
        if requests.ready().await.is_err() {
            return Err(request);
        }
        Ok(match requests.send_request(request).await {
            Ok(response) => response.map(Body::new),
            // Whether it was done there is not known, as with any connection that breaks.
            Err(error) => {
                let text = format!("standby: the next primary's connection ended: {error}");
                Status::unavailable(text).into_http()
            }
        })
    }

    /// The way there, once it is known; none: this is the place, or nobody knows for too long.
    async fn there(&self) -> Option<SendRequest<Incoming>> {
        let mut place = self.shared.place.subscribe();
        let _held = self.shared.held.try_acquire().ok()?;
        let known = place.wait_for(|place| !matches!(place, Place::Awaited));
        let known = tokio::time::timeout(Duration::from_millis(REQUESTS_HELD_MS), known).await;
        match known {
            Ok(Ok(place)) => match &*place {
                Place::There(requests) => Some(requests.clone()),
                Place::Here | Place::Awaited => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a request that is waited for run until it waits.
    async fn waits<T>(request: &mut (impl Future<Output = T> + Unpin)) -> bool {
        futures::poll!(request).is_pending()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_requests_are_held_and_one_more_is_answered_here_at_once() {
        let onward = Onward::default();
        onward.hold();
        let mut held = Vec::new();
        for _ in 0..REQUESTS_HELD_MAX {
            let mut request = Box::pin(onward.there());
            assert!(waits(&mut request).await);
            held.push(request);
        }
        let mut more = Box::pin(onward.there());
        assert!(!waits(&mut more).await, "it is told to go at once");
        // A place that is given back is taken by the next.
        held.pop();
        let mut next = Box::pin(onward.there());
        assert!(waits(&mut next).await);
        onward.end();
        assert!(next.await.is_none());
        for request in held {
            assert!(request.await.is_none(), "this is the place again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_held_for_so_long_and_then_answered_here() {
        let onward = Onward::default();
        onward.hold();
        let begun = tokio::time::Instant::now();
        assert!(onward.there().await.is_none());
        let waited = begun.elapsed().as_millis();
        assert!((u128::from(REQUESTS_HELD_MS)..u128::from(2 * REQUESTS_HELD_MS)).contains(&waited));
    }
}
