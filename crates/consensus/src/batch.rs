//! One Raft entry's payload: a leader timestamp and the commands that share it.
//!
//! ```text
//! at: u64 | count: u32 | count × (length: u32 | bytes)        little-endian
//! ```
//! Flat, so that the leader copies each command once and followers, log and archive never encode
//! again.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use hansa_types::time::LogTime;

const HEAD_BYTES: usize = 12;
const LENGTH_BYTES: usize = 4;

/// The commands of one entry, checked once when they come from outside.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch(Bytes);

/// Bytes that are not a batch: they came from a broken peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a batch of commands")]
pub(crate) struct BadBatch;

impl Batch {
    /// A batch of `commands` at `at`.
    pub fn encode<'a>(at: LogTime, commands: impl Iterator<Item = &'a Bytes> + Clone) -> Self {
        let size: usize = commands.clone().map(|command| LENGTH_BYTES + command.len()).sum();
        let mut out = BytesMut::with_capacity(HEAD_BYTES + size);
        out.put_u64_le(at.ms());
        let count_at = out.len();
        out.put_u32_le(0);
        let mut count = 0u32;
        for command in commands {
            // Commands are bounded by `limits::COMMAND_BYTES_MAX`, checked at submit.
            out.put_u32_le(command.len() as u32);
            out.put_slice(command);
            count += 1;
        }
        out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        Self(out.freeze())
    }

    /// Takes bytes for a batch after checking their framing.
    pub fn decode(bytes: Bytes) -> Result<Self, BadBatch> {
        let batch = Self(bytes);
        if batch.0.len() < HEAD_BYTES {
            return Err(BadBatch);
        }
        let mut walk = batch.commands();
        let seen = walk.by_ref().count();
        let whole = walk.rest.is_empty() && seen == batch.len();
        whole.then_some(batch).ok_or(BadBatch)
    }

    pub fn at(&self) -> LogTime {
        LogTime(self.0.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.0.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize
    }

    pub fn commands(&self) -> Commands<'_> {
        Commands { rest: self.0.get(HEAD_BYTES..).unwrap_or_default(), left: self.len() }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Walks the commands of a batch.
pub(crate) struct Commands<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Commands<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let (length, rest) = self.rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (command, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        self.left -= 1;
        Some(command)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Names the batch without its content: commands may hold what a log must not show.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch({} commands, {} bytes)", self.len(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_as_they_went_in() {
        let commands = [Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"ccc")];
        let batch = Batch::encode(LogTime(7), commands.iter());
        let batch = Batch::decode(batch.bytes().clone()).unwrap();
        assert_eq!((batch.at(), batch.len()), (LogTime(7), 3));
        assert!(batch.commands().eq(commands.iter().map(|c| &c[..])));
    }

    #[test]
    fn a_cut_or_padded_batch_is_refused() {
        let good = Batch::encode(LogTime(7), [Bytes::from_static(b"abc")].iter());
        for cut in 0..good.bytes().len() {
            assert_eq!(Batch::decode(good.bytes().slice(..cut)), Err(BadBatch), "{cut}");
        }
        let padded = [&good.bytes()[..], b"x"].concat();
        assert_eq!(Batch::decode(padded.into()), Err(BadBatch));
    }
}
