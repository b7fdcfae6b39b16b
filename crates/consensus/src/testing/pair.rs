//! A machine with parts: counters, and notes beside them.

use std::io::{self, Read as _};

use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use super::counter::Counters;
use crate::machine::{Frozen, Machine, Records, ThawError};
use crate::part::Holds;
use crate::version::Versions;

/// The table that [`Notes`] archives each note in: by its own count the one that counters use.
pub const NOTED: u8 = super::counter::CLOSED;
const TAG: u8 = 0xc1;
const TABLES: u8 = 0x10;

/// Counters, and notes where its maker said so: commands behind a tag are the notes'.
#[derive(Debug, Clone)]
pub struct Pair {
    counters: Counters,
    notes: Option<Notes>,
}

/// Texts in the order in which they came. Each command is one; none is empty.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    pub texts: Vec<String>,
}

/// What came of a command of either part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    Counted(i64),
    Noted(Option<usize>),
}

impl Pair {
    pub fn both() -> Self {
        Self { counters: Counters::default(), notes: Some(Notes::default()) }
    }

    pub fn without_notes() -> Self {
        Self { counters: Counters::default(), notes: None }
    }
}

impl Notes {
    fn hash(&self) -> StateHash {
        let mut sum = StateHash::default();
        for (at, text) in self.texts.iter().enumerate() {
            sum.add(StateHash::of_record("notes", &at, text));
        }
        sum
    }
}

impl Holds<Counters> for Pair {
    const TAG: Option<u8> = None;
    const TABLES: u8 = 0;

    fn part(&self) -> Option<&Counters> {
        Some(&self.counters)
    }

    fn outcome(of: Came) -> Option<i64> {
        match of {
            Came::Counted(value) => Some(value),
            Came::Noted(_) => None,
        }
    }
}

impl Holds<Notes> for Pair {
    const TAG: Option<u8> = Some(TAG);
    const TABLES: u8 = TABLES;

    fn part(&self) -> Option<&Notes> {
        self.notes.as_ref()
    }

    fn outcome(of: Came) -> Option<Option<usize>> {
        match of {
            Came::Noted(at) => Some(at),
            Came::Counted(_) => None,
        }
    }
}

impl Machine for Pair {
    type Outcome = Came;
    type Frozen = Self;

    const VERSIONS: Versions = Counters::VERSIONS;

    fn set_version(&mut self, version: u32) {
        self.counters.set_version(version);
    }

    fn beginning(&self) -> Option<Vec<u8>> {
        Some(vec![u8::from(self.notes.is_some())])
    }

    fn begin(beginning: &[u8]) -> Option<Self> {
        match beginning {
            [0] => Some(Self::without_notes()),
            [1] => Some(Self::both()),
            _ => None,
        }
    }

    fn same_parts(&self, other: &Self) -> bool {
        self.notes.is_some() == other.notes.is_some()
    }

    fn advance(&mut self, at: LogTime, out: &mut Records) {
        self.counters.advance(at, out);
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> Came {
        match (command.split_first(), &mut self.notes) {
            (Some((&TAG, rest)), Some(notes)) => {
                Came::Noted(out.of_part(TABLES, |out| notes.apply(at, rest, out)))
            }
            (Some((&TAG, _)), None) => Came::Noted(None),
            _ => Came::Counted(self.counters.apply(at, command, out)),
        }
    }

    fn lasting(command: &[u8]) -> Option<Vec<u8>> {
        Counters::lasting(command)
    }

    fn next_due(&self) -> Option<LogTime> {
        self.counters.next_due()
    }

    fn freeze(&self) -> Self {
        self.clone()
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        let mut has = [0];
        from.read_exact(&mut has)?;
        let notes = (has == [1]).then(|| Notes::thaw(from)).transpose()?;
        // Last: they read to the end.
        Ok(Self { counters: Counters::thaw(from)?, notes })
    }

    fn digest(&self) -> StateHash {
        let mut sum = self.counters.digest();
        self.notes.iter().for_each(|notes| sum.add(notes.hash()));
        sum
    }

    fn digest_full(&self) -> StateHash {
        let mut sum = Machine::digest_full(&self.counters);
        self.notes.iter().for_each(|notes| sum.add(notes.hash()));
        sum
    }
}

impl Frozen for Pair {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(&[u8::from(self.notes.is_some())])?;
        self.notes.as_ref().map_or(Ok(()), |notes| notes.write(to))?;
        self.counters.write(to)
    }

    fn digest_full(&self) -> StateHash {
        Machine::digest_full(self)
    }
}

impl Machine for Notes {
    /// How many there are with it; `None` for an empty one.
    type Outcome = Option<usize>;
    type Frozen = Self;

    fn advance(&mut self, _at: LogTime, _out: &mut Records) {}

    fn apply(&mut self, _at: LogTime, command: &[u8], out: &mut Records) -> Option<usize> {
        if command.is_empty() {
            return None;
        }
        self.texts.push(String::from_utf8_lossy(command).into_owned());
        let count = self.texts.len();
        out.archive(NOTED, command, count.to_le_bytes().to_vec());
        Some(count)
    }

    fn next_due(&self) -> Option<LogTime> {
        None
    }

    fn freeze(&self) -> Self {
        self.clone()
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut bytes = Vec::new();
        from.take(u32::from_le_bytes(length).into()).read_to_end(&mut bytes)?;
        let damaged = |e: postcard::Error| ThawError::Damaged(e.to_string());
        Ok(Self { texts: postcard::from_bytes(&bytes).map_err(damaged)? })
    }

    fn digest(&self) -> StateHash {
        self.hash()
    }

    fn digest_full(&self) -> StateHash {
        self.hash()
    }
}

impl Frozen for Notes {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&self.texts).map_err(io::Error::other)?;
        to.write_all(&(bytes.len() as u32).to_le_bytes())?;
        to.write_all(&bytes)
    }

    fn digest_full(&self) -> StateHash {
        self.hash()
    }
}
