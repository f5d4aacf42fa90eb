//! Torn tails and damage: what is cut, what is refused.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod support;

use standby_core::{Index, Position};
use standby_store::log::{FRAME_HEADER_BYTES, FRAMES_START, LogError, frame_bytes};
use support::{Dice, FaultyDisk, at, entries, entry, open, read_all};

#[test]
fn a_torn_tail_is_cut_wherever_it_was_torn() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=3, 100)).unwrap();
    writer.sync().unwrap();
    writer.append(&entries(1, 4..=4, 100)).unwrap();
    drop(writer);
    let name = disk.newest_segment();
    let frame = frame_bytes(100);
    let start = FRAMES_START as usize + 3 * frame;
    let meant = FRAME_HEADER_BYTES + 100;
    for kept in 0..meant {
        let torn = disk.copy();
        torn.edit(&name, |bytes| bytes[start + kept..start + frame].fill(0));
        // Before its segment number is there, a frame cannot be told from what was there before.
        let (mut writer, reader, recovered) = open(&torn);
        assert_eq!(
            (recovered.last, recovered.damaged),
            (at(1, 3), None),
            "{kept} bytes kept"
        );
        assert_eq!(
            recovered.torn.is_some(),
            kept >= 32 || kept > 24,
            "{kept} bytes kept"
        );
        writer.append(&entries(2, 4..=6, 50)).unwrap();
        writer.sync().unwrap();
        let mut expected = entries(1, 1..=3, 100);
        expected.extend(entries(2, 4..=6, 50));
        assert_eq!(read_all(&reader), expected);
        drop(writer);
        let (_, reader, recovered) = open(&torn);
        assert_eq!((recovered.last, recovered.torn), (at(2, 6), None));
        assert_eq!(read_all(&reader), expected);
    }
}

#[test]
fn a_flipped_bit_below_the_known_durable_offset_is_damage() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    for index in 1..=4 {
        writer.append(&entries(1, index..=index, 100)).unwrap();
        writer.sync().unwrap();
    }
    drop(writer);
    let name = disk.newest_segment();
    let frame = frame_bytes(100);
    let start = FRAMES_START as usize;
    let meant = FRAME_HEADER_BYTES + 100;
    for bit in 0..meant * 8 {
        for (broken, last) in [(0, Position::START), (2, at(1, 2))] {
            let flipped = disk.copy();
            flipped.edit(&name, |bytes| {
                bytes[start + broken * frame + bit / 8] ^= 1 << (bit % 8);
            });
            let (mut writer, reader, recovered) = open(&flipped);
            let damage = recovered.damaged.expect("damage is noticed");
            assert_eq!(damage.after, last);
            assert_eq!(damage.offset, (start + broken * frame) as u64);
            assert_eq!((recovered.last, reader.last()), (last, last));
            let next = last.index.0 + 1;
            let refused = writer.append(&entries(2, next..=next, 10));
            assert!(matches!(refused, Err(LogError::Damaged(_))));
        }
    }
}

#[test]
fn a_flipped_bit_above_the_known_durable_offset_is_a_torn_tail() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=2, 100)).unwrap();
    writer.sync().unwrap();
    writer.append(&entries(1, 3..=5, 100)).unwrap();
    drop(writer);
    let name = disk.newest_segment();
    let frame = frame_bytes(100);
    let start = FRAMES_START as usize + 2 * frame;
    for bit in 0..(FRAME_HEADER_BYTES + 100) * 8 {
        let flipped = disk.copy();
        flipped.edit(&name, |bytes| bytes[start + bit / 8] ^= 1 << (bit % 8));
        let (mut writer, _, recovered) = open(&flipped);
        assert_eq!(
            (recovered.last, recovered.damaged),
            (at(1, 2), None),
            "bit {bit}"
        );
        let torn = recovered.torn.expect("the entries after it are cut too");
        assert_eq!((torn.after, torn.bytes), (at(1, 2), 3 * frame as u64));
        writer.append(&entries(1, 3..=3, 100)).unwrap();
        drop(writer);
        let (_, _, recovered) = open(&flipped);
        assert_eq!(
            recovered.last,
            at(1, 3),
            "what was cut must not follow what is new"
        );
    }
}

#[test]
fn the_last_entries_are_protected_too_once_they_are_marked() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=2, 100)).unwrap();
    writer.mark().unwrap();
    let accesses = disk.accesses();
    writer.mark().unwrap();
    assert_eq!(disk.accesses(), accesses, "nothing new, nothing written");
    drop(writer);
    disk.edit(&disk.newest_segment(), |bytes| bytes[8192 + 50] ^= 1);
    let (.., recovered) = open(&disk);
    assert_eq!(
        recovered.damaged.map(|damage| damage.after),
        Some(Position::START)
    );
}

