//! The log, one behaviour at a time.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod support;

use bytes::Bytes;
use standby_core::{Entry, Epoch, Index, Position};
use standby_store::log::{LogError, Seal, decode_frame};
use support::{Dice, FaultyDisk, SEGMENT, at, entries, entry, open, options, read_all, try_open};

#[test]
fn a_new_log_is_empty() {
    let disk = FaultyDisk::default();
    let (mut writer, reader, recovered) = open(&disk);
    assert_eq!(
        (recovered.base, recovered.last),
        (Position::START, Position::START)
    );
    assert_eq!((recovered.torn, recovered.damaged), (None, None));
    assert_eq!(reader.read(Index(1), 100).unwrap(), []);
    assert!(matches!(
        reader.read(Index(0), 100),
        Err(LogError::Released { .. })
    ));
    writer.sync().unwrap();
}

#[test]
fn what_was_appended_is_read_at_once_and_after_reopening() {
    let disk = FaultyDisk::default();
    let (mut writer, reader, _) = open(&disk);
    let all = entries(1, 1..=40, 900);
    writer.append(&all).unwrap();
    assert_eq!(read_all(&reader), all);
    writer.sync().unwrap();
    assert_eq!(writer.synced(), at(1, 40));
    drop(writer);
    disk.crash(&mut Dice::new(7));
    let (writer, reader, recovered) = open(&disk);
    assert_eq!(recovered.last, at(1, 40));
    assert_eq!(recovered.torn, None);
    assert_eq!(read_all(&reader), all);
    assert!(writer.disk_bytes() > SEGMENT);
}

#[test]
fn a_read_from_the_cache_equals_one_from_the_disk() {
    let disk = FaultyDisk::default();
    let cached = standby_store::log::LogOptions {
        cache_bytes: 5000,
        ..options()
    };
    let (mut writer, reader, _) =
        standby_store::log::Log::open_on(std::sync::Arc::new(disk.clone()), cached).unwrap();
    let all = entries(1, 1..=40, 900);
    writer.append(&all).unwrap();
    for from in 1..=40_u64 {
        let read = reader.read(Index(from), 1500).unwrap();
        assert_eq!(
            read[0],
            all[usize::try_from(from - 1).unwrap()],
            "from {from}"
        );
        assert!(read.len() <= 2);
    }
}

#[test]
fn an_entry_larger_than_the_limit_of_a_read_is_read_alone() {
    let (mut writer, reader, _) = open(&FaultyDisk::default());
    writer.append(&entries(1, 1..=3, 2000)).unwrap();
    assert_eq!(reader.read(Index(2), 10).unwrap(), [entry(1, 2, 2000)]);
}

#[test]
fn frames_for_the_wire_hold_the_same_entries() {
    let (mut writer, reader, _) = open(&FaultyDisk::default());
    let all = entries(1, 1..=5, 100);
    writer.append(&all).unwrap();
    let frames = reader.frames(Index(2), 250).unwrap().unwrap();
    assert_eq!((frames.count, frames.last), (2, at(1, 3)));
    let first = decode_frame(Seal::WIRE, &frames.bytes).unwrap();
    let second = decode_frame(Seal::WIRE, &frames.bytes.slice(first.bytes..)).unwrap();
    assert_eq!([first.entry, second.entry], all[1..3]);
    assert_eq!(first.bytes + second.bytes, frames.bytes.len());
    assert_eq!(reader.frames(Index(6), 100).unwrap(), None);
}

#[test]
fn epochs_and_positions_are_known() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    writer.append(&entries(1, 1..=3, 10)).unwrap();
    writer.append(&[Entry::open(at(4, 4))]).unwrap();
    writer.append(&entries(4, 5..=6, 10)).unwrap();
    writer.sync().unwrap();
    let (_, reader, recovered) = open(&disk);
    assert_eq!(
        recovered.epochs,
        [(Epoch(1), Index(1)), (Epoch(4), Index(4))]
    );
    assert_eq!(reader.position_of(Index(3)), Some(at(1, 3)));
    assert_eq!(reader.position_of(Index(5)), Some(at(4, 5)));
    assert_eq!(reader.position_of(Index(0)), Some(Position::START));
    assert_eq!(reader.position_of(Index(7)), None);
}

