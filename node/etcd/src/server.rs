//! The client port: gRPC and HTTP on one listener, plain or over TLS.
//!
//! Accepts connections, says which service a request belongs to, and ends connections: at shutdown,
//! and when the node loses its role. Never looks into a request.

mod dispatch;
mod etcd;
mod first_bytes;
mod frame_cursor;
mod held_pongs;
mod lifetimes;
mod listen;
mod onward;

pub use dispatch::{Dispatch, GrpcServices};
pub use etcd::{EtcdServer, ServerOptions};
pub use lifetimes::Lifetimes;
pub use listen::{ALPN_PROTOCOLS, ClientServer, TlsSource};
pub use onward::Onward;
