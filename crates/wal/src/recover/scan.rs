//! Walks the records of segments in order, and looks for later ones behind a bad one.

use crate::error::Fault;
use crate::index::Place;
use crate::record::{self, ALIGN, Kind, Raw, Seed};
use crate::recover::zeros;
use crate::segment::DATA_START;

/// How a segment's records end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With a seal: the next segment goes on.
    Sealed,
    /// At this offset there is no valid next record.
    Open(u32),
}

/// The walk along the one sequence of all records.
pub struct Walk {
    /// The sequence that the next record must have; `None` until the first one says.
    next: Option<u64>,
    records: u64,
    last_batch: Option<Place>,
}

impl Walk {
    pub fn new(next: Option<u64>) -> Self {
        Self { next, records: 0, last_batch: None }
    }

    /// Sequence of the last good record; 0 when there is none.
    pub fn last(&self) -> u64 {
        self.next.map_or(0, |next| next - 1)
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Where the last batch begins, and how many bytes of it are good.
    pub fn last_batch(&self) -> Option<Place> {
        self.last_batch
    }

    /// Hands the segment's records to `each` until one is bad or seals it.
    ///
    /// # Errors
    /// What `each` finds wrong with a record that is valid by itself, and its offset.
    pub fn segment(
        &mut self,
        number: u32,
        seed: Seed,
        bytes: &[u8],
        mut each: impl FnMut(Place, &Raw<'_>) -> Result<(), Fault>,
    ) -> Result<End, (u32, Fault)> {
        let mut offset = DATA_START;
        while let Some(raw) = self.accept(seed, bytes, offset) {
            let place = Place { segment: number, offset, len: raw.len };
            let end = offset + raw.len;
            match (Kind::from_number(raw.kind), &mut self.last_batch) {
                (Some(Kind::Batch), batch) => *batch = Some(place),
                (_, Some(batch)) if batch.segment == number => batch.len = end - batch.offset,
                _ => {}
            }
            each(place, &raw).map_err(|fault| (offset, fault))?;
            self.next = Some(raw.seq + 1);
            self.records += 1;
            if raw.kind == Kind::Seal as u8 {
                return Ok(End::Sealed);
            }
            offset = end;
        }
        Ok(End::Open(offset))
    }

    /// The record at `offset`, if it is valid and in its turn.
    fn accept<'a>(&self, seed: Seed, bytes: &'a [u8], offset: u32) -> Option<Raw<'a>> {
        let raw = record::decode(seed, offset, bytes.get(offset as usize..)?)?;
        let in_batch = offset > DATA_START || raw.kind == Kind::Batch as u8;
        (in_batch && self.next.is_none_or(|next| next == raw.seq)).then_some(raw)
    }

    /// Whether a valid record behind `from`, where the next one should be, has a watermark that
    /// says it was synced.
    pub fn contradicted(&self, seed: Seed, bytes: &[u8], from: u32) -> bool {
        let bad = self.next.unwrap_or(1);
        let mut later = records(seed, bytes, from);
        later.any(|raw| raw.kind == Kind::Batch as u8 && raw.index >= bad)
    }
}

/// Every valid record at or behind `from`, whatever lies between them.
pub fn records(seed: Seed, bytes: &[u8], from: u32) -> impl Iterator<Item = Raw<'_>> {
    let mut at = from as usize;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let here = at;
            if let Some(raw) = record::decode(seed, here as u32, &bytes[here..]) {
                at += raw.len as usize;
                return Some(raw);
            }
            at += ALIGN;
            // Most of what lies behind the end are zeros: step over them quickly.
            at += zeros::leading(&bytes[at.min(bytes.len())..]) / ALIGN * ALIGN;
        }
        None
    })
}
