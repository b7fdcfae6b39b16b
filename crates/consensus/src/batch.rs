//! One Raft entry's payload: a leader timestamp and the commands that share it, or the version that
//! the group is to apply by from there on, or what it begins with. Which of them it is stands
//! beside it, as the entry's kind.
//!
//! ```text
//! at: u64 | count: u32 | count × (length: u32 | bytes)        little-endian
//! at: u64 | version: u32
//! at: u64 | 1: u32 | length: u32 | bytes
//! ```
//! Flat, so that the leader copies each command once and followers, log and archive never encode
//! again.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use hansa_types::time::LogTime;

const HEAD_BYTES: usize = 12;
const LENGTH_BYTES: usize = 4;

/// The payload of one entry, checked once when it comes from outside.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    bytes: Bytes,
    carries: Carries,
}

/// What a batch carries.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Carries {
    #[default]
    Commands,
    /// No commands: the group's version goes up.
    Version,
    /// No commands: what the group's machine begins with.
    Beginning,
}

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
        Self { bytes: out.freeze(), carries: Carries::Commands }
    }

    /// An entry that raises the group's version.
    pub fn raise(at: LogTime, to: u32) -> Self {
        let mut out = BytesMut::with_capacity(HEAD_BYTES);
        out.put_u64_le(at.ms());
        out.put_u32_le(to);
        Self { bytes: out.freeze(), carries: Carries::Version }
    }

    /// Takes bytes for an entry that raises the version.
    pub fn decode_raise(bytes: Bytes) -> Result<Self, BadBatch> {
        let raise = Self { bytes, carries: Carries::Version };
        (raise.bytes.len() == HEAD_BYTES).then_some(raise).ok_or(BadBatch)
    }

    /// The entry that a group begins with.
    pub fn begin(at: LogTime, beginning: &Bytes) -> Self {
        let Self { bytes, .. } = Self::encode(at, std::iter::once(beginning));
        Self { bytes, carries: Carries::Beginning }
    }

    /// Takes bytes for the entry that a group begins with.
    pub fn decode_begin(bytes: Bytes) -> Result<Self, BadBatch> {
        let framed = Self::decode(bytes)?;
        let begin = Self { carries: Carries::Beginning, ..framed };
        if begin.number() == 1 { Ok(begin) } else { Err(BadBatch) }
    }

    /// Takes bytes for a batch after checking their framing.
    pub fn decode(bytes: Bytes) -> Result<Self, BadBatch> {
        let batch = Self { bytes, carries: Carries::Commands };
        if batch.bytes.len() < HEAD_BYTES {
            return Err(BadBatch);
        }
        let mut walk = batch.commands();
        let seen = walk.by_ref().count();
        let whole = walk.rest.is_empty() && seen == batch.len();
        whole.then_some(batch).ok_or(BadBatch)
    }

    pub fn at(&self) -> LogTime {
        LogTime(self.bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        if self.carries == Carries::Commands { self.number() as usize } else { 0 }
    }

    /// The version that the entry raises the group to.
    pub fn raises_to(&self) -> Option<u32> {
        (self.carries == Carries::Version).then(|| self.number())
    }

    /// What the group's machine begins with.
    pub fn beginning(&self) -> Option<&[u8]> {
        (self.carries == Carries::Beginning).then(|| self.parts(1).next()).flatten()
    }

    fn number(&self) -> u32 {
        self.bytes.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    pub fn commands(&self) -> Commands<'_> {
        self.parts(self.len())
    }

    fn parts(&self, left: usize) -> Commands<'_> {
        Commands { rest: self.bytes.get(HEAD_BYTES..).unwrap_or_default(), left }
    }

    /// The batch with what lasts of its commands, where that is not all of it.
    pub fn lasting(&self, form: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Self> {
        let forms: Vec<Option<Vec<u8>>> = self.commands().map(form).collect();
        if forms.iter().all(Option::is_none) {
            return None;
        }
        let lasts = |(form, command): (Option<Vec<u8>>, &[u8])| match form {
            Some(form) => Bytes::from(form),
            None => self.bytes.slice_ref(command),
        };
        let commands: Vec<Bytes> = forms.into_iter().zip(self.commands()).map(lasts).collect();
        Some(Self::encode(self.at(), commands.iter()))
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
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
        match self.carries {
            Carries::Version => write!(f, "raise(to version {})", self.number()),
            Carries::Beginning => write!(f, "beginning({} bytes)", self.bytes.len()),
            Carries::Commands => {
                write!(f, "batch({} commands, {} bytes)", self.len(), self.bytes.len())
            }
        }
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
    fn what_lasts_of_a_batch_is_a_batch_of_what_lasts_of_its_commands() {
        let of = |commands: &[&'static str]| {
            let commands: Vec<Bytes> = commands.iter().map(|c| Bytes::from(*c)).collect();
            Batch::encode(LogTime(7), commands.iter())
        };
        let form = |command: &[u8]| command.starts_with(b"secret").then(|| b"#".to_vec());
        assert_eq!(of(&["a", "", "b"]).lasting(form), None);
        assert_eq!(of(&["a", "secret", ""]).lasting(form), Some(of(&["a", "#", ""])));
        assert_eq!(Batch::raise(LogTime(7), 2).lasting(form), None);
    }

    #[test]
    fn a_raise_has_a_time_and_a_version_and_no_commands() {
        let raise = Batch::raise(LogTime(7), 2);
        let raise = Batch::decode_raise(raise.bytes().clone()).unwrap();
        assert_eq!((raise.at(), raise.raises_to(), raise.len()), (LogTime(7), Some(2), 0));
        assert_eq!(raise.commands().count(), 0);
        assert_eq!(Batch::decode_raise(raise.bytes().slice(1..)), Err(BadBatch));
        assert_eq!(Batch::encode(LogTime(7), [].iter()).raises_to(), None);
    }

    #[test]
    fn a_beginning_is_no_command() {
        let begin = Batch::begin(LogTime(7), &Bytes::from_static(b"rules"));
        let begin = Batch::decode_begin(begin.bytes().clone()).unwrap();
        assert_eq!((begin.at(), begin.beginning()), (LogTime(7), Some(&b"rules"[..])));
        assert_eq!((begin.len(), begin.raises_to()), (0, None));
        assert_eq!(begin.commands().count(), 0);
        let two = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let two = Batch::encode(LogTime(7), two.iter());
        assert_eq!(two.beginning(), None);
        assert_eq!(Batch::decode_begin(two.bytes().clone()), Err(BadBatch));
        assert_eq!(Batch::decode_begin(begin.bytes().slice(1..)), Err(BadBatch));
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
