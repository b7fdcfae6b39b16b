//! The one message of a unary request, gathered from the chunks of a body.
//!
//! Every public method takes one message, so a body is: one byte that says whether the message is
//! compressed, four bytes of its length, the message, the end. Anything else is refused as soon as
//! it shows; a length is never believed before the bytes are there.
//!
//! # Source
//! gRPC over HTTP/2, `Length-Prefixed-Message`.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// Bytes before the message.
pub const HEAD_BYTES: usize = 5;

/// Why a body is not one message. Checked in this order, with each chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Bad {
    #[error("compressed requests are not accepted")]
    Compressed,
    #[error("the compression flag is neither 0 nor 1")]
    Flag,
    #[error("the message is larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("more than one message was sent to a method that takes one")]
    Trailing,
    #[error("the body ends in the middle of the message")]
    Truncated,
}

/// A body that is being gathered.
#[derive(Debug)]
pub struct Gather {
    message_bytes_max: usize,
    /// The first chunk, kept as it is: most requests are one chunk, and none is then copied.
    first: Bytes,
    rest: BytesMut,
}

impl Gather {
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, first: Bytes::new(), rest: BytesMut::new() }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// Anything but a beginning of one message of allowed size.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Bad> {
        match (self.first.is_empty(), self.rest.is_empty()) {
            (true, _) => self.first = chunk,
            (false, true) => {
                self.rest.extend_from_slice(&self.first);
                self.rest.extend_from_slice(&chunk);
            }
            (false, false) => self.rest.extend_from_slice(&chunk),
        }
        match self.size()? {
            Some(size) if self.bytes().len() > size => Err(Bad::Trailing),
            _ => Ok(()),
        }
    }

    /// The whole frame, head included.
    ///
    /// # Errors
    /// A body that ended too early.
    pub fn finish(self) -> Result<Bytes, Bad> {
        if self.size()? != Some(self.bytes().len()) {
            return Err(Bad::Truncated);
        }
        Ok(if self.rest.is_empty() { self.first } else { self.rest.freeze() })
    }

    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    /// The size of the frame, once its head is there.
    fn size(&self) -> Result<Option<usize>, Bad> {
        match self.bytes() {
            [1, ..] => Err(Bad::Compressed),
            [2..=u8::MAX, ..] => Err(Bad::Flag),
            [0, a, b, c, d, ..] => {
                let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                let max = self.message_bytes_max;
                if len > max { Err(Bad::TooLarge { max }) } else { Ok(Some(HEAD_BYTES + len)) }
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gather(chunks: &[&[u8]]) -> Result<Bytes, Bad> {
        let mut gather = Gather::new(16);
        for chunk in chunks {
            gather.push(Bytes::copy_from_slice(chunk))?;
        }
        gather.finish()
    }

    #[test]
    fn one_message_is_a_frame() {
        assert_eq!(gather(&[b"\0\0\0\0\x02ab"]).unwrap(), b"\0\0\0\0\x02ab"[..]);
        assert_eq!(gather(&[b"\0\0\0\0\0"]).unwrap(), b"\0\0\0\0\0"[..], "an empty message");
        assert_eq!(
            gather(&[b"\0", b"", b"\0\0\0\x02", b"a", b"b"]).unwrap(),
            b"\0\0\0\0\x02ab"[..]
        );
    }

    #[test]
    fn anything_else_is_refused_by_its_name() {
        assert_eq!(gather(&[b"\x01\0\0\0\x02ab"]), Err(Bad::Compressed));
        assert_eq!(gather(&[b"\x02"]), Err(Bad::Flag));
        assert_eq!(gather(&[b"\0\0\0\0\x11"]), Err(Bad::TooLarge { max: 16 }));
        assert_eq!(
            gather(&[b"\0\xff\xff\xff\xff"]),
            Err(Bad::TooLarge { max: 16 }),
            "never allocated"
        );
        assert_eq!(gather(&[b"\0\0\0\0\x01ab"]), Err(Bad::Trailing));
        assert_eq!(gather(&[b"\0\0\0\0\0", b"\0\0\0\0\0"]), Err(Bad::Trailing), "two messages");
        for early in [&b""[..], b"\0", b"\0\0\0\0", b"\0\0\0\0\x02a"] {
            assert_eq!(gather(&[early]), Err(Bad::Truncated), "{early:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(chunks: Vec<Vec<u8>>) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = gather(&chunks);
        }

        #[test]
        fn how_a_frame_is_cut_does_not_matter(
            message in proptest::collection::vec(any::<u8>(), 0..16), cut in 0usize..21,
        ) {
            let mut frame = vec![0, 0, 0, 0, message.len() as u8];
            frame.extend(&message);
            let cut = cut.min(frame.len());
            let (a, b) = frame.split_at(cut);
            prop_assert_eq!(gather(&[a, b]).unwrap(), &frame[..]);
        }
    }
}
