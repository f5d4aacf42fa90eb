//! The small files of a data directory.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use standby_core::{ClusterId, Epoch, NodeId, View};
use standby_store::volume::{PeerAddress, StoredView, Volume, VolumeError};

fn stored(epoch: u64) -> StoredView {
    let primary = NodeId::new("db-1", "00000000000000aa");
    let second = NodeId::new("db-2", "00000000000000bb");
    let view = View {
        epoch: Epoch(epoch),
        synchronous: BTreeSet::from([second.clone()]),
        complete: BTreeSet::from([primary.clone(), second]),
        ..View::first(ClusterId("c1".into()), primary)
    };
    let peer = PeerAddress {
        name: "db-2".into(),
        peer: "10.0.0.2:2380".into(),
        client_url: "https://10.0.0.2:2379".into(),
    };
    StoredView {
        view,
        peers: vec![peer],
        client_url: "https://db-rw:2379".into(),
    }
}

fn open(dir: &Path) -> Volume {
    Volume::open(dir, "db-1").unwrap()
}

#[test]
fn a_volume_keeps_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).identity().clone();
    assert_eq!(first.volume.0.len(), 16);
    assert!(first.volume.0.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(first.cluster_id, None);
    assert_eq!(*open(dir.path()).identity(), first);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path()).identity().volume, first.volume);
    let renamed = Volume::open(dir.path(), "db-7").unwrap();
    assert_eq!(renamed.identity().node_name, "db-7");
    assert_eq!(renamed.identity().volume, first.volume);
}

#[test]
fn a_volume_in_use_is_refused_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path());
    let error = Volume::open(dir.path(), "db-1").unwrap_err();
    assert!(matches!(error, VolumeError::InUse { .. }));
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(held);
    open(dir.path());
}

#[test]
fn a_volume_belongs_to_one_cluster_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (ClusterId("one".into()), ClusterId("two".into()));
    let mut volume = open(dir.path());
    volume.bind(&one).unwrap();
    volume.bind(&one).unwrap();
    drop(volume);
    let mut volume = open(dir.path());
    assert!(matches!(
        volume.bind(&two),
        Err(VolumeError::OtherCluster { .. })
    ));
    assert_eq!(volume.identity().cluster_id, Some(one));
}

#[test]
fn a_renewed_volume_is_another_one_with_the_same_view() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = open(dir.path());
    volume.store_view(&stored(3)).unwrap();
    let before = volume.identity().volume.clone();
    let after = volume.renew_identity().unwrap();
    assert_ne!(before, after);
    drop(volume);
    let volume = open(dir.path());
    assert_eq!(volume.identity().volume, after);
    assert_eq!(volume.load_view().unwrap(), Some(stored(3)));
}

#[test]
fn a_view_is_none_until_one_is_stored_and_then_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = open(dir.path());
    assert_eq!(volume.load_view().unwrap(), None);
    volume.store_view(&stored(3)).unwrap();
    volume.store_view(&stored(4)).unwrap();
    drop(volume);
    assert_eq!(open(dir.path()).load_view().unwrap(), Some(stored(4)));
}

#[test]
fn a_lost_view_is_damage_and_not_none() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).store_view(&stored(3)).unwrap();
    fs::remove_file(dir.path().join("state")).unwrap();
    assert!(matches!(
        open(dir.path()).load_view(),
        Err(VolumeError::Damaged { .. })
    ));
}

/// Where the second slot begins, and how many bytes of a slot mean something.
const SLOT: usize = 16 * 1024;
const MEANT: usize = 600;

/// A volume with two views stored, and its file.
fn written_twice(dir: &Path) -> (Volume, std::path::PathBuf) {
    let mut volume = open(dir);
    volume.store_view(&stored(3)).unwrap();
    volume.store_view(&stored(4)).unwrap();
    (volume, dir.join("state"))
}

#[test]
fn any_bit_of_either_copy_may_flip_and_the_last_view_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut volume, path) = written_twice(dir.path());
    volume.settle_view().unwrap();
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), 2 * SLOT);
    assert!(good[MEANT..SLOT].iter().all(|byte| *byte == 0));
    for slot in [0, SLOT] {
        for bit in 0..MEANT * 8 {
            let mut bad = good.clone();
            bad[slot + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            match volume.load_view() {
                Ok(read) => assert_eq!(read, Some(stored(4)), "bit {bit}"),
                // What a newer program may have written is never passed over.
                Err(error) => assert!(matches!(error, VolumeError::Version { .. }), "bit {bit}"),
            }
        }
    }
    // One of the two is whole.
    for kept in (MEANT..good.len()).step_by(97) {
        fs::write(&path, &good[..kept]).unwrap();
        assert_eq!(volume.load_view().unwrap(), Some(stored(4)), "{kept} bytes");
    }
}

#[test]
fn what_is_damaged_in_both_copies_is_never_taken_for_a_view() {
    let dir = tempfile::tempdir().unwrap();
    let (mut volume, path) = written_twice(dir.path());
    volume.settle_view().unwrap();
    let good = fs::read(&path).unwrap();
    let damaged = |file: Vec<u8>, what: usize| {
        fs::write(&path, file).unwrap();
        let read = volume.load_view();
        assert!(matches!(read, Err(VolumeError::Damaged { .. })), "{what}");
    };
    for byte in 0..300 {
        let mut bad = good.clone();
        (bad[byte], bad[SLOT + byte]) = (b'~', b'~');
        damaged(bad, byte);
    }
    for kept in 0..300 {
        damaged(good[..kept].to_vec(), kept);
    }
    damaged(vec![0; 2 * SLOT], 0);
}

#[test]
fn a_write_that_was_cut_off_leaves_the_view_before() {
    let dir = tempfile::tempdir().unwrap();
    let (volume, path) = written_twice(dir.path());
    assert_eq!(volume.load_view().unwrap(), Some(stored(4)));
    let mut torn = fs::read(&path).unwrap();
    // The second view went into the second slot.
    torn[SLOT + 200..].fill(0);
    fs::write(&path, torn).unwrap();
    assert_eq!(volume.load_view().unwrap(), Some(stored(3)));
    drop(volume);
    let mut volume = open(dir.path());
    volume.store_view(&stored(5)).unwrap();
    assert_eq!(volume.load_view().unwrap(), Some(stored(5)));
}

#[test]
fn a_damaged_identity_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("identity");
    fs::write(&path, "").unwrap();
    assert!(matches!(
        Volume::open(dir.path(), "db-1"),
        Err(VolumeError::Damaged { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("identity");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen("standby-identity 1 ", "standby-identity 2 ", 1),
    )
    .unwrap();
    let error = Volume::open(dir.path(), "db-1").unwrap_err();
    assert!(
        matches!(
            error,
            VolumeError::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn data_without_an_identity_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    fs::write(dir.path().join("identity.new"), "half a").unwrap();
    drop(open(dir.path()));
    fs::remove_file(dir.path().join("identity")).unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    let error = Volume::open(dir.path(), "db-1").unwrap_err();
    assert!(matches!(&error, VolumeError::IdentityMissing { found, .. } if found == "log"));
}

#[test]
fn the_space_of_the_volume_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let space = open(dir.path()).space().unwrap();
    assert!(space.total_bytes >= space.free_bytes);
    assert!(space.free_bytes > 0);
}
