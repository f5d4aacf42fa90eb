use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn pong(with: u8) -> Vec<u8> {
    let mut frame = PONG_HEAD.to_vec();
    frame.extend([with; 8]);
    frame
}

/// A frame of data.
fn data(bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([0, 0, 0, 0, 0, 1]);
    frame.extend(std::iter::repeat_n(b'x', bytes));
    frame
}

async fn ripen() {
    tokio::time::advance(Duration::from_millis(PONG_RIPE_MS)).await;
}

fn pair(room: usize) -> (HeldPongs<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(room);
    (HeldPongs::new(near), far)
}

/// What has come so far.
async fn came(far: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    let read = tokio::time::timeout(Duration::ZERO, far.read(&mut bytes)).await;
    bytes.truncate(read.map_or(0, |read| read.expect("it is open")));
    bytes
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_until_it_is_ripe_and_goes_in_front_of_a_response() {
    let (mut near, mut far) = pair(1_024);
    near.write_all(&pong(1)).await.expect("it is taken");
    near.flush().await.expect("it is taken");
    assert_eq!(came(&mut far).await, b"");
    near.write_all(&data(8)).await.expect("it is sent");
    assert_eq!(came(&mut far).await, data(8));
    ripen().await;
    near.flush().await.expect("it is taken");
    assert_eq!(came(&mut far).await, b"");
    near.write_all(&data(9)).await.expect("it is sent");
    assert_eq!(came(&mut far).await, [pong(1), data(9)].concat());
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_at_once_beside_much() {
    let (mut near, mut far) = pair(64 << 10);
    near.write_all(&pong(1)).await.expect("it is taken");
    let much = data(PONG_BESIDE_BYTES);
    near.write_all(&much).await.expect("it is sent");
    assert_eq!(came(&mut far).await, much);
    near.write_all(&data(8)).await.expect("it is sent");
    assert_eq!(came(&mut far).await, [pong(1), data(8)].concat());
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_goes_into_a_frame() {
    let (mut near, mut far) = pair(1_024);
    near.write_all(&pong(1)).await.expect("it is taken");
    ripen().await;
    let frame = data(20);
    let (first, second) = frame.split_at(12);
    // The pong was held before the frame began, so it goes before.
    near.write_all(first).await.expect("it is sent");
    assert_eq!(came(&mut far).await, [&pong(1)[..], first].concat());
    near.write_all(second).await.expect("it is sent");
    near.write_all(&pong(2)).await.expect("it is taken");
    near.write_all(first).await.expect("it is sent");
    tokio::time::advance(Duration::from_millis(PONG_HELD_MS)).await;
    near.flush().await.expect("nothing to do");
    assert_eq!(came(&mut far).await, [second, first].concat());
    near.write_all(second).await.expect("it is sent");
    near.flush().await.expect("it is sent");
    assert_eq!(came(&mut far).await, [second, &pong(2)].concat());
}

/// Flushes as a connection does, whenever it is woken, until `wakes` times were enough.
async fn flush_when_woken(near: &mut HeldPongs<DuplexStream>, wakes: usize) {
    let mut flushes = 0;
    poll_fn(|context| {
        flushes += 1;
        let done = Pin::new(&mut *near).poll_flush(context);
        assert!(matches!(done, Poll::Ready(Ok(()))));
        if flushes > wakes {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_company_goes_when_its_time_has_come() {
    let (mut near, mut far) = pair(1_024);
    for with in 1..=3 {
        near.write_all(&pong(with)).await.expect("it is taken");
        let begun = Instant::now();
        flush_when_woken(&mut near, 1).await;
        assert_eq!(begun.elapsed().as_millis(), u128::from(PONG_HELD_MS));
        assert_eq!(came(&mut far).await, pong(with));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_hurried_by_the_time_of_the_one_before() {
    let (mut near, mut far) = pair(1_024);
    near.write_all(&pong(1)).await.expect("it is taken");
    flush_when_woken(&mut near, 0).await;
    ripen().await;
    near.write_all(&data(8)).await.expect("it is sent");
    assert_eq!(came(&mut far).await, [pong(1), data(8)].concat());
    near.write_all(&pong(2)).await.expect("it is taken");
    let begun = Instant::now();
    // Woken for the first, then for the second.
    flush_when_woken(&mut near, 2).await;
    assert_eq!(begun.elapsed().as_millis(), u128::from(PONG_HELD_MS));
    assert_eq!(came(&mut far).await, pong(2));
}

#[tokio::test(start_paused = true)]
async fn anything_else_goes_at_once() {
    let (mut near, mut far) = pair(1_024);
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let two = [pong(1), pong(2)].concat();
    for frame in [&ping[..], &two[..], &b"HTTP/1.1 200 OK"[..]] {
        near.write_all(frame).await.expect("it is sent");
        assert_eq!(came(&mut far).await, frame);
    }
}

#[tokio::test(start_paused = true)]
async fn two_answers_keep_their_order() {
    let (mut near, mut far) = pair(1_024);
    near.write_all(&pong(1)).await.expect("it is taken");
    near.write_all(&pong(2)).await.expect("it is sent");
    assert_eq!(came(&mut far).await, [pong(1), pong(2)].concat());
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_before_the_end() {
    let (mut near, mut far) = pair(1_024);
    near.write_all(&pong(1)).await.expect("it is taken");
    near.shutdown().await.expect("it ends");
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.expect("it ended");
    assert_eq!(all, pong(1));
}

#[tokio::test(start_paused = true)]
async fn a_narrow_way_changes_nothing() {
    for room in 1..40 {
        let (mut near, mut far) = pair(room);
        let expected = [pong(1), data(50), data(3)].concat();
        let sent = async {
            near.write_all(&pong(1)).await.expect("it is taken");
            ripen().await;
            let frames = &expected[PONG_BYTES..];
            near.write_all(frames).await.expect("it is sent");
            near.shutdown().await.expect("it ends");
        };
        let read = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("it ended");
            all
        };
        let ((), all) = tokio::join!(sent, read);
        assert_eq!(all, expected, "with room for {room} bytes");
    }
}
