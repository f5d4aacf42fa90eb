//! Packets that come later, each by a time of its own, in the order in which they came. The kernel of a
//! test machine often lacks netem; this does the same with a queue to a thread of the harness.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};
use rand::Rng;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Fault;
use crate::cluster::Cluster;
use crate::cluster::layout::HostName;
use crate::command::run;
use crate::error::{Error, Result};
use crate::limits::COMMAND_TIMEOUT;

/// The number of the queue, in the network namespace of the host.
const QUEUE: u16 = 7;
/// How many packets the kernel keeps at most before it drops some.
const QUEUE_PACKETS: u32 = 65_536;
/// How much of each packet is handed over: nothing of it is looked at.
const COPIED_BYTES: u16 = 64;
/// How often the thread looks for packets: the delay is longer by at most this. The queue's library
/// cannot wait for packets and for their time at once.
const LOOK: Duration = Duration::from_millis(1);

/// How late packets come: each by something between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At least.
    pub least: Duration,
    /// At most.
    pub most: Duration,
}

/// Delays every packet that comes in by a host's cable.
pub async fn delay_packets(cluster: &Cluster, name: HostName, delay: Delay) -> Result<Fault> {
    let namespace = cluster.layout.node_name(name);
    let (end, ended) = mpsc::channel();
    let thread = start(&namespace, delay, ended)?;
    let queue = QUEUE.to_string();
    let rule = |action: &str| -> Vec<String> {
        let words = [
            "ip",
            "netns",
            "exec",
            &namespace,
            "iptables",
            "-w",
            "-t",
            "raw",
            action,
            "PREROUTING",
            "-i",
            "eth0",
            "-j",
            "NFQUEUE",
            "--queue-num",
            &queue,
            "--queue-bypass",
        ];
        words.into_iter().map(String::from).collect()
    };
    let (add, remove) = (rule("-A"), rule("-D"));
    let mut fault = Fault::new(move || {
        // First no more packets, then those that wait.
        let _ = std::process::Command::new(&remove[0])
            .args(&remove[1..])
            .output();
        drop(end);
        let _ = thread.join();
    });
    if let Err(error) = run(&add[0], &add[1..]).await {
        if let Some(undo) = fault.undo.take() {
            undo();
        }
        return Err(error);
    }
    Ok(fault)
}

/// Starts the thread and waits until its queue is there.
fn start(namespace: &str, delay: Delay, ended: Receiver<()>) -> Result<JoinHandle<()>> {
    let path = format!("/run/netns/{namespace}");
    let place = File::open(&path).map_err(Error::file("open", &path))?;
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || match open(&place) {
        Ok(queue) => {
            let _ = tell.send(Ok(()));
            serve(queue, delay, &ended);
        }
        Err(error) => drop(tell.send(Err(error))),
    });
    told.recv_timeout(COMMAND_TIMEOUT)
        .map_err(|_| Error::Wrong("the thread that delays packets does not start".to_owned()))?
        .map_err(Error::file("queue the packets of", path))?;
    Ok(thread)
}

fn open(place: &File) -> std::io::Result<Queue> {
    // Of this thread only, which ends with the fault.
    move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut queue = Queue::open()?;
    queue.bind(QUEUE)?;
    queue.set_copy_range(QUEUE, COPIED_BYTES)?;
    queue.set_recv_gso(QUEUE, true)?;
    queue.set_queue_max_len(QUEUE, QUEUE_PACKETS)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

/// Serves until the other end of `ended` is dropped.
fn serve(mut queue: Queue, delay: Delay, ended: &Receiver<()>) {
    let mut waiting: VecDeque<(Instant, Message)> = VecDeque::new();
    let mut last = Instant::now();
    let mut ending = false;
    loop {
        while let Ok(message) = queue.recv() {
            let late = rand::rng().random_range(delay.least..=delay.most);
            last = last.max(Instant::now() + late);
            waiting.push_back((last, message));
        }
        let now = Instant::now();
        while let Some((_, mut message)) = waiting.pop_front_if(|(due, _)| ending || *due <= now) {
            message.set_verdict(Verdict::Accept);
            // Refused when the host is gone, and the packet with it.
            let _ = queue.verdict(message);
        }
        if ending {
            return;
        }
        ending = ended.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout);
    }
}
