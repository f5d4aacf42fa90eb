//! The small files of a data directory on a disk that fails at every access in turn, tears what it was
//! writing, and forgets on a crash what was not synced: a start always finds what was stored last, or
//! what was about to be, and never half of it or nothing.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;

use standby_core::{ClusterId, Epoch, NodeId, View};
use standby_store::volume::{Identity, PeerAddress, StoredView, Volume, VolumeError};
use support::{Dice, Fault, FaultyDisk};

/// Ways in which what was not synced may be lost.
const CRASHES: u64 = 12;

fn open(disk: &FaultyDisk, name: &str) -> Result<Volume, VolumeError> {
    Volume::open_on(Arc::new(disk.clone()), Path::new("/data"), name)
}

fn stored(epoch: u64, address: &str) -> StoredView {
    let primary = NodeId::new("db-1", "00000000000000aa");
    StoredView {
        view: View {
            epoch: Epoch(epoch),
            ..View::first(ClusterId("c1".into()), primary)
        },
        peers: vec![PeerAddress {
            name: "db-2".into(),
            peer: address.into(),
            client_url: String::new(),
        }],
        client_url: "https://db-rw:2379".into(),
    }
}

/// What a volume holds.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    identity: Identity,
    stored: Option<StoredView>,
}

fn held(volume: &Volume) -> Held {
    Held {
        identity: volume.identity().clone(),
        stored: volume.load_view().expect("never damaged or lost"),
    }
}

type Step = fn(&mut Volume) -> Result<(), VolumeError>;

/// What a node does with its small files, one after the other.
const STEPS: [Step; 9] = [
    |volume| volume.bind(&ClusterId("c1".into())),
    |volume| volume.store_view(&stored(1, "10.0.0.2:2380")),
    |volume| volume.store_view(&stored(2, "10.0.0.2:2380")),
    Volume::settle_view,
    // Only addresses change.
    |volume| volume.store_view(&stored(2, "10.0.0.7:2380")),
    |volume| volume.renew_identity().map(drop),
    |volume| volume.store_view(&stored(5, "10.0.0.7:2380")),
    Volume::settle_view,
    |volume| volume.bind(&ClusterId("c1".into())),
];

/// Does all steps until one fails: what was held after each that did not.
fn live(disk: &FaultyDisk) -> Vec<Held> {
    let Ok(mut volume) = open(disk, "db-1") else {
        return Vec::new();
    };
    let mut done = vec![held(&volume)];
    for step in STEPS {
        if step(&mut volume).is_err() {
            break;
        }
        done.push(held(&volume));
    }
    done
}

/// What is compared: identities are random, so only whether it is another one.
fn told(held: &Held, first: &Held) -> (bool, bool, bool, Option<StoredView>) {
    let Identity {
        volume,
        cluster_id,
        view_stored,
        ..
    } = &held.identity;
    let renewed = *volume != first.identity.volume;
    // That a view was stored is noted behind the view itself.
    let noted = *view_stored || held.stored.is_none();
    (renewed, cluster_id.is_some(), noted, held.stored.clone())
}

/// Starts again, and goes on with what is left to do.
fn start_again(disk: &FaultyDisk, done: &[Held], whole: &[Held], what: &str) {
    let volume = open(disk, "db-1").unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = held(&volume);
    if let Some(last) = done.last() {
        let first = &done[0];
        let next = whole.get(done.len()).map(|next| told(next, &whole[0]));
        let (mut is, was) = (told(&found, first), told(last, first));
        // Of the first view's two files the first may be there alone.
        is.2 = is.2 || was.3.is_none();
        assert!(
            is == was || Some(&is) == next.as_ref(),
            "{what}: {is:?} after {was:?}"
        );
        if is.0 == was.0 {
            assert_eq!(found.identity.volume, last.identity.volume, "{what}");
        }
    }
    drop(volume);
    let mut volume = open(disk, "db-1").unwrap();
    assert_eq!(held(&volume), found, "{what}: each start finds the same");
    for step in STEPS.iter().skip(done.len().saturating_sub(1)) {
        step(&mut volume).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    drop(volume);
    let last = held(&open(disk, "db-1").unwrap());
    assert_eq!(last.stored, Some(stored(5, "10.0.0.7:2380")), "{what}");
    assert!(last.identity.view_stored);
}

#[test]
fn a_start_finds_what_was_stored_last_or_next_wherever_the_one_before_ended() {
    let disk = FaultyDisk::default();
    let whole = live(&disk);
    assert_eq!(whole.len(), STEPS.len() + 1);
    let accesses = disk.accesses();
    assert!(accesses > 30, "{accesses}");
    for access in 0..accesses {
        let faults = [
            Fault::Fails(io::ErrorKind::Other),
            Fault::Torn(1),
            Fault::Torn(40),
            Fault::Torn(100),
            Fault::Torn(16_500),
            Fault::Torn(usize::MAX),
        ];
        for fault in faults {
            for crash in 0..=CRASHES {
                let what = format!("{fault:?} at access {access}, crash {crash}");
                let disk = FaultyDisk::default();
                disk.fail_at(access, fault);
                let done = live(&disk);
                assert!(done.len() < whole.len(), "{what}: it was noticed");
                if crash == 0 {
                    disk.kill();
                } else {
                    disk.crash(&mut Dice::new(access * 1_000 + crash));
                }
                start_again(&disk, &done, &whole, &what);
            }
        }
    }
}

#[test]
fn nothing_that_was_stored_is_forgotten_when_the_power_goes() {
    for crash in 0..CRASHES {
        let disk = FaultyDisk::default();
        let whole = live(&disk);
        disk.crash(&mut Dice::new(crash));
        assert_eq!(held(&open(&disk, "db-1").unwrap()), whole[STEPS.len()]);
    }
}

#[test]
fn a_node_by_another_name_keeps_its_volume_wherever_the_change_ends() {
    let before = FaultyDisk::default();
    let whole = live(&before);
    for access in 0..6 {
        for crash in 0..CRASHES {
            let disk = before.copy();
            disk.fail_at(disk.accesses() + access, Fault::Torn(7));
            // May fail; what matters is what is found afterwards.
            let _ = open(&disk, "db-9");
            disk.crash(&mut Dice::new(crash));
            let found = held(&open(&disk, "db-1").unwrap());
            assert_eq!(found, whole[STEPS.len()]);
        }
    }
}
