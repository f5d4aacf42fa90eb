//! Asking for a view, over loopback.

use super::*;
use crate::peers::network::Tcp;
use crate::peers::testing::context;
use standby_core::replica::{Replica, Start, Timing};
use standby_core::{Index, Micros};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;

fn peer(name: &str, address: &str) -> PeerAddress {
    PeerAddress {
        name: name.into(),
        peer: address.into(),
        client_url: String::new(),
    }
}

fn view(epoch: u64, primary: &str) -> View {
    View {
        epoch: Epoch(epoch),
        ..View::first(ClusterId("c".into()), NodeId::new(primary, "1"))
    }
}

/// Answers the question for the status as a follower of `view` would.
async fn answer_status(told: &mut UnboundedReceiver<Command>, view: View) {
    let replica = Replica::new(
        Start {
            cluster_id: ClusterId("c".into()),
            node: NodeId::new("me", "1"),
            view: Some(view),
            log: LogOutline::EMPTY,
            applied: Index(0),
            doubt: None,
            timing: Timing::default(),
        },
        Micros(0),
    );
    match told.recv().await.expect("it asks") {
        Command::Status(reply) => reply.send(replica.status(Micros(0))).expect("it waits"),
        _ => panic!("it tells something else"),
    }
}

#[test]
fn neither_this_node_nor_the_primary_is_asked() {
    let known = ["a", "b", "me", "p"].map(|name| peer(name, ""));
    let asked: Vec<_> = (0..3)
        .map(|turn| whom(&known, "me", Some("p"), turn).map(|peer| peer.name))
        .collect();
    assert_eq!(
        asked,
        [Some("a".into()), Some("b".into()), Some("a".into())]
    );
    assert_eq!(whom(&known[2..], "me", Some("p"), 0), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_view_that_another_node_knows_is_taken_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one").to_string();
    let other = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it is asked");
        let mut frames = Framed::new(stream, connection::codec());
        let asked = frames.next().await.expect("a question").expect("whole");
        let later = Message::ViewIs(view(7, "b"));
        frames.send(wire::encode(&later)).await.expect("it listens");
        wire::decode(asked.freeze()).expect("a message")
    });
    let (context, mut told) = context();
    let status = tokio::spawn(async move {
        answer_status(&mut told, view(4, "p")).await;
        told
    });
    let asker = Asker {
        cluster_id: ClusterId("c".into()),
        node: NodeId::new("me", "1"),
    };
    let known = [peer("p", "127.0.0.1:1"), peer("b", &address)];
    let answered = asker.ask_next(&context, &Tcp, &known, 0).await;
    answered.expect("it is answered");
    match other.await.expect("it answered") {
        Packet::Core(Message::Hello(hello)) => {
            assert_eq!(hello.view, Some(view(4, "p")), "the other may learn too");
        }
        other => panic!("{other:?} is no presentation"),
    }
    let mut told = status.await.expect("it was asked");
    match told.recv().await.expect("news") {
        Command::Input(Input::View { view: told, .. }) => assert_eq!(told, view(7, "b")),
        _ => panic!("it tells something else"),
    }
}
