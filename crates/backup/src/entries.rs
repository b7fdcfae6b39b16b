//! The audit chain over archived entries: h = H(h before, group, log id, kind, what lasts of the
//! payload).
//!
//! The form is that of the archive's chunks, which consensus writes; a test there keeps the two
//! readers together.

use bytes::{Buf as _, Bytes};

/// All zero before the first entry.
pub const GENESIS: [u8; 32] = [0; 32];

/// Follows the chain over frames of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    group: u32,
    pub next_index: u64,
    pub head: [u8; 32],
    /// Term of the last entry.
    pub term: u64,
    /// Records emitted since genesis, as the last entry says.
    pub records: u64,
}

impl Walk {
    pub fn new(group: u32) -> Self {
        Self { group, next_index: 0, head: GENESIS, term: 0, records: 0 }
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// What does not follow: an edit, a drop, a reorder.
    pub fn take(&mut self, position: u64, frame: Bytes) -> Result<(), String> {
        if position != self.next_index {
            return Err(format!("entry {position} does not follow at {}", self.next_index));
        }
        let mut body = unseal(frame)?;
        let short = "entries are cut short";
        let before = head_of(&mut body).ok_or(short)?;
        let last = head_of(&mut body).ok_or(short)?;
        if before != self.head {
            return Err(format!("the chain breaks before entry {position}"));
        }
        let count = body.try_get_u32_le().map_err(|_| short)?;
        for _ in 0..count {
            self.entry(&mut body)?;
        }
        match self.head == last && body.is_empty() {
            true => Ok(()),
            false => Err("a frame's last head is not that of its last entry".to_owned()),
        }
    }

    fn entry(&mut self, body: &mut Bytes) -> Result<(), String> {
        let short = |_| "an entry is cut short".to_owned();
        let (index, term) =
            (body.try_get_u64_le().map_err(short)?, body.try_get_u64_le().map_err(short)?);
        let kind = body.try_get_u8().map_err(short)?;
        let records = body.try_get_u64_le().map_err(short)?;
        let after = head_of(body).ok_or("an entry is cut short")?;
        let length = body.try_get_u32_le().map_err(short)? as usize;
        if body.len() < length {
            return Err("an entry is cut short".to_owned());
        }
        let payload = body.split_to(length);
        if index != self.next_index {
            return Err(format!("entry {index} does not follow at {}", self.next_index));
        }
        if term < self.term || records < self.records {
            return Err(format!("entry {index} goes back in term or records"));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.head);
        hasher.update(&self.group.to_le_bytes());
        hasher.update(&term.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        hasher.update(&[kind]);
        hasher.update(&payload);
        if *hasher.finalize().as_bytes() != after {
            return Err(format!("the chain breaks at entry {index}"));
        }
        (self.next_index, self.head, self.term, self.records) = (index + 1, after, term, records);
        Ok(())
    }
}

fn unseal(mut frame: Bytes) -> Result<Bytes, String> {
    let sum = frame.try_get_u32_le().map_err(|_| "a frame is empty".to_owned())?;
    match crc32c::crc32c(&frame) == sum {
        true => Ok(frame),
        false => Err("a chunk's checksum does not match".to_owned()),
    }
}

fn head_of(body: &mut Bytes) -> Option<[u8; 32]> {
    let mut head = [0; 32];
    body.try_copy_to_slice(&mut head).ok().map(|()| head)
}
