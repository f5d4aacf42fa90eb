//! Connections by themselves, between ends that follow a script instead of a core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use standby_core::replica::{Input, SessionId};
use standby_core::{Entry, Epoch, Index, Message, NodeId, Position};
use standby_store::volume::PeerAddress;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turmoil::{Builder, Sim};

use super::cluster::Dice;
use super::network::{Links, Network, PEER_PORT};
use crate::limits::{PEER_CONNECT_MS, PEER_CONNECTIONS_MAX, PRIMARY_SILENT_MS, REDIAL_LONGEST_MS};
use crate::peers::network::Dial as _;
use crate::peers::testing::context;
use crate::peers::{dialer, listener};
use crate::replication::{Command, PeerLink};

/// What one end was told, by connection.
#[derive(Default)]
struct Heard {
    /// Numbers of messages, in the order in which they came.
    messages: BTreeMap<SessionId, Vec<u64>>,
    /// Connections that ended.
    closed: Vec<SessionId>,
}

type Log = Arc<Mutex<Heard>>;

/// Bytes of a large message: more than a connection takes in at once. One in so many is large.
const LARGE_BYTES: usize = 300_000;
const LARGE_ONE_IN: u64 = 40;
const PAUSE_MS: u64 = 15;

/// A message that its number determines.
fn message(number: u64) -> Message {
    let size = match number % LARGE_ONE_IN {
        0 => LARGE_BYTES,
        other => usize::try_from(other * other).expect("small"),
    };
    let position = Position::new(Epoch(1), Index(number + 1));
    let content = u8::try_from(number % 251).expect("small");
    Message::Append {
        epoch: Epoch(1),
        previous: Position::new(Epoch(1), Index(number)),
        entries: vec![Entry::data(position, Bytes::from(vec![content; size]))],
        commit: Index(number),
    }
}

/// Notes what comes on each connection, and what begins and ends; who `talks` sends numbered messages on
/// each, from 0 on.
async fn listen(mut told: UnboundedReceiver<Command>, log: Log, talks: bool) {
    // Links that are not talked on stay open.
    let mut silent = Vec::new();
    while let Some(command) = told.recv().await {
        match command {
            Command::Peer { session, link, .. } => {
                log.lock().messages.insert(session, Vec::new());
                if !talks {
                    silent.push(link);
                    continue;
                }
                tokio::spawn(async move {
                    let mut number = 0;
                    while link.send(PeerLink::Send(message(number))).is_ok() {
                        number += 1;
                        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                    }
                });
            }
            Command::Input(Input::Message(session, came)) => {
                let Message::Append { commit, .. } = &came else {
                    panic!("{came:?} was never sent");
                };
                assert_eq!(came, message(commit.0), "changed on its way");
                let mut log = log.lock();
                let messages = log.messages.get_mut(&session).expect("it was announced");
                messages.push(commit.0);
            }
            Command::Input(Input::Closed(session)) => log.lock().closed.push(session),
            _ => {}
        }
    }
}

fn sim(seed: u64, delay_ms: u64) -> Sim<'static> {
    eprintln!("seed {seed}");
    Builder::new()
        .rng_seed(seed)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(delay_ms))
        .enable_random_order()
        .build()
}

fn pass(sim: &mut Sim<'_>, millis: u64) {
    for _ in 0..millis {
        sim.step().unwrap_or_else(|error| panic!("{error}"));
    }
}

fn primary_at(host: &str) -> (Vec<PeerAddress>, String) {
    let peer = PeerAddress {
        name: host.into(),
        peer: format!("{host}:{PEER_PORT}"),
        client_url: String::new(),
    };
    (vec![peer], String::new())
}

/// The host `p`, which accepts connections.
fn accepting(sim: &mut Sim<'static>, links: &Links, talks: bool) -> Log {
    let log = Log::default();
    let (links, heard) = (links.clone(), Arc::clone(&log));
    sim.host("p", move || {
        let (links, heard) = (links.clone(), Arc::clone(&heard));
        async move {
            *heard.lock() = Heard::default();
            let (context, told) = context();
            tokio::spawn(listen(told, heard, talks));
            let network = Network::new("p", &links, &Arc::default());
            let port = network.listen().await?;
            listener::run(Arc::new(context), port, CancellationToken::new()).await;
            Ok(())
        }
    });
    log
}

/// The host `f`, which keeps a connection to `p`.
fn dialling(sim: &mut Sim<'static>, links: &Links) -> Log {
    let log = Log::default();
    let (links, heard) = (links.clone(), Arc::clone(&log));
    sim.host("f", move || {
        let (links, heard) = (links.clone(), Arc::clone(&heard));
        async move {
            *heard.lock() = Heard::default();
            let (context, told) = context();
            tokio::spawn(listen(told, heard, true));
            let network = Network::new("f", &links, &Arc::default());
            let (_follow, following) = watch::channel(Some(NodeId::new("p", "1")));
            let (_known, knowing) = watch::channel(primary_at("p"));
            dialer::run(Arc::new(context), network, following, knowing).await;
            Ok(())
        }
    });
    log
}

