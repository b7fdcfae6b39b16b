//! Walks a group's audit chain from genesis, over archive and log, trusting neither.
//!
//! Every entry is hashed anew; what the archive says of it must follow from the entry before. Where
//! archive and log overlap both must tell one history, and it must end in the head that the
//! machine computed when it applied. A history rewritten whole, heads and all, is sound by itself:
//! that shows against the heads that others hold, so a walk tells its head wherever it is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_types::id::GroupId;
use hansa_wal::Wal;
use thiserror::Error;
use tokio::time::timeout;

use crate::archive::{Archive, ArchiveError};
use crate::chain::{self, GENESIS, Head, Link};
use crate::host::Host;
use crate::pending::{ArchivedEntry, ArchivedRecord};
use crate::raft::codec;
use crate::replica::Replica;
use crate::writer::Writer;

/// Bytes that one step reads, about.
const STEP_BYTES: usize = 1 << 20;
/// Records between two marks.
const RECORDS_PER_MARK: u64 = 256;
/// How long a walk waits for an entry that another replica has applied already.
const UPTO_MAX: Duration = Duration::from_secs(10);

/// Why a history was not verified.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuditError {
    /// What is stored is not what happened.
    #[error("entry {index}: {what}")]
    Differs { index: u64, what: String },
    /// It could not be read, so nothing is known.
    #[error("{0}")]
    Unreadable(String),
}

/// A head of the chain: after entry `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub index: u64,
    pub head: [u8; 32],
}

/// How far a walk has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Entries verified so far end before this one.
    pub next: u64,
    /// The last entry that this walk verifies.
    pub upto: u64,
    /// Heads that were asked for, and that of the last entry.
    pub marks: Vec<Mark>,
    /// Hashes over all records before number `index`: at fixed numbers, and at that of the entry
    /// that the walk was asked to reach.
    pub records: Vec<Mark>,
    pub done: bool,
}

/// What a walk reads next.
enum Stage {
    Archive,
    Records { next: u64, hash: Box<blake3::Hasher> },
    Log { next: u64, head: Head },
    Done,
}

/// What a walk reads.
struct Books {
    id: GroupId,
    archive: Arc<Archive>,
    wal: Wal,
    replica: Arc<dyn Replica>,
}

/// One walk over one group.
pub struct Audit {
    books: Books,
    writer: Writer,
    wanted: BTreeSet<u64>,
    /// The entry as of which records are compared with other replicas', and their number then.
    target: u64,
    target_records: Option<u64>,
    /// Entries of the archive that were verified end before this one, in `head`.
    next: u64,
    head: Head,
    emitted: u64,
    /// What the machine had applied when the walk began.
    upto: u64,
    applied: Head,
    stage: Stage,
}

impl Host {
    /// Begins a walk over `group`; `wanted` are indexes whose heads it is to tell, `upto` the entry
    /// to end at if this replica should be further.
    ///
    /// # Errors
    /// The group is not here, or has stopped, or does not keep its history.
    pub async fn audit(
        &self,
        group: GroupId,
        wanted: BTreeSet<u64>,
        upto: Option<u64>,
    ) -> Result<Audit, AuditError> {
        let running = self.audited(group)?;
        // Whoever keeps a head of an entry has heard it of a replica that had applied it.
        if let Some(far) = upto.max(wanted.last().copied()) {
            let mut applied = running.replica.applied();
            let _late = timeout(UPTO_MAX, applied.wait_for(|at| *at >= far)).await;
        }
        let books = Books {
            id: group,
            archive: running.archive.clone(),
            wal: running.wal.clone(),
            replica: running.replica.clone(),
        };
        Audit::begin(books, running.writer.clone(), wanted, upto)
    }
}

impl Audit {
    fn begin(
        books: Books,
        writer: Writer,
        mut wanted: BTreeSet<u64>,
        upto: Option<u64>,
    ) -> Result<Self, AuditError> {
        let position = books.replica.position();
        let Some(applied) = position.applied.map(|id| id.index()) else {
            let what = format!("{} has applied nothing yet", books.id);
            return Err(AuditError::Unreadable(what));
        };
        if !books.replica.pending().keeps_entries() {
            let what = format!("{} does not archive its entries", books.id);
            return Err(AuditError::Unreadable(what));
        }
        wanted.extend(upto.filter(|upto| *upto < applied));
        Ok(Self {
            books,
            writer,
            wanted,
            target: upto.unwrap_or(applied).min(applied),
            target_records: None,
            next: 0,
            head: GENESIS,
            emitted: 0,
            upto: applied,
            applied: position.chain,
            stage: Stage::Archive,
        })
    }

    /// Verifies the next piece, on the loop that does the group's slow disk work.
    pub async fn step(mut self) -> Result<(Self, Walked), AuditError> {
        let writer = self.writer.clone();
        let stepped = writer.run(move || self.advance().map(|walked| (self, walked))).await;
        stepped.map_err(|e| AuditError::Unreadable(e.to_string()))?
    }

