//! Everything that decodes bytes from the network or the disk: arbitrary bytes, and valid ones that were
//! changed here and there, are refused or read, but never end the process, and never become more than
//! what came in.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use standby_control::v1;
use standby_core::{
    ClusterId, Entry, Epoch, Hello, Index, LogOutline, Message, Micros, NodeId, Position, View,
};
use standby_node::peers::wire::{self, Packet};
use standby_store::log::{Seal, decode_frame, encode_frame};

fn at(epoch: u64, index: u64) -> Position {
    Position::new(Epoch(epoch), Index(index))
}

fn view() -> View {
    View::first(ClusterId("cluster".into()), NodeId::new("a", "00ff"))
        .with_synchronous(BTreeSet::from([NodeId::new("b", "11ff")]))
}

/// One of each kind of message, as bytes.
fn samples() -> Vec<Bytes> {
    let log = LogOutline {
        base: at(1, 4),
        epochs: vec![(Epoch(2), Index(5)), (Epoch(3), Index(8))],
        last: at(3, 9),
    };
    let hello = Message::Hello(Hello {
        cluster_id: ClusterId("cluster".into()),
        node: NodeId::new("b", "11ff"),
        view: Some(view()),
        log,
        commit: Index(7),
        damaged: true,
        attempt: 3,
    });
    let append = Message::Append {
        epoch: Epoch(3),
        previous: at(2, 8),
        entries: vec![
            Entry::open(at(3, 9)),
            Entry::data(at(3, 10), Bytes::from_static(b"a value of some length")),
        ],
        commit: Index(8),
    };
    let heartbeat = Message::Heartbeat {
        epoch: Epoch(3),
        sequence: 4,
        commit: Index(9),
        stuck: Micros(17),
    };
    vec![
        wire::encode(&hello),
        wire::encode(&append),
        wire::encode(&heartbeat),
        wire::encode(&Message::ViewIs(view())),
        wire::encode_chunk(true, Bytes::from_static(b"a piece")),
        wire::encode_snapshot_end(at(3, 9)),
    ]
}

/// Changes some bytes, cuts the end, or repeats a part.
fn mutated() -> impl Strategy<Value = Bytes> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let cut = any::<prop::sample::Index>();
    (0..samples().len(), changes, cut, 0..4_u8).prop_map(|(which, changes, cut, how)| {
        let mut bytes = samples()[which].to_vec();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let place = cut.index(bytes.len());
        match how {
            0 => bytes.truncate(place),
            1 => bytes.extend_from_within(place..),
            _ => {}
        }
        bytes.into()
    })
}

/// Decodes, and holds what came out against what went in.
fn decode(bytes: Bytes) {
    let given = bytes.len();
    match wire::decode(bytes) {
        Ok(Packet::Core(Message::Append { entries, .. })) => {
            let payloads: usize = entries.iter().map(|entry| entry.payload.len()).sum();
            assert!(payloads <= given && entries.len() <= given);
        }
        Ok(Packet::Core(Message::Hello(hello))) => assert!(hello.log.epochs.len() <= given),
        Ok(Packet::SnapshotChunk { chunk, .. }) => assert!(chunk.len() <= given),
        Ok(_) | Err(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_of_a_peer_never_end_the_process(bytes in vec(any::<u8>(), 0..512)) {
        decode(bytes.into());
    }

    #[test]
    fn changed_messages_of_a_peer_never_end_the_process(bytes in mutated()) {
        decode(bytes);
    }

    #[test]
    fn positions_at_the_end_of_numbers_never_end_the_process(
        previous in prop::sample::select(vec![0, 1, u64::MAX - 1, u64::MAX]),
        index in prop::sample::select(vec![0, 1, 2, u64::MAX]),
    ) {
        let mut frames = BytesMut::new();
        encode_frame(Seal::WIRE, 0, &Entry::open(at(1, index)), &mut frames);
        decode(wire::encode_append(Epoch(1), at(1, previous), Index(0), frames.freeze()));
    }

    #[test]
    fn arbitrary_bytes_are_a_frame_or_an_error(
        bytes in vec(any::<u8>(), 0..256),
        segment in 0..3_u64,
    ) {
        let given = bytes.len();
        let seal = Seal::of_segment(segment, 7);
        if let Ok(frame) = decode_frame(seal, &bytes.into()) {
            prop_assert!(frame.bytes <= given);
        }
    }

    #[test]
    fn a_changed_frame_is_refused_or_the_same(
        payload in vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let entry = Entry::data(at(3, 9), payload.into());
        let mut bytes = Vec::new();
        encode_frame(Seal::of_segment(1, 7), 0, &entry, &mut bytes);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(frame) = decode_frame(Seal::of_segment(1, 7), &bytes.into()) {
            prop_assert_eq!(frame.entry, entry, "only the padding is not checked");
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_view_or_an_error(bytes in vec(any::<u8>(), 0..256)) {
        if let Ok(wire) = v1::View::decode(bytes.as_slice())
            && let Ok(view) = View::try_from(wire)
        {
            // What is accepted is what would be sent.
            prop_assert_eq!(View::try_from(v1::View::from(&view)), Ok(view));
        }
    }

    #[test]
    fn a_view_of_arbitrary_parts_is_converted_or_refused(
        cluster_id in ".{0,8}",
        epoch in any::<u64>(),
        names in vec((".{0,3}", ".{0,3}"), 0..5),
        alone in any::<bool>(),
    ) {
        let nodes: Vec<_> = names
            .into_iter()
            .map(|(name, volume)| v1::NodeId { name, volume })
            .collect();
        let wire = v1::View {
            cluster_id,
            epoch,
            primary: nodes.first().cloned(),
            synchronous: nodes.clone(),
            alone,
            complete: nodes,
            loss: (epoch % 2 == 1).then_some(v1::Loss {
                epoch: epoch / 2,
                total: epoch,
            }),
        };
        if let Ok(view) = View::try_from(wire) {
            // The rules are asked separately; asking must not fail either.
            let _ = view.check();
        }
    }
}