#[test]
#[should_panic(expected = "dense")]
fn a_gap_is_a_bug() {
    let (mut writer, ..) = open(&FaultyDisk::default());
    drop(writer.append(&entries(1, 2..=2, 10)));
}

#[test]
#[should_panic(expected = "epochs never go back")]
fn an_epoch_that_goes_back_is_a_bug() {
    let (mut writer, ..) = open(&FaultyDisk::default());
    writer.append(&entries(2, 1..=1, 10)).unwrap();
    drop(writer.append(&entries(1, 2..=2, 10)));
}

#[test]
fn a_payload_that_fits_no_segment_is_refused_and_the_log_goes_on() {
    let (mut writer, reader, _) = open(&FaultyDisk::default());
    let most = writer.payload_max_bytes();
    let too_large = Entry::data(at(1, 1), Bytes::from(vec![0; most + 1]));
    assert!(matches!(
        writer.append(&[too_large]),
        Err(LogError::TooLarge { .. })
    ));
    let largest = Entry::data(at(1, 1), Bytes::from(vec![0; most]));
    writer.append(std::slice::from_ref(&largest)).unwrap();
    assert_eq!(reader.read(Index(1), 1).unwrap(), [largest]);
}

#[test]
fn a_cut_tail_stays_cut_after_any_crash_also_under_entries_of_the_same_size() {
    for seed in 0..50 {
        let disk = FaultyDisk::default();
        let (mut writer, reader, _) = open(&disk);
        writer.append(&entries(1, 1..=30, 500)).unwrap();
        writer.sync().unwrap();
        writer.truncate_after(Index(10)).unwrap();
        assert_eq!(reader.last(), at(1, 10));
        assert_eq!(reader.read(Index(11), 100).unwrap(), []);
        writer.append(&entries(1, 11..=12, 500)).unwrap();
        disk.crash(&mut Dice::new(seed));
        let (_, reader, recovered) = open(&disk);
        assert_eq!(recovered.damaged, None);
        assert!(recovered.last <= at(1, 12), "{}", recovered.last);
        assert!(recovered.last >= at(1, 10));
        assert_eq!(read_all(&reader)[..10], entries(1, 1..=10, 500));
    }
}

#[test]
fn a_reset_log_begins_after_its_base() {
    let disk = FaultyDisk::default();
    let (mut writer, reader, _) = open(&disk);
    writer.append(&entries(1, 1..=30, 500)).unwrap();
    writer.reset(at(3, 100)).unwrap();
    assert_eq!((writer.base(), writer.last()), (at(3, 100), at(3, 100)));
    assert_eq!(writer.first(), Index(101));
    assert!(matches!(
        reader.read(Index(100), 10),
        Err(LogError::Released { .. })
    ));
    writer.append(&entries(3, 101..=102, 10)).unwrap();
    writer.sync().unwrap();
    disk.crash(&mut Dice::new(3));
    let (_, reader, recovered) = open(&disk);
    assert_eq!((recovered.base, recovered.last), (at(3, 100), at(3, 102)));
    assert_eq!(recovered.epochs, [(Epoch(3), Index(101))]);
    assert_eq!(read_all(&reader), entries(3, 101..=102, 10));
}