    fn advance(&mut self) -> Result<Walked, AuditError> {
        let mut walked = Walked {
            next: self.next,
            upto: self.upto,
            marks: Vec::new(),
            records: Vec::new(),
            done: false,
        };
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Archive => self.archive(&mut walked)?,
            Stage::Records { next, hash } => self.records(next, hash, &mut walked)?,
            Stage::Log { next, head } => self.log(next, head, &mut walked)?,
            Stage::Done => Stage::Done,
        };
        walked.done = matches!(self.stage, Stage::Done);
        Ok(walked)
    }

    fn archive(&mut self, walked: &mut Walked) -> Result<Stage, AuditError> {
        let archive = self.books.archive.clone();
        let end = archive.end();
        if self.next < end.next_index {
            let entries = archive.read_entries(self.next, end.next_index, STEP_BYTES);
            let entries = entries.map_err(unreadable)?;
            if entries.is_empty() {
                return Err(differs(self.next, "not in the archive"));
            }
            for entry in &entries {
                self.take(entry)?;
                self.mark(entry.index, entry.heads.1, walked);
            }
            walked.next = self.next;
            return Ok(Stage::Archive);
        }
        if self.head != end.chain || self.emitted != end.records {
            return Err(differs(end.next_index, "the archive's end is not that of its entries"));
        }
        Ok(Stage::Records { next: 0, hash: Box::default() })
    }

    /// Verifies one archived entry against the one before.
    fn take(&mut self, entry: &ArchivedEntry) -> Result<(), AuditError> {
        if entry.index != self.next {
            return Err(differs(self.next, "missing, or not in its place in the archive"));
        }
        if entry.heads.0 != self.head {
            return Err(differs(entry.index, "does not follow from the entry before"));
        }
        let kind = entry.kind as u8;
        let (group, term, index) = (self.books.id, entry.term, entry.index);
        let link = Link { group, term, index, kind, payload: &entry.payload };
        if chain::extend(&self.head, link) != entry.heads.1 {
            return Err(differs(entry.index, "its content is not what the chain was built over"));
        }
        self.pass(entry.index, entry.heads.1)?;
        if entry.records < self.emitted {
            return Err(differs(entry.index, "takes records back"));
        }
        self.emitted = entry.records;
        if entry.index == self.target {
            self.target_records = Some(entry.records);
        }
        (self.next, self.head) = (entry.index + 1, entry.heads.1);
        Ok(())
    }

    /// The walk must come by where the machine was.
    fn pass(&self, index: u64, head: Head) -> Result<(), AuditError> {
        match index == self.upto && head != self.applied {
            true => Err(differs(index, "the machine applied another history")),
            false => Ok(()),
        }
    }

    fn mark(&mut self, index: u64, head: Head, walked: &mut Walked) {
        if self.wanted.remove(&index) {
            walked.marks.push(Mark { index, head });
        }
    }

    /// Records are what apply made of entries: all must be there, in order, found by their keys.
    fn records(
        &mut self,
        next: u64,
        mut hash: Box<blake3::Hasher>,
        walked: &mut Walked,
    ) -> Result<Stage, AuditError> {
        self.find_target()?;
        let archive = self.books.archive.clone();
        let end = archive.end();
        if next == end.records {
            if archive.versions().map_err(unreadable)? != end.records {
                return Err(differs(end.next_index, "there are more keys than records"));
            }
            self.waiting(next, &mut hash, walked);
            return self.begin_log();
        }
        let records = archive.read_records(next, end.records, STEP_BYTES).map_err(unreadable)?;
        if records.is_empty() {
            return Err(differs(end.next_index, &format!("record {next} is not in the archive")));
        }
        if let Some(number) = archive.unindexed(&records).map_err(unreadable)? {
            let what = format!("record {number} is not found by its key");
            return Err(differs(end.next_index, &what));
        }
        let mut number = next;
        for record in &records {
            if record.number != number || record.index >= end.next_index {
                return Err(differs(record.index, &format!("record {number} is out of place")));
            }
            self.mark_records(number, &hash, walked);
            hash_record(&mut hash, record);
            number += 1;
        }
        Ok(Stage::Records { next: number, hash })
    }

    /// How many records there were after the target, if the archive has come to it since.
    fn find_target(&mut self) -> Result<(), AuditError> {
        let (archive, target) = (&self.books.archive, self.target);
        if self.target_records.is_none() && archive.end().next_index > target {
            let found = archive.read_entries(target, target + 1, usize::MAX).map_err(unreadable)?;
            self.target_records = found.first().map(|entry| entry.records);
        }
        Ok(())
    }

    /// Goes on with the records that wait for the archive, up to those of the target. Nothing is
    /// archived meanwhile: that is done on the loop that this runs on.
    fn waiting(&mut self, mut number: u64, hash: &mut blake3::Hasher, walked: &mut Walked) {
        let (entries, records) = self.books.replica.pending().upto(self.target);
        let told = entries.last().map(|entry| entry.records);
        self.target_records = self.target_records.or(told).or(Some(number));
        let begun = number;
        for record in records.iter().filter(|record| record.number >= begun) {
            if record.number != number {
                // Archived since: what is there was compared already.
                return;
            }
            self.mark_records(number, hash, walked);
            hash_record(hash, record);
            number += 1;
        }
        self.mark_records(number, hash, walked);
    }

    /// Tells the hash over all records before `number`, where others tell theirs too.
    fn mark_records(&self, number: u64, hash: &blake3::Hasher, walked: &mut Walked) {
        let fixed = number > 0 && number.is_multiple_of(RECORDS_PER_MARK);
        if fixed || self.target_records == Some(number) {
            let head = *hash.finalize().as_bytes();
            walked.records.push(Mark { index: number, head });
        }
    }

    /// The log begins somewhere in what the archive holds.
    fn begin_log(&self) -> Result<Stage, AuditError> {
        let span = self.books.wal.span(self.books.id);
        // Archived and purged meanwhile, all of the log perhaps: nothing may be passed over. Looked
        // at after the log, for what that has lost the archive had before.
        if span.is_none_or(|(first, _)| first > self.next)
            && self.next <= self.upto
            && self.books.archive.end().next_index > self.next
        {
            return Ok(Stage::Archive);
        }
        match span {
            None => self.finish(self.next),
            Some((first, _)) if first > self.next && self.next > self.upto => {
                self.finish(self.next)
            }
            Some((first, _)) if first > self.next => {
                Err(differs(self.next, "neither in the archive nor in the log"))
            }
            Some((first, _)) => Ok(Stage::Log { next: first, head: self.head_before(first)? }),
        }
    }

    fn head_before(&self, index: u64) -> Result<Head, AuditError> {
        let Some(before) = index.checked_sub(1) else { return Ok(GENESIS) };
        let found = self.books.archive.read_entries(before, index, usize::MAX);
        let found = found.map_err(unreadable)?;
        let entry = found.first().filter(|entry| entry.index == before);
        let entry =
            entry.ok_or_else(|| differs(before, "neither in the archive nor in the log"))?;
        Ok(entry.heads.1)
    }

    fn log(
        &mut self,
        mut next: u64,
        mut head: Head,
        walked: &mut Walked,
    ) -> Result<Stage, AuditError> {
        let id = self.books.id;
        walked.next = self.next.max(next);
        // To where the archive ends, if that is further by now: there both must meet.
        let end = (self.upto + 1).max(self.next);
        if next >= end {
            return self.finish(next);
        }
        let entries = match self.books.wal.read(id, next, end, STEP_BYTES) {
            // Checkpoints go on meanwhile, and purge.
            Err(hansa_wal::ReadError::Purged { .. }) => return self.begin_log(),
            Err(error @ hansa_wal::ReadError::Damaged(_)) => {
                return Err(differs(next, &error.to_string()));
            }
            Err(error) => return Err(AuditError::Unreadable(error.to_string())),
            Ok(entries) => entries,
        };
        if entries.is_empty() {
            return self.finish(next);
        }
        for entry in entries {
            if entry.index != next {
                return Err(differs(next, "not in the log"));
            }
            let told = codec::head_of(entry.head).map_err(|e| differs(next, &e.to_string()))?;
            let (kind, term) = (told.0 as u8, told.1);
            let payload = self.books.replica.lasting(told.0, &entry.payload);
            let link = Link { group: id, term, index: next, kind, payload: &payload };
            head = chain::extend(&head, link);
            self.pass(next, head)?;
            next += 1;
            if next == self.next && head != self.head {
                return Err(differs(next - 1, "log and archive tell two histories"));
            }
            self.mark(next - 1, head, walked);
        }
        walked.next = self.next.max(next);
        Ok(Stage::Log { next, head })
    }

    /// The walk must have come by where the machine was.
    fn finish(&self, next: u64) -> Result<Stage, AuditError> {
        let next = next.max(self.next);
        if next <= self.upto {
            return Err(differs(next, "applied, but neither in the archive nor in the log"));
        }
        Ok(Stage::Done)
    }

    /// The head of the whole walk.
    pub fn applied(&self) -> Mark {
        Mark { index: self.upto, head: self.applied }
    }
}

fn hash_record(hash: &mut blake3::Hasher, record: &ArchivedRecord) {
    let ArchivedRecord { number, index, table, key, value } = record;
    hash.update(&number.to_le_bytes());
    hash.update(&index.to_le_bytes());
    hash.update(&[*table]);
    for bytes in [key, value] {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
}

fn differs(index: u64, what: &str) -> AuditError {
    AuditError::Differs { index, what: what.to_owned() }
}

/// Damage that the store found is a difference; a disk that does not answer is not.
fn unreadable(error: ArchiveError) -> AuditError {
    match error {
        ArchiveError::Damaged { .. } => differs(0, &error.to_string()),
        other => AuditError::Unreadable(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
