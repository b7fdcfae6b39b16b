//! The bytes of a log for who explains every one of them: read only, no log has to be opened.

use hansa_types::id::GroupId;

use crate::record::{self, Kind, Raw, Seed};
use crate::recover::zeros;
use crate::segment::{self, DATA_START};

/// The name of the file that says which log a folder holds.
pub const FORMAT: &str = crate::format::NAME;
/// What a segment is called until it is ready; zeros but for its header.
pub const UNREADY: &str = segment::UNREADY;

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: u64,
    /// `None` for records of the log itself.
    pub group: Option<GroupId>,
    pub what: What,
    pub index: u64,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// An entry, or its copy.
    Entry,
    Vote,
    Committed,
    Purge,
    Truncate,
    Forget,
    /// A mark of the log itself: nothing of a group is in it.
    Mark,
}

/// Bytes that are no record and not the zeros of unused space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    pub offset: u64,
    pub bytes: u64,
    pub why: String,
}

/// The log's id, from its `FORMAT` file.
///
/// # Errors
/// What is wrong with it.
pub fn log_of(format: &[u8]) -> Result<u64, String> {
    crate::format::parse(format).map_err(|bad| format!("{bad:?}"))
}

/// The number in a segment's file name.
pub fn number(name: &str) -> Option<u32> {
    segment::number(name)
}

/// Hands every record of segment `number` of `log` to `each`; answers what is none.
///
/// A live segment may be written meanwhile: what is unread then is read on another look.
pub fn segment(
    log: u64,
    number: u32,
    bytes: &[u8],
    mut each: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Vec<Unread> {
    let unread = |offset: usize, end: usize, why: String| Unread {
        offset: offset as u64,
        bytes: (end - offset) as u64,
        why,
    };
    let start = DATA_START as usize;
    let size = match segment::check_header(bytes.get(..start).unwrap_or(bytes), log, number) {
        Ok(size) => size as usize,
        Err(why) => return vec![unread(0, bytes.len(), format!("segment header: {why:?}"))],
    };
    let mut found = Vec::new();
    if size != bytes.len() {
        let from = size.min(bytes.len());
        found.push(unread(from, bytes.len(), format!("a segment of {size} bytes by its header")));
    }
    let bytes = &bytes[..size.min(bytes.len())];
    let (seed, mut at, mut next) = (Seed::new(log, number), start, None);
    while let Some(raw) = bytes.get(at..).and_then(|rest| record::decode(seed, at as u32, rest)) {
        let end = at + raw.len as usize;
        let followed = next.is_none_or(|next| next == raw.seq);
        let told = match (followed, told(at, &raw, bytes)) {
            (false, _) => Err(format!("record {} does not follow", raw.seq)),
            (true, told) => told.and_then(&mut each),
        };
        if let Err(why) = told {
            found.push(unread(at, end, why));
        }
        (next, at) = (Some(raw.seq + 1), end);
        if raw.kind == Kind::Seal as u8 {
            break;
        }
    }
    let used = zeros::used(&bytes[at..]);
    if used > 0 {
        found.push(unread(at, at + used, "bytes behind the last record".to_owned()));
    }
    found
}

fn told<'a>(at: usize, raw: &Raw<'a>, bytes: &[u8]) -> Result<Record<'a>, String> {
    let kind = Kind::from_number(raw.kind).ok_or_else(|| format!("kind {}", raw.kind))?;
    let what = match kind {
        Kind::Entry | Kind::Copy => What::Entry,
        Kind::Vote => What::Vote,
        Kind::Committed => What::Committed,
        Kind::Purge => What::Purge,
        Kind::Truncate => What::Truncate,
        Kind::Forget => What::Forget,
        Kind::Batch | Kind::Seal | Kind::Floor => What::Mark,
    };
    // Padding is under the checksum too, and says nothing: it must be nothing.
    let filled = at + record::HEADER + raw.head.len() + raw.body.len();
    if bytes[filled..at + raw.len as usize].iter().any(|byte| *byte != 0) {
        return Err("padding that is not zeros".to_owned());
    }
    let plain = matches!(what, What::Mark | What::Truncate | What::Forget);
    if plain && !(raw.head.is_empty() && raw.body.is_empty()) {
        return Err(format!("content in a record of kind {}", raw.kind));
    }
    let group = match what {
        What::Mark if raw.group == 0 => None,
        _ => Some(GroupId::from_number(raw.group).ok_or_else(|| format!("group {}", raw.group))?),
    };
    let Raw { index, head, body, .. } = *raw;
    Ok(Record { offset: at as u64, group, what, index, head, body })
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;
    use crate::record::New;

    fn sample() -> Vec<u8> {
        let mut bytes = segment::header(7, 1, 8192);
        let group = Some(GroupId::new(GroupKind::Orders, 0));
        let new = |seq, kind, group, head: &'static [u8], body: &'static [u8]| New {
            seq,
            group,
            kind,
            index: 3,
            head,
            body,
        };
        for record in [
            new(1, Kind::Batch, None, b"", b""),
            new(2, Kind::Entry, group, b"head", b"payload"),
            new(3, Kind::Vote, group, b"", b"vote"),
        ] {
            let at = bytes.len() as u32;
            record::encode(&mut bytes, Seed::new(7, 1), at, &record);
        }
        bytes.resize(8192, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> (usize, Vec<Unread>) {
        let mut seen = 0;
        let unread = segment(7, 1, bytes, |_| {
            seen += 1;
            Ok(())
        });
        (seen, unread)
    }

    #[test]
    fn every_byte_of_a_segment_is_a_record_or_a_zero() {
        assert_eq!(read(&sample()), (3, vec![]));
    }

    #[test]
    fn no_flipped_byte_is_explained() {
        let good = sample();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(!read(&bad).1.is_empty(), "byte {at}");
        }
    }

    #[test]
    fn what_is_behind_the_segment_is_unread() {
        let mut long = sample();
        long.push(0);
        assert_eq!(read(&long).1.len(), 1);
    }
}
