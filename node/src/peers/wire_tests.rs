//! Messages survive the wire; what is no message is refused.

use super::*;
use std::collections::BTreeSet;

fn at(epoch: u64, index: u64) -> Position {
    Position::new(Epoch(epoch), Index(index))
}

fn round_trip(message: &Message) {
    match decode(encode(message)) {
        Ok(Packet::Core(back)) => assert_eq!(back, *message),
        other => panic!("{message:?} came back as {other:?}"),
    }
}

#[test]
fn every_message_survives_the_wire() {
    let view = View::first(ClusterId("c".into()), NodeId::new("a", "1"))
        .with_synchronous(BTreeSet::from([NodeId::new("b", "2")]));
    let log = LogOutline {
        base: at(1, 4),
        epochs: vec![(Epoch(2), Index(5))],
        last: at(2, 9),
    };
    round_trip(&Message::Hello(Hello {
        cluster_id: ClusterId("c".into()),
        node: NodeId::new("b", "2"),
        view: Some(view.clone()),
        log,
        commit: Index(7),
        damaged: true,
        attempt: 3,
    }));
    round_trip(&Message::Welcome {
        epoch: Epoch(3),
        start: at(2, 8),
        attempt: 3,
    });
    round_trip(&Message::SnapshotFollows {
        epoch: Epoch(3),
        attempt: 1,
    });
    round_trip(&Message::ViewIs(view));
    round_trip(&Message::Reject(RejectReason::ForeignCluster));
    round_trip(&Message::Reject(RejectReason::RolledBack));
    let entries = vec![
        Entry::open(at(3, 9)),
        Entry::data(at(3, 10), Bytes::from("value")),
    ];
    let (epoch, commit) = (Epoch(3), Index(8));
    round_trip(&Message::Append {
        epoch,
        previous: at(2, 8),
        entries,
        commit,
    });
    round_trip(&Message::Append {
        epoch,
        previous: at(2, 8),
        entries: vec![],
        commit,
    });
    round_trip(&Message::Ack {
        epoch,
        durable: Index(9),
    });
    round_trip(&Message::Heartbeat {
        epoch,
        sequence: 4,
        commit,
        stuck: Micros(17),
    });
    round_trip(&Message::HeartbeatReply {
        epoch,
        sequence: 4,
        durable: Index(9),
    });
}

#[test]
fn a_damaged_frame_is_refused() {
    let entries = vec![Entry::data(
        at(3, 10),
        Bytes::from("a value of some length"),
    )];
    let append = Message::Append {
        epoch: Epoch(3),
        previous: at(3, 9),
        entries,
        commit: Index(0),
    };
    let mut bytes = encode(&append).to_vec();
    let place = bytes
        .windows(5)
        .position(|w| w == b"value")
        .expect("the payload is in it");
    bytes[place] ^= 1;
    assert!(decode(bytes.into()).is_err());
}

#[test]
fn entries_with_a_hole_are_refused() {
    let entries = vec![Entry::open(at(3, 11))];
    let append = Message::Append {
        epoch: Epoch(3),
        previous: at(3, 9),
        entries,
        commit: Index(0),
    };
    assert!(decode(encode(&append)).is_err());
}

#[test]
fn nothing_is_no_message() {
    assert!(decode(Bytes::new()).is_err());
}
