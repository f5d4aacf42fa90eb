//! Orderly ends and full disks, with real processes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use etcd_client::Client;
use standby_node::disk_watch::reserve_bytes;
use standby_store::disk::disk_space;
use standby_testkit::LoopbackCluster;

/// Room for one node's log and state, and for the reserve.
const SMALL_DISK: &str = "size=640m";
/// How long a change of the disk may take to be noticed.
const NOTICED_MS: u64 = 20_000;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_asked_to_end_hands_over_and_loses_nothing() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut old = cluster.client(0).await;
    for n in 0..50 {
        let put = old.put(format!("key-{n}"), "value", None).await;
        put.expect("acknowledged");
    }
    let last = Instant::now();
    cluster.terminate(0).expect("it runs");
    cluster
        .wait(0, "a wish to be relieved", |report| report.wants_handover)
        .await
        .expect("it says so");
    cluster.step_down(0).await.expect("nothing is left");
    cluster
        .promote(1, true)
        .await
        .expect("the standby is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    cluster.wait_serving(1).await.expect("it serves");
    let mut new = cluster.client(1).await;
    new.put("after", "value", None).await.expect("acknowledged");
    eprintln!("gap for writers: {} ms", last.elapsed().as_millis());
    let status = cluster.wait_ended(0).expect("it ends by itself");
    assert!(status.success(), "{status}");
    for n in 0..50 {
        let answer = new.get(format!("key-{n}"), None).await.expect("readable");
        assert_eq!(answer.kvs().len(), 1, "key-{n} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_moves_the_leader_by_way_of_the_operator() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut old = cluster.client(0).await;
    let members = old.member_list().await.expect("it answers");
    let id_of = |name: &str| {
        let member = members.members().iter().find(|m| m.name() == name);
        member.expect("it is listed").id()
    };
    let refused = old.move_leader(id_of("node-2")).await;
    let refused = refused.expect_err("it is not synchronous").to_string();
    assert!(refused.contains("bad leader transferee"), "{refused}");

    let target = id_of("node-1");
    let asked = tokio::spawn(async move { old.move_leader(target).await });
    cluster
        .wait(0, "a wish", |report| report.wants_switchover_to == "node-1")
        .await
        .expect("it says so");
    cluster.step_down(0).await.expect("nothing is left");
    cluster.promote(1, true).await.expect("it is complete");
    cluster.pair_with(0).await.expect("the old one follows");
    cluster.wait_serving(1).await.expect("it serves");
    asked.await.expect("no panic").expect("it was moved");
    cluster
        .wait(0, "no wish", |report| report.wants_switchover_to.is_empty())
        .await
        .expect("it was granted");
    let mut new = cluster.client(1).await;
    assert_eq!(new.status().await.expect("it answers").leader(), target);
}

/// A file system of its own; unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "none"])
            .arg(dir.path())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self { dir })
    }

    /// Leaves only half of what must stay free.
    fn fill(&self) {
        let space = disk_space(self.dir.path()).expect("it is mounted");
        self.fill_but(reserve_bytes(space.total_bytes) / 2);
    }

    /// Leaves only so much.
    fn fill_but(&self, leave: u64) {
        let space = disk_space(self.dir.path()).expect("it is mounted");
        let mut ballast = File::create(self.dir.path().join("ballast")).expect("it has room");
        let piece = vec![0; 1 << 20];
        let mut left = space.free_bytes.saturating_sub(leave);
        while left > 0 {
            let part = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            ballast.write_all(&piece[..part]).expect("it has room");
            left -= part as u64;
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.dir.path().join("ballast")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "it was mounted"
        );
    }
}

/// Puts again and again until the outcome is as wanted.
async fn until(client: &mut Client, what: &str, wanted: impl Fn(Result<(), String>) -> bool) {
    let begun = Instant::now();
    loop {
        let put = client.put("probe", "value", None).await;
        if wanted(put.map(drop).map_err(|error| error.to_string())) {
            return;
        }
        assert!(
            begun.elapsed().as_millis() < u128::from(NOTICED_MS),
            "never: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_refuses_writes_and_heals_when_room_is_made() {
    let Some(disk) = SmallDisk::mount(SMALL_DISK) else {
        eprintln!("skipped: no file system can be mounted here (needs root)");
        return;
    };
    let cluster = LoopbackCluster::start(binary(), 1, Some(disk.dir.path()))
        .await
        .expect("it starts");
    let mut client = cluster.client(0).await;
    client
        .put("key", "value", None)
        .await
        .expect("acknowledged");
    disk.fill();
    until(&mut client, "NOSPACE", |put| {
        put.is_err_and(|error| error.contains("mvcc: database space exceeded"))
    })
    .await;
    let answer = client.get("key", None).await.expect("reads go on");
    assert_eq!(answer.kvs()[0].value(), b"value");
    client
        .delete("key", None)
        .await
        .expect("what frees space is taken");
    disk.free();
    until(&mut client, "room", |put| put.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_disk_takes_writes_and_a_smaller_one_is_refused() {
    let Some(disk) = SmallDisk::mount("size=448m") else {
        eprintln!("skipped: no file system can be mounted here (needs root)");
        return;
    };
    let cluster = LoopbackCluster::start(binary(), 1, Some(disk.dir.path()))
        .await
        .expect("it starts");
    let mut client = cluster.client(0).await;
    // More than a file of the log.
    for n in 0..80 {
        let put = client.put(format!("key-{}", n % 8), vec![1; 1 << 20], None);
        put.await.expect("acknowledged");
    }
    drop(cluster);

    let small = SmallDisk::mount("size=440m").expect("the first one was mounted");
    let node = Command::new(binary())
        .args(["--standalone", "--client-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(small.dir.path())
        .output()
        .expect("it starts");
    assert!(!node.status.success());
    let said = String::from_utf8_lossy(&node.stderr);
    assert!(said.contains("at least 469762048 are needed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_a_byte_left_ends_no_process_and_heals() {
    let Some(disk) = SmallDisk::mount(SMALL_DISK) else {
        eprintln!("skipped: no file system can be mounted here (needs root)");
        return;
    };
    let mut cluster = LoopbackCluster::start(binary(), 1, Some(disk.dir.path()))
        .await
        .expect("it starts");
    let mut first = cluster.client(0).await;
    let put = first.put("key", "value", None).await;
    put.expect("acknowledged");
    disk.fill_but(0);
    let told = cluster.wait(0, "a full disk", |report| report.disk_full);
    told.await.expect("it is reported");
    until(&mut first, "NOSPACE", |put| put.is_err()).await;
    let answer = first.get("key", None).await.expect("reads go on");
    assert_eq!(answer.kvs()[0].value(), b"value");
    assert!(cluster.runs(0).expect("it was started"));

    // A start on a full disk waits for room, if it needs any, and does not end either.
    cluster.kill(0).expect("it runs");
    cluster.launch(0).expect("it starts again");
    let waits = cluster.wait_said_or_open(0, "the start waits for room");
    waits.await.expect("it waits, or needs no room");
    assert!(cluster.runs(0).expect("it was started"));
    disk.free();
    cluster.meet(0).await.expect("it opens its ports");
    cluster.promote(0, true).await.expect("it is complete");
    cluster.go_alone(0).await.expect("it may follow");
    cluster.wait_serving(0).await.expect("it serves");
    let mut second = cluster.client(0).await;
    until(&mut second, "room", |put| put.is_ok()).await;
    let answer = second.get("key", None).await.expect("readable");
    assert_eq!(answer.kvs()[0].value(), b"value");
}