#[test]
fn one_bad_header_copy_does_no_harm_and_two_are_damage() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=40, 900)).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let segments: Vec<_> = disk
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".segment"))
        .collect();
    for (number, name) in segments.iter().enumerate() {
        for copies in [&[0][..], &[4096], &[0, 4096]] {
            let flipped = disk.copy();
            flipped.edit(name, |bytes| {
                for at in copies {
                    bytes[at + 33] ^= 4;
                }
            });
            let (mut writer, reader, recovered) = open(&flipped);
            assert_eq!(
                recovered.damaged.is_some(),
                copies.len() == 2,
                "{name} {copies:?}"
            );
            if copies.len() == 1 {
                assert_eq!(reader.last(), at(1, 40));
            } else {
                assert!(reader.last() < at(1, 40));
                assert_eq!(
                    read_all(&reader).len() as u64,
                    reader.last().index.0,
                    "{number}"
                );
                let next = recovered.last.index.0 + 1;
                writer.truncate_after(recovered.last.index).unwrap();
                writer.append(&entries(2, next..=next, 10)).unwrap();
                writer.sync().unwrap();
                drop(writer);
                let (.., recovered) = open(&flipped);
                assert_eq!((recovered.last, recovered.damaged), (at(2, next), None));
            }
        }
    }
}

#[test]
fn damage_stays_until_the_log_is_cut_or_reset() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=40, 900)).unwrap();
    writer.sync().unwrap();
    drop(writer);
    disk.edit(&disk.names()[0], |bytes| bytes[8192 + 2000] ^= 1);
    for _ in 0..3 {
        let (.., recovered) = open(&disk);
        assert_eq!(recovered.last, at(1, 2));
        assert!(recovered.damaged.is_some());
    }
    let reset = disk.copy();
    let (mut writer, ..) = open(&disk);
    writer.truncate_after(Index(2)).unwrap();
    writer.append(&entries(2, 3..=5, 10)).unwrap();
    writer.sync().unwrap();
    let (.., recovered) = open(&disk);
    assert_eq!((recovered.last, recovered.damaged), (at(2, 5), None));
    let (mut writer, ..) = open(&reset);
    writer.reset(at(2, 50)).unwrap();
    drop(writer);
    let (.., recovered) = open(&reset);
    assert_eq!((recovered.base, recovered.last), (at(2, 50), at(2, 50)));
    assert_eq!(recovered.damaged, None);
}

#[test]
fn a_file_that_became_shorter_is_damage() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=4, 900)).unwrap();
    writer.sync().unwrap();
    drop(writer);
    for kept in [64, 5000, 8192, 9200, 16 * 1024 - 1] {
        let cut = disk.copy();
        cut.edit(&cut.newest_segment(), |bytes| bytes.truncate(kept));
        let (mut writer, _, recovered) = open(&cut);
        assert!(recovered.damaged.is_some(), "{kept} bytes");
        writer.truncate_after(recovered.last.index).unwrap();
        drop(writer);
        assert_eq!(open(&cut).2.damaged, None);
    }
}

#[test]
fn whatever_byte_goes_bad_no_wrong_entry_is_read_and_no_durable_one_goes_unnoticed() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    for index in 1..=60 {
        writer.append(&entries(1, index..=index, 700)).unwrap();
        writer.sync().unwrap();
        writer
            .release_below(Index(index.saturating_sub(30)))
            .unwrap();
    }
    // The last entry is known to be durable only by the one after it.
    writer.append(&entries(1, 61..=61, 700)).unwrap();
    drop(writer);
    let mut dice = Dice::new(11);
    let whole = open(&disk.copy()).2;
    for name in disk.names() {
        let size = disk.content(&name).len();
        for at in (0..size).step_by(37) {
            let flipped = disk.copy();
            flipped.edit(&name, |bytes| bytes[at] ^= 1 << dice.roll(8));
            let (_, reader, recovered) = open(&flipped);
            let found = read_all(&reader);
            assert!(
                found
                    .iter()
                    .all(|it| *it == entry(1, it.position.index.0, 700))
            );
            let lost = recovered.last.index < Index(60) || recovered.base != whole.base;
            assert!(
                !lost || recovered.damaged.is_some(),
                "{name} byte {at}: {recovered:?}"
            );
        }
    }
}
