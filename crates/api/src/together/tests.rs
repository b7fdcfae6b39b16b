use std::future::poll_fn;

use futures::FutureExt as _;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// Takes so much a time, and remembers each.
struct Socket {
    writes: Vec<Vec<u8>>,
    takes: usize,
    flushes: usize,
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let takes = self.takes.min(bytes.len());
        self.writes.push(bytes[..takes].to_vec());
        Poll::Ready(Ok(takes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn stream(takes: usize) -> Together<Socket> {
    Together::new(Socket { writes: Vec::new(), takes, flushes: 0 })
}

/// One look at a flush.
async fn looked(stream: &mut Together<Socket>) -> Poll<io::Result<()>> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_flush(cx))).await
}

#[tokio::test]
async fn what_is_written_before_the_next_turn_leaves_in_one() {
    let mut stream = stream(usize::MAX);
    stream.write_all(b"one ").await.unwrap();
    assert!(looked(&mut stream).await.is_pending());
    stream.write_all(b"two").await.unwrap();
    assert!(stream.stream.writes.is_empty());
    assert!(looked(&mut stream).await.is_ready());
    assert_eq!(stream.stream.writes, [b"one two"]);
    assert_eq!(stream.stream.flushes, 1);
}

#[tokio::test]
async fn a_flush_that_waits_comes_again_by_itself() {
    let mut stream = stream(3);
    for text in ["first", "second"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(stream.stream.writes.concat(), b"firstsecond");
}

#[tokio::test]
async fn nothing_to_say_and_much_to_say_wait_for_nobody() {
    let mut stream = stream(usize::MAX);
    stream.flush().now_or_never().unwrap().unwrap();
    stream.write_all(&[7; HELD_ENOUGH]).await.unwrap();
    stream.flush().now_or_never().unwrap().unwrap();
    assert_eq!(stream.stream.writes.concat().len(), HELD_ENOUGH);
}

#[tokio::test]
async fn bytes_keep_their_order_whatever_their_number() {
    let mut stream = stream(5_000);
    let lengths = [1, HELD_MAX - 1, 1, 3 * HELD_MAX, 10, HELD_MAX, 7];
    let mut sent = Vec::new();
    for (number, length) in lengths.into_iter().enumerate() {
        let bytes = vec![number as u8; length];
        stream.write_all(&bytes).await.unwrap();
        sent.extend(bytes);
        assert!(stream.held.len() <= HELD_MAX);
    }
    stream.shutdown().await.unwrap();
    assert!(stream.stream.writes.concat() == sent);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_an_error() {
    let mut stream = stream(0);
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.flush().await.unwrap_err().kind(), io::ErrorKind::WriteZero);
}
