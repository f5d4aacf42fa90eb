//! The thread of the streams to the nodes. Ten thousand small messages a second cost least on one thread
//! that nobody has to wake, and there no other work can delay them. It never does anything else.

use std::future::pending;
use std::io;

use tokio::runtime::{Builder, Handle};

/// Starts the thread; it ends with the process.
pub fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("heartbeats".into())
        .spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
