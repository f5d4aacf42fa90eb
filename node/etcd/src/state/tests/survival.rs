use super::*;
use standby_interface::MachineError;

/// Twenty revisions, a lease, a compaction whose deletions are not done yet.
fn filled() -> Machine {
    let mut m = Machine::new();
    m.grant(7).unwrap();
    for n in 0..20 {
        let key = format!("k{}", n % 5);
        m.put(PutRequest {
            lease: 7 * (n % 2),
            ..put(&key, &n.to_string())
        })
        .unwrap();
    }
    m.delete(delete("k0", ""));
    m.compact(15).unwrap();
    m
}

fn image(
    m: &Machine,
) -> (
    RangeResponse,
    Vec<RangeResponse>,
    i64,
    Option<super::super::LeaseInfo>,
) {
    let view = m.state.view();
    let all = range("\0", "\0");
    let past = (15..=view.current_revision())
        .map(|revision| {
            m.range(&RangeRequest {
                revision,
                ..all.clone()
            })
            .unwrap()
        })
        .collect();
    (
        m.range(&all).unwrap(),
        past,
        view.compacted_revision(),
        view.lease(7),
    )
}

#[test]
fn a_reopened_state_is_the_same() {
    let mut m = filled();
    let (before, applied) = (image(&m), m.state.applied());
    m.reopen();
    assert_eq!(m.state.applied(), applied);
    assert_eq!(image(&m), before);
    assert!(
        m.state.view().is_sweeping(),
        "the deletions are still to be done"
    );
    m.run(command::sweep());
    assert_eq!(image(&m), before);
    m.reopen();
    assert!(!m.state.view().is_sweeping());
    assert_eq!(image(&m), before);
}

#[test]
fn compaction_frees_space() {
    let mut m = filled();
    let before = m.engine.disk_bytes();
    m.run(command::sweep());
    assert!(m.engine.disk_bytes() < before);
}

fn pieces(m: &Machine) -> (Position, Vec<Bytes>) {
    let mut source = m.state.snapshot().unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = source.next_chunk().unwrap() {
        pieces.push(piece);
    }
    (source.position(), pieces)
}

#[test]
fn a_snapshot_makes_the_same_state_elsewhere() {
    let mut from = filled();
    from.put(put("big", &"x".repeat(600 * 1024))).unwrap();
    let (position, pieces) = pieces(&from);
    assert!(pieces.len() > 1, "it comes in pieces");
    let mut to = Machine::new();
    to.put(put("old", "content")).unwrap();
    to.state.begin_restore().unwrap();
    for piece in pieces {
        to.state.restore_chunk(piece).unwrap();
    }
    to.state.finish_restore(position).unwrap();
    assert_eq!(to.state.applied(), from.state.applied());
    assert_eq!(image(&to), image(&from));
    to.reopen();
    assert_eq!(image(&to), image(&from));
    let answer = to.put(put("next", "1")).unwrap();
    assert_eq!(answer, from.put(put("next", "1")).unwrap());
}

#[test]
fn a_snapshot_does_not_change_while_writes_go_on() {
    let mut from = filled();
    let before = image(&from);
    let mut source = from.state.snapshot().unwrap();
    from.put(put("later", "1")).unwrap();
    let mut to = Machine::new();
    to.state.begin_restore().unwrap();
    while let Some(piece) = source.next_chunk().unwrap() {
        to.state.restore_chunk(piece).unwrap();
    }
    to.state.finish_restore(source.position()).unwrap();
    assert_eq!(image(&to), before);
}

#[test]
fn a_restart_in_the_middle_of_a_restore_finds_an_empty_state() {
    let (_, pieces) = pieces(&filled());
    let mut m = filled();
    m.state.begin_restore().unwrap();
    for piece in pieces {
        m.state.restore_chunk(piece).unwrap();
        assert_eq!(m.state.applied(), Position::START);
        assert_eq!(m.range(&range("k1", "")), Err(EtcdError::NotApplied));
    }
    m.reopen();
    assert_eq!((m.revision(), m.state.applied()), (1, Position::START));
    assert_eq!(m.range(&range("\0", "\0")).unwrap().count, 0);
    m.put(put("a", "1")).unwrap();
    assert_eq!(m.revision(), 2);
}

#[test]
fn a_newer_format_is_refused_in_words() {
    let m = Machine::new();
    let mut batch = standby_store::engine::Batch::default();
    batch.put(
        &b"mformat"[..],
        Bytes::copy_from_slice(&9_i64.to_be_bytes()),
    );
    m.engine.write(batch).unwrap();
    let Err(MachineError::Incomprehensible { what, .. }) = EtcdState::open(m.engine) else {
        panic!("it must not open");
    };
    assert!(what.contains("format is 9"), "{what}");
}
