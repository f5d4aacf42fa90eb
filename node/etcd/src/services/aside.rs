//! Work that may take long, or wait for the disk, on a thread that serves others too.
//!
//! Never used for a single key: handing the thread's other work over costs more than reading one.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does `act` while another thread takes over what this one would serve meanwhile.
pub(super) fn aside<T>(act: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(act),
        // One thread serves everything, or nobody is served from here.
        _ => act(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::aside;

    /// Far longer than it takes; a test that hangs says nothing.
    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_are_served_while_one_waits_for_the_disk() {
        let (disk, answers) = mpsc::channel();
        let slow = tokio::spawn(async move { aside(|| answers.recv_timeout(LIMIT)) });
        // On the same, only thread: it is what ends the wait.
        let other = tokio::spawn(async move { disk.send("read") });
        assert_eq!(slow.await.expect("it ends"), Ok("read"));
        other.await.expect("it ends").expect("somebody waits");
    }

    #[tokio::test]
    async fn with_a_single_thread_it_is_done_at_once() {
        assert_eq!(aside(|| 1), 1);
    }
}
