//! One record: what the bytes of the log mean.
//!
//! ```text
//! 0    4    8        16     20    21   22       24       32
//! len  crc  seq      group  kind  pad  head_len index    head  body  zeros (pad)
//! ```
//! Little endian, 8-byte aligned. `len` counts everything. The checksum also covers the log's id,
//! the segment's number and the record's offset, none of which is stored here: bytes of another
//! log, of another segment or from another place never pass for a record.

use hansa_types::id::GroupId;

/// Bytes before head and body.
pub const HEADER: usize = 32;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;
/// Bytes of the longest head.
pub const HEAD_BYTES_MAX: usize = u16::MAX as usize;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Opens each batch; `index` is the sequence known synced when it was written.
    Batch = 1,
    /// An entry of a group.
    Entry = 2,
    /// The same entry, moved here because its segment goes.
    Copy = 3,
    Vote = 4,
    Committed = 5,
    /// Entries from `index` on are gone.
    Truncate = 6,
    /// Entries up to `index` are gone, the head is the last one's log id.
    Purge = 7,
    /// The segment ends here, the next one goes on.
    Seal = 8,
    /// Segments below number `index` are gone.
    Floor = 9,
    /// The group has left this node, and all of it is gone.
    Forget = 10,
}

impl Kind {
    pub fn from_number(n: u8) -> Option<Self> {
        use Kind::{Batch, Committed, Copy, Entry, Floor, Forget, Purge, Seal, Truncate, Vote};
        let all = [Batch, Entry, Copy, Vote, Committed, Truncate, Purge, Seal, Floor, Forget];
        all.into_iter().find(|kind| *kind as u8 == n)
    }
}

/// What the checksums of one segment start from.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u32);

impl Seed {
    pub fn new(log: u64, segment: u32) -> Self {
        let start = crc32c::crc32c(&log.to_le_bytes());
        Self(crc32c::crc32c_append(start, &segment.to_le_bytes()))
    }

    /// The checksum of the record `bytes` at `offset`; bytes 4 to 8 are its own place.
    fn sum(self, offset: u32, bytes: &[u8]) -> u32 {
        let placed = crc32c::crc32c_append(self.0, &offset.to_le_bytes());
        let sized = crc32c::crc32c_append(placed, &bytes[..4]);
        crc32c::crc32c_append(sized, &bytes[8..])
    }
}

/// A record before it is written.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    pub seq: u64,
    /// `None` for records of the log itself.
    pub group: Option<GroupId>,
    pub kind: Kind,
    pub index: u64,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// A record read back; kind and group are numbers that this version may not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw<'a> {
    pub seq: u64,
    pub group: u32,
    pub kind: u8,
    pub index: u64,
    pub head: &'a [u8],
    pub body: &'a [u8],
    /// Bytes it takes in the segment.
    pub len: u32,
}

/// Bytes that a record with this head and body takes.
pub const fn size(head: usize, body: usize) -> usize {
    (HEADER + head + body).next_multiple_of(ALIGN)
}

/// Appends `new` to `out`, to be written at `offset` of the seed's segment.
///
/// # Invariant
/// The head is at most [`HEAD_BYTES_MAX`], the record smaller than a segment.
pub fn encode(out: &mut Vec<u8>, seed: Seed, offset: u32, new: &New<'_>) {
    assert!(new.head.len() <= HEAD_BYTES_MAX, "head of {} bytes", new.head.len());
    let bare = HEADER + new.head.len() + new.body.len();
    let len = bare.next_multiple_of(ALIGN);
    assert!(len <= u32::MAX as usize, "record of {len} bytes");
    let start = out.len();
    out.extend_from_slice(&(len as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&new.seq.to_le_bytes());
    out.extend_from_slice(&new.group.map_or(0, GroupId::number).to_le_bytes());
    out.push(new.kind as u8);
    out.push((len - bare) as u8);
    out.extend_from_slice(&(new.head.len() as u16).to_le_bytes());
    out.extend_from_slice(&new.index.to_le_bytes());
    out.extend_from_slice(new.head);
    out.extend_from_slice(new.body);
    out.resize(start + len, 0);
    let sum = seed.sum(offset, &out[start..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// The record that begins at `bytes`, which lie at `offset` of the seed's segment; `None` when
/// there is no whole and valid one.
pub fn decode(seed: Seed, offset: u32, bytes: &[u8]) -> Option<Raw<'_>> {
    let fixed: &[u8; HEADER] = bytes.first_chunk()?;
    let len = u32_at(fixed, 0) as usize;
    if len < HEADER || !len.is_multiple_of(ALIGN) || len > bytes.len() {
        return None;
    }
    let pad = usize::from(fixed[21]);
    let head_len = usize::from(u16::from_le_bytes([fixed[22], fixed[23]]));
    if pad >= ALIGN || HEADER + head_len + pad > len {
        return None;
    }
    let bytes = &bytes[..len];
    if seed.sum(offset, bytes) != u32_at(fixed, 4) {
        return None;
    }
    Some(Raw {
        seq: u64_at(fixed, 8),
        group: u32_at(fixed, 16),
        kind: fixed[20],
        index: u64_at(fixed, 24),
        head: &bytes[HEADER..HEADER + head_len],
        body: &bytes[HEADER + head_len..len - pad],
        len: len as u32,
    })
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;

    fn sample(body: &[u8]) -> Vec<u8> {
        let group = Some(GroupId::new(GroupKind::Orders, 3));
        let new = New { seq: 7, group, kind: Kind::Entry, index: 42, head: b"head", body };
        let mut out = Vec::new();
        encode(&mut out, Seed::new(9, 1), 4096, &new);
        out
    }

    #[test]
    fn a_record_reads_back_as_written() {
        for body in [&b""[..], b"x", b"12345678", &[0; 1000]] {
            let bytes = sample(body);
            assert_eq!(bytes.len(), size(4, body.len()));
            let raw = decode(Seed::new(9, 1), 4096, &bytes).expect("valid");
            assert_eq!((raw.seq, raw.index, raw.head, raw.body), (7, 42, &b"head"[..], body));
            assert_eq!(Kind::from_number(raw.kind), Some(Kind::Entry));
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let mut bytes = sample(b"payload");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert_eq!(decode(Seed::new(9, 1), 4096, &bytes), None, "byte {at} bit {bit}");
                bytes[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn a_record_is_valid_only_in_its_own_log_segment_and_place() {
        let bytes = sample(b"payload");
        assert!(decode(Seed::new(9, 1), 4096, &bytes).is_some());
        assert!(decode(Seed::new(8, 1), 4096, &bytes).is_none());
        assert!(decode(Seed::new(9, 2), 4096, &bytes).is_none());
        assert!(decode(Seed::new(9, 1), 4104, &bytes).is_none());
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode(Seed::new(9, 1), 4096, &[0; 64]), None);
    }
}
