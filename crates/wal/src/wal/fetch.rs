//! Reads entries of one segment back from disk, and believes none of them unseen.

use std::path::Path;

use bytes::Bytes;
use hansa_types::id::GroupId;

use super::Entry;
use crate::error::{Damage, Fault, ReadError};
use crate::fs::File;
use crate::index::Place;
use crate::record::{self, Kind, Raw, Seed};

/// Unwanted bytes between two records that are cheaper to read than to skip.
const GAP_BYTES: u32 = 16 << 10;
/// Bytes read at once, unless a single record is larger.
const SPAN_BYTES: u32 = 1 << 20;

/// An entry, and where it should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub group: GroupId,
    pub index: u64,
    pub place: Place,
}

/// The wanted entries, in their order; all must be in the segment of `file`.
pub fn entries(
    file: &dyn File,
    seed: Seed,
    path: &Path,
    wanted: &[Wanted],
) -> Result<Vec<Entry>, ReadError> {
    let mut out = Vec::with_capacity(wanted.len());
    let mut rest = wanted;
    while let Some(first) = rest.first() {
        let start = first.place.offset;
        let mut end = start + first.place.len;
        let mut count = 1;
        while let Some(next) = rest.get(count) {
            let stop = next.place.offset + next.place.len;
            let near = next.place.offset >= end && next.place.offset - end <= GAP_BYTES;
            if !near || stop - start > SPAN_BYTES {
                break;
            }
            end = stop;
            count += 1;
        }
        let mut span = vec![0; (end - start) as usize];
        let source = file.read_exact_at(&mut span, u64::from(start));
        source.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        let (these, others) = rest.split_at(count);
        for wanted in these {
            let at = (wanted.place.offset - start) as usize;
            let bytes = &span[at..at + wanted.place.len as usize];
            out.push(entry(seed, path, wanted, bytes)?);
        }
        rest = others;
    }
    Ok(out)
}

fn entry(seed: Seed, path: &Path, wanted: &Wanted, bytes: &[u8]) -> Result<Entry, ReadError> {
    let Wanted { group, index, place } = *wanted;
    let damage = |fault| Damage { file: path.to_owned(), offset: u64::from(place.offset), fault };
    let raw = record::decode(seed, place.offset, bytes).ok_or_else(|| damage(Fault::Record))?;
    if !is(&raw, wanted) {
        return Err(damage(Fault::Misplaced { group, index }).into());
    }
    let head = Bytes::copy_from_slice(raw.head);
    Ok(Entry { index, head, payload: Bytes::copy_from_slice(raw.body) })
}

fn is(raw: &Raw<'_>, wanted: &Wanted) -> bool {
    let entry = matches!(Kind::from_number(raw.kind), Some(Kind::Entry | Kind::Copy));
    entry && raw.group == wanted.group.number() && raw.index == wanted.index
}