#[test]
fn whole_segments_below_are_released_and_their_files_reused() {
    let disk = FaultyDisk::default();
    let (mut writer, reader, _) = open(&disk);
    let mut most = 0;
    for round in 0..40_u64 {
        writer
            .append(&entries(1 + round / 20, round * 8 + 1..=round * 8 + 8, 900))
            .unwrap();
        writer.sync().unwrap();
        writer.release_below(Index(round * 8 + 1)).unwrap();
        most = most.max(disk.names().len());
    }
    assert!(most <= 5, "{most} files");
    assert!(writer.base().index > Index(300));
    assert!(writer.base().index < Index(313));
    let (base, epochs) = (writer.base(), writer.epochs());
    assert_eq!(epochs, [(Epoch(2), base.index.next())]);
    drop(writer);
    let (_, reopened, recovered) = open(&disk);
    assert_eq!((recovered.base, recovered.last), (base, at(2, 320)));
    assert_eq!(recovered.epochs, epochs);
    assert_eq!(read_all(&reopened), read_all(&reader));
}

#[test]
fn stale_frames_of_a_recycled_file_never_come_back() {
    let disk = FaultyDisk::default();
    let (mut writer, ..) = open(&disk);
    // Frames of equal size fill segment after segment, so that old ones stand exactly where new
    // ones would.
    for index in 1..=200 {
        writer.append(&entries(1, index..=index, 900)).unwrap();
        writer.sync().unwrap();
        writer.release_below(Index(index)).unwrap();
        let (_, reader, recovered) = open(&disk.copy());
        assert_eq!((recovered.last, recovered.torn), (at(1, index), None));
        assert_eq!(recovered.damaged, None);
        assert!(
            read_all(&reader)
                .iter()
                .all(|it| *it == entry(1, it.position.index.0, 900))
        );
    }
}

#[test]
fn a_reader_goes_on_reading_a_segment_that_is_released_meanwhile() {
    let disk = FaultyDisk::default();
    let (mut writer, reader, _) = open(&disk);
    writer.append(&entries(1, 1..=40, 900)).unwrap();
    writer.sync().unwrap();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let mut seen = 0;
            for from in 1..=40 {
                match reader.read(Index(from), 2000) {
                    Ok(read) => assert!(
                        read.iter()
                            .all(|it| *it == entry(1, it.position.index.0, 900))
                    ),
                    Err(LogError::Released { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                seen += 1;
            }
            seen
        });
        for round in 0..30_u64 {
            writer.release_below(Index(round * 2)).unwrap();
            writer
                .append(&entries(1, 41 + round * 2..=42 + round * 2, 900))
                .unwrap();
        }
        assert_eq!(slow.join().unwrap(), 40);
    });
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_room() {
    let disk = FaultyDisk::default();
    let (mut writer, reader, _) = open(&disk);
    disk.set_space(Some(SEGMENT + 100));
    writer.append(&entries(1, 1..=5, 900)).unwrap();
    let refused = writer.append(&entries(1, 6..=30, 900)).unwrap_err();
    assert!(
        matches!(
            refused,
            LogError::NoSpace {
                needed_bytes: SEGMENT
            }
        ) && !refused.is_fatal()
    );
    assert_eq!(read_all(&reader), entries(1, 1..=5, 900));
    disk.set_space(None);
    writer.append(&entries(1, 6..=30, 900)).unwrap();
    writer.sync().unwrap();
    assert_eq!(read_all(&reader), entries(1, 1..=30, 900));
}

#[test]
fn a_log_of_a_newer_format_is_refused() {
    let disk = FaultyDisk::default();
    drop(open(&disk));
    disk.edit(&disk.newest_segment(), |bytes| {
        for at in [0, 4096] {
            bytes[at + 8] = 9;
            bytes[at + 12..at + 16].fill(0);
            let crc = crc32c::crc32c(&bytes[at..at + 64]);
            bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        }
    });
    let error = try_open(&disk).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Version {
                found: 9,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn senseless_options_are_refused() {
    for segment_bytes in [0, 8192, 16 * 1024 + 1, u64::MAX] {
        let options = standby_store::log::LogOptions {
            segment_bytes,
            ..options()
        };
        let disk = std::sync::Arc::new(FaultyDisk::default());
        let error = standby_store::log::Log::open_on(disk, options).unwrap_err();
        assert!(matches!(
            error,
            LogError::Option {
                field: "segment_bytes",
                ..
            }
        ));
    }
}
