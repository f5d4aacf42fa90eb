use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn pong(with: u8) -> Vec<u8> {
    let mut frame = PONG_HEAD.to_vec();
    frame.extend([with; 8]);
    frame
}

fn pair(room: usize) -> (HeldPongs<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(room);
    (HeldPongs::new(near), far)
}

/// What has come so far.
async fn came(far: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 1_024];
    let read = tokio::time::timeout(Duration::ZERO, far.read(&mut bytes)).await;
    bytes.truncate(read.map_or(0, |read| read.expect("it is open")));
    bytes
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_a_response_and_goes_in_front_of_it() {
    let (mut near, mut far) = pair(1_024);
    near.write_all(&pong(1)).await.expect("it is taken");
    near.flush().await.expect("it is taken");
    assert_eq!(came(&mut far).await, b"");
    near.write_all(b"response").await.expect("it is sent");
    assert_eq!(came(&mut far).await, [&pong(1)[..], b"response"].concat());
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_company_goes_when_its_time_has_come() {
    let (mut near, mut far) = pair(1_024);
    for with in 1..=3 {
        near.write_all(&pong(with)).await.expect("it is taken");
        // As a connection does: flushes whenever it is woken.
        let woken = async {
            let mut flushes = 0;
            poll_fn(|context| {
                flushes += 1;
                let done = Pin::new(&mut near).poll_flush(context);
                assert!(matches!(done, Poll::Ready(Ok(()))));
                if flushes > 1 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        };
        let begun = Instant::now();
        woken.await;
        assert_eq!(begun.elapsed().as_millis(), u128::from(PONG_HELD_MS));
        assert_eq!(came(&mut far).await, pong(with));
    }
}

#[tokio::test(start_paused = true)]
async fn anything_else_goes_at_once() {
    let (mut near, mut far) = pair(1_024);
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let two = [pong(1), pong(2)].concat();
    for frame in [&ping[..], &two[..], &b"response"[..]] {
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
        let expected = [
            &pong(1)[..],
            b"a response that is longer than the way is wide",
        ]
        .concat();
        let sent = async {
            near.write_all(&pong(1)).await.expect("it is taken");
            let response = &expected[PONG_BYTES..];
            near.write_all(response).await.expect("it is sent");
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
