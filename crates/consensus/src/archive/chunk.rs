//! Chunks as bytes: a checksum, the audit chain's heads, then the items.

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

use crate::chain::{GENESIS, Head};
use crate::pending::{ArchivedEntry, ArchivedRecord};
use crate::raft::codec::{BadBytes, Kind, array_of, u8_of, u32_of, u64_of};

const SUM: usize = size_of::<u32>();
/// An entry beside its payload: index, term, kind, records, head, length.
const ENTRY_BYTES: usize = 8 + 8 + 1 + 8 + size_of::<Head>() + 4;
/// A record beside its key and value: index, table, two lengths.
const RECORD_BYTES: usize = 8 + 1 + 4 + 4;

/// A chunk of this many bytes behind its checksum, which [`seal`] writes.
fn body(bytes: usize) -> BytesMut {
    let mut body = BytesMut::with_capacity(SUM + bytes);
    body.put_u32_le(0);
    body
}

/// Closes a chunk with its checksum in front.
fn seal(mut body: BytesMut) -> Bytes {
    let sum = crc32c::crc32c(&body[SUM..]);
    body[..SUM].copy_from_slice(&sum.to_le_bytes());
    body.freeze()
}

fn unseal(mut bytes: Bytes) -> Result<Bytes, BadBytes> {
    let sum = u32_of(&mut bytes)?;
    if crc32c::crc32c(&bytes) == sum { Ok(bytes) } else { Err(BadBytes::Unknown("checksum")) }
}

fn put_bytes(to: &mut BytesMut, bytes: &[u8]) {
    to.put_u32_le(bytes.len() as u32);
    to.put_slice(bytes);
}

fn bytes_of(from: &mut Bytes) -> Result<Bytes, BadBytes> {
    let len = u32_of(from)? as usize;
    if from.remaining() < len { Err(BadBytes::Short) } else { Ok(from.split_to(len)) }
}

/// Entries in order of index. Both outer heads of the chain lead the chunk, so that an auditor can
/// join chunks without reading them whole.
pub(crate) fn pack_entries(entries: &[ArchivedEntry]) -> Bytes {
    let bytes = entries.iter().map(|entry| ENTRY_BYTES + entry.payload.len()).sum::<usize>();
    let mut body = body(2 * size_of::<Head>() + 4 + bytes);
    body.put_slice(&entries.first().map_or(GENESIS, |entry| entry.heads.0));
    body.put_slice(&entries.last().map_or(GENESIS, |entry| entry.heads.1));
    body.put_u32_le(entries.len() as u32);
    for entry in entries {
        body.put_u64_le(entry.index);
        body.put_u64_le(entry.term);
        body.put_u8(entry.kind as u8);
        body.put_u64_le(entry.records);
        body.put_slice(&entry.heads.1);
        put_bytes(&mut body, &entry.payload);
    }
    seal(body)
}

pub(crate) fn unpack_entries(bytes: Bytes) -> Result<Vec<ArchivedEntry>, BadBytes> {
    let mut body = unseal(bytes)?;
    let mut before: Head = array_of(&mut body)?;
    let last: Head = array_of(&mut body)?;
    let mut entries = Vec::new();
    for _ in 0..u32_of(&mut body)? {
        let (index, term) = (u64_of(&mut body)?, u64_of(&mut body)?);
        let kind = Kind::from_number(u8_of(&mut body)?)?;
        let records = u64_of(&mut body)?;
        let after = array_of(&mut body)?;
        let payload = bytes_of(&mut body)?;
        entries.push(ArchivedEntry { index, term, kind, payload, heads: (before, after), records });
        before = after;
    }
    if before == last { Ok(entries) } else { Err(BadBytes::Unknown("chain head")) }
}

/// Records in order of number, the first of which follows from the chunk's own.
pub(crate) fn pack_records(records: &[ArchivedRecord]) -> Bytes {
    let bytes = |of: &ArchivedRecord| RECORD_BYTES + of.key.len() + of.value.len();
    let mut body = body(4 + records.iter().map(bytes).sum::<usize>());
    body.put_u32_le(records.len() as u32);
    for record in records {
        body.put_u64_le(record.index);
        body.put_u8(record.table);
        put_bytes(&mut body, &record.key);
        put_bytes(&mut body, &record.value);
    }
    seal(body)
}

pub(crate) fn unpack_records(bytes: Bytes, first: u64) -> Result<Vec<ArchivedRecord>, BadBytes> {
    let mut body = unseal(bytes)?;
    let count = u64::from(u32_of(&mut body)?);
    let end = first.checked_add(count).ok_or(BadBytes::Unknown("record number"))?;
    let records = (first..end).map(|number| {
        let (index, table) = (u64_of(&mut body)?, u8_of(&mut body)?);
        let (key, value) = (bytes_of(&mut body)?, bytes_of(&mut body)?);
        Ok(ArchivedRecord { number, index, table, key, value })
    });
    records.collect()
}
