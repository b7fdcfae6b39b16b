//! A stream whose small writes leave together: one TLS record and one call of the kernel for what a
//! connection has to say in one turn, however many calls it is about.

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that waits: what a TLS record holds.
const HELD_MAX: usize = 16 * 1024;
/// With so much a flush goes out at once: what more could come is no longer worth a turn.
const HELD_ENOUGH: usize = HELD_MAX / 2;
/// What one read of a socket may bring.
pub const READ_MAX: usize = 32 * 1024;

/// Holds what is written until it is flushed, and a flush for one turn of the scheduler: tasks that
/// are ready now, with an answer or a call for the same connection, add theirs first.
///
/// HTTP/2 flushes whenever it has nothing more to say, which is after each single answer when many
/// tasks end one after another.
#[derive(Debug)]
pub struct Together<S> {
    stream: S,
    held: Vec<u8>,
    /// How much of `held` the stream has taken.
    taken: usize,
    /// A flush has let the others go first.
    waited: bool,
}

impl<S> Together<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), taken: 0, waited: false }
    }
}

impl<S: AsyncWrite + Unpin> Together<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.held.len() {
            let stream = Pin::new(&mut self.stream);
            match ready!(stream.poll_write(cx, &self.held[self.taken..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.taken += taken,
            }
        }
        self.held.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() > HELD_MAX {
            ready!(self.poll_drain(cx))?;
        }
        if bytes.len() >= HELD_MAX {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let little = !self.held.is_empty() && self.held.len() < HELD_ENOUGH;
        if little && !self.waited {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_drain(cx))?;
        self.waited = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// HTTP/2 then copies small messages behind their heads instead of flushing before each.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Together<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}
