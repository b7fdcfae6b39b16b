//! A machine small enough to see through: named counters, with timers and an archive.

use std::collections::BTreeMap;
use std::io;

use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use crate::machine::{Frozen, Machine, Records, ThawError};
use crate::version::Versions;

/// The table that [`Counters`] archives its closed counters in.
pub const CLOSED: u8 = 1;

/// Named counters. Commands are text: `add NAME N`, `after MS NAME N`, `close NAME`, `none`, and
/// `secret TEXT`, of which only a hash lasts.
///
/// From version 2 on no counter goes below zero. Version 3 changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    values: BTreeMap<String, i64>,
    /// Additions that are due later.
    timers: BTreeMap<(LogTime, String), i64>,
    /// Entries that had commands or a timer, and the last one's time.
    pub entries: u64,
    pub last: LogTime,
    hash: StateHash,
    version: u32,
    /// No counter goes above it: what a node's config says, until the group's log does.
    max: Option<i64>,
    /// Applies by this version whatever the group is at: as a binary does that knows no barrier.
    careless: Option<u32>,
}

impl Counters {
    /// Applies by `version` from its start on, whatever its group is at.
    pub fn careless(version: u32) -> Self {
        Self { careless: Some(version), ..Self::default() }
    }

    /// By a rule of its maker's: no counter goes above `max`.
    pub fn upto(max: i64) -> Self {
        let mut counters = Self { max: Some(max), ..Self::default() };
        counters.hash = counters.full_hash();
        counters
    }

    pub fn max(&self) -> Option<i64> {
        self.max
    }

    pub fn value(&self, name: &str) -> i64 {
        self.values.get(name).copied().unwrap_or_default()
    }

    fn add(&mut self, name: &str, by: i64) -> i64 {
        let before = self.values.get(name).copied();
        let mut after = before.unwrap_or_default() + by;
        if self.careless.unwrap_or(self.version) >= 2 {
            after = after.max(0);
        }
        after = self.max.map_or(after, |max| after.min(max));
        if let Some(before) = before {
            self.hash.remove(StateHash::of_record("values", &name, &before));
        }
        self.hash.add(StateHash::of_record("values", &name, &after));
        self.values.insert(name.to_owned(), after);
        after
    }

    fn close(&mut self, name: &str, out: &mut Records) -> i64 {
        let Some(last) = self.values.remove(name) else { return 0 };
        self.hash.remove(StateHash::of_record("values", &name, &last));
        out.archive(CLOSED, name.as_bytes(), last.to_le_bytes().to_vec());
        last
    }

    /// Changes the state as no command did.
    pub fn apply_unseen(&mut self) {
        self.add("unseen", 1);
    }

    fn full_hash(&self) -> StateHash {
        let mut sum = StateHash::default();
        if let Some(max) = &self.max {
            sum.add(StateHash::of_record("rules", &"max", max));
        }
        for (name, value) in &self.values {
            sum.add(StateHash::of_record("values", &name.as_str(), value));
        }
        sum
    }
}

impl Machine for Counters {
    /// The counter's new value; -1 for a command that cannot be read.
    type Outcome = i64;
    type Frozen = Self;

    const VERSIONS: Versions = Versions::upto(3);

    fn set_version(&mut self, version: u32) {
        self.version = version;
    }

    fn beginning(&self) -> Option<Vec<u8>> {
        self.max.map(|max| max.to_le_bytes().to_vec())
    }

    fn begin(beginning: &[u8]) -> Option<Self> {
        beginning.try_into().ok().map(|max| Self::upto(i64::from_le_bytes(max)))
    }

    fn advance(&mut self, at: LogTime, _out: &mut Records) {
        assert!(at >= self.last, "time went back");
        (self.last, self.entries) = (at, self.entries + 1);
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= at) {
            let ((_, name), by) = timer.remove_entry();
            self.add(&name, by);
        }
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> i64 {
        let text = String::from_utf8_lossy(command);
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["add", name, by] => by.parse().map_or(-1, |by| self.add(name, by)),
            ["after", ms, name, by] => match (ms.parse(), by.parse()) {
                (Ok(ms), Ok(by)) => {
                    self.timers.insert((at.plus_ms(ms), (*name).to_owned()), by);
                    0
                }
                _ => -1,
            },
            ["close", name] => self.close(name, out),
            ["none" | "secret", ..] => 0,
            _ => -1,
        }
    }

    fn lasting(command: &[u8]) -> Option<Vec<u8>> {
        let secret = command.starts_with(b"secret ");
        secret.then(|| format!("none {}", blake3::hash(command)).into_bytes())
    }

    fn next_due(&self) -> Option<LogTime> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn freeze(&self) -> Self {
        self.clone()
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let damaged = |e: postcard::Error| ThawError::Damaged(e.to_string());
        let (values, timers, entries, last, max) = postcard::from_bytes(&bytes).map_err(damaged)?;
        let mut thawed = Self { values, timers, entries, last, max, ..Self::default() };
        thawed.hash = thawed.full_hash();
        Ok(thawed)
    }

    fn digest(&self) -> StateHash {
        self.hash
    }

    fn digest_full(&self) -> StateHash {
        self.full_hash()
    }
}

impl Frozen for Counters {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        let all = (&self.values, &self.timers, self.entries, self.last, self.max);
        to.write_all(&postcard::to_stdvec(&all).map_err(io::Error::other)?)
    }

    fn digest_full(&self) -> StateHash {
        self.full_hash()
    }
}