/// Says how many messages came whole, in order, from the first of each connection on.
fn whole_and_in_order(log: &Log) -> usize {
    let log = log.lock();
    for (session, messages) in &log.messages {
        let expected: Vec<_> = (0..messages.len() as u64).collect();
        assert_eq!(*messages, expected, "{session:?}");
    }
    log.messages.values().map(Vec::len).sum()
}

fn one_stands(log: &Log) {
    let log = log.lock();
    assert_eq!(log.messages.len() - log.closed.len(), 1, "left over");
}

#[test]
fn messages_arrive_whole_and_in_order_or_their_connection_ends() {
    for seed in 200..206 {
        let mut dice = Dice::new(seed);
        let (mut sim, links) = (sim(seed, 1 + dice.roll(60)), Links::default());
        let at_p = accepting(&mut sim, &links, true);
        let at_f = dialling(&mut sim, &links);
        for _ in 0..6 {
            pass(&mut sim, 500 + dice.roll(1_000));
            match dice.roll(5) {
                0 => {
                    sim.partition("p", "f");
                    pass(&mut sim, dice.roll(12_000));
                    sim.repair("p", "f");
                }
                1 | 2 => {
                    let (from, to) = dice.pick(&[("p", "f"), ("f", "p")]);
                    sim.partition_oneway(from, to);
                    pass(&mut sim, dice.roll(12_000));
                    sim.repair_oneway(from, to);
                }
                3 => {
                    sim.hold("p", "f");
                    pass(&mut sim, dice.roll(12_000));
                    sim.release("p", "f");
                }
                _ => {
                    let host = dice.pick(&["p", "f"]);
                    sim.crash(host);
                    pass(&mut sim, dice.roll(2_000));
                    sim.bounce(host);
                }
            }
            whole_and_in_order(&at_p);
            whole_and_in_order(&at_f);
        }
        // Long enough for every end that is dead to be found out.
        pass(&mut sim, 60_000);
        assert!(whole_and_in_order(&at_p) > 1_000);
        assert!(whole_and_in_order(&at_f) > 1_000);
        one_stands(&at_p);
        one_stands(&at_f);
    }
}

#[test]
fn a_primary_that_accepts_and_says_nothing_is_dialled_anew_within_its_limit() {
    let (mut sim, links) = (sim(210, 5), Links::default());
    let dialled: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let times = Arc::clone(&dialled);
    sim.host("p", move || {
        let times = Arc::clone(&times);
        async move {
            let port = turmoil::net::TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
            let mut kept = Vec::new();
            loop {
                kept.push(port.accept().await?);
                times
                    .lock()
                    .push(turmoil::sim_elapsed().expect("a simulation"));
            }
        }
    });
    dialling(&mut sim, &links);
    pass(&mut sim, 6 * PRIMARY_SILENT_MS);
    let dialled = dialled.lock();
    assert!(dialled.len() >= 5, "{dialled:?}");
    let least = Duration::from_millis(PRIMARY_SILENT_MS);
    let most = least + Duration::from_millis(PEER_CONNECT_MS + REDIAL_LONGEST_MS);
    for pair in dialled.windows(2) {
        let gap = pair[1].saturating_sub(pair[0]);
        assert!((least..=most).contains(&gap), "{gap:?}");
    }
}

#[test]
fn no_more_connections_are_let_in_than_the_limit_and_ended_ones_make_room() {
    let (mut sim, links) = (sim(220, 5), Links::default());
    let log = accepting(&mut sim, &links, false);
    let open = Arc::new(AtomicUsize::new(0));
    let network = Network::new("f", &links, &open);
    sim.host("f", move || {
        let network = network.clone();
        async move {
            let mut kept = Vec::new();
            for _ in 0..PEER_CONNECTIONS_MAX + 20 {
                let mut line = network.dial(&format!("p:{PEER_PORT}")).await?;
                // Whoever is turned away may find that out here.
                let _ = line.write_all(b"").await;
                kept.push(line);
            }
            std::future::pending().await
        }
    });
    let standing = || {
        let log = log.lock();
        log.messages.len() - log.closed.len()
    };
    pass(&mut sim, 5_000);
    assert_eq!(standing(), PEER_CONNECTIONS_MAX);
    sim.crash("f");
    pass(&mut sim, 60_000);
    assert_eq!(standing(), 0, "their other end is gone");
    sim.bounce("f");
    pass(&mut sim, 5_000);
    assert_eq!(standing(), PEER_CONNECTIONS_MAX);
}
