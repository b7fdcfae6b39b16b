//! A part: checksummed frames, one after the other.
//!
//! ```text
//! "HANSABKP" | format: u32 | kind: u32                    little-endian
//! frame: length: u32 | crc32c: u32 | position: u64 | bytes
//! ```
//! The position says where the bytes belong: a state's offset, the number of the first record, the
//! index of the first entry. The checksum covers position and bytes.

use std::io::{self, Read};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::manifest::{FORMAT, PartKind};

const MAGIC: &[u8; 8] = b"HANSABKP";
/// Bytes in front of the first frame.
pub const HEAD_BYTES: u64 = 16;
/// Bytes in front of each frame's own.
pub const FRAME_HEAD_BYTES: u64 = 16;
/// Longest frame: an entry may be as large as a peer message.
pub const FRAME_BYTES_MAX: u32 = 20 << 20;

/// The bytes that a part begins with.
pub fn head(kind: PartKind) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES as usize);
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT);
    out.put_u32_le(kind.number());
    out.freeze()
}

/// One frame as it lies in a part.
pub fn frame(position: u64, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(FRAME_HEAD_BYTES as usize + bytes.len());
    out.put_u32_le(bytes.len() as u32);
    out.put_u32_le(checksum(position, bytes));
    out.put_u64_le(position);
    out.put_slice(bytes);
    out.freeze()
}

/// The checksum of a frame.
pub fn checksum(position: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&position.to_le_bytes()), bytes)
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where in the file it begins.
    pub offset: u64,
    pub position: u64,
    pub bytes: Bytes,
}

/// What is wrong, and where.
#[derive(Debug)]
pub enum Bad {
    At(u64, String),
    Io(io::Error),
}

/// Reads a part frame by frame, hashing all of it on the way.
pub struct Reader<R> {
    from: R,
    at: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// Not a part of this kind and format.
    pub fn open(from: R, kind: PartKind) -> Result<Self, Bad> {
        let mut this = Self { from, at: 0, hasher: blake3::Hasher::new() };
        let mut found = [0; HEAD_BYTES as usize];
        if this.fill(&mut found)? < found.len() {
            return Err(Bad::At(0, "too short for a head".to_owned()));
        }
        if found[..] != head(kind)[..] {
            return Err(Bad::At(0, format!("not a part with {} of this format", kind.as_str())));
        }
        Ok(this)
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// A frame that is cut short or does not have its checksum.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Bad> {
        let offset = self.at;
        let mut fixed = [0; FRAME_HEAD_BYTES as usize];
        match self.fill(&mut fixed)? {
            0 => return Ok(None),
            n if n < fixed.len() => return Err(Bad::At(offset, "a frame is cut short".into())),
            _ => {}
        }
        let mut rest = &fixed[..];
        let (length, sum, position) = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u64_le());
        if length > FRAME_BYTES_MAX {
            return Err(Bad::At(offset, "a frame's length is damaged".into()));
        }
        let mut bytes = vec![0; length as usize];
        if self.fill(&mut bytes)? < bytes.len() {
            return Err(Bad::At(offset, "a frame is cut short".into()));
        }
        if checksum(position, &bytes) != sum {
            return Err(Bad::At(offset, "a frame's checksum does not match".into()));
        }
        Ok(Some(Frame { offset, position, bytes: bytes.into() }))
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.at
    }

    /// The hash of all that was read.
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    fn fill(&mut self, to: &mut [u8]) -> Result<usize, Bad> {
        let mut filled = 0;
        while filled < to.len() {
            match self.from.read(&mut to[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Bad::Io(e)),
            }
        }
        self.hasher.update(&to[..filled]);
        self.at += filled as u64;
        Ok(filled)
    }
}

/// The bytes of a state part, as the checkpoint that they are.
pub struct StateBytes<R> {
    reader: Reader<R>,
    frame: Bytes,
    next: u64,
}

impl<R: Read> StateBytes<R> {
    pub fn new(reader: Reader<R>) -> Self {
        Self { reader, frame: Bytes::new(), next: 0 }
    }
}

impl<R: Read> Read for StateBytes<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.frame.is_empty() {
            match self.reader.next_frame() {
                Ok(None) => return Ok(0),
                Ok(Some(frame)) if frame.position == self.next => {
                    self.next += frame.bytes.len() as u64;
                    self.frame = frame.bytes;
                }
                Ok(Some(frame)) => {
                    return Err(io::Error::other(format!(
                        "state bytes at {} do not follow at {}",
                        frame.position, self.next
                    )));
                }
                Err(Bad::Io(error)) => return Err(error),
                Err(Bad::At(offset, what)) => {
                    return Err(io::Error::other(format!("byte {offset}: {what}")));
                }
            }
        }
        let taken = out.len().min(self.frame.len());
        out[..taken].copy_from_slice(&self.frame.split_to(taken));
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order_and_every_flipped_bit_is_found() {
        let mut file = head(PartKind::Records).to_vec();
        for n in 0..3_u64 {
            file.extend_from_slice(&frame(n, &[n as u8; 5]));
        }
        let read = |file: &[u8]| -> Result<usize, Bad> {
            let mut reader = Reader::open(file, PartKind::Records)?;
            let mut count = 0;
            while reader.next_frame()?.is_some() {
                count += 1;
            }
            Ok(count)
        };
        assert!(matches!(read(&file), Ok(3)));
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert!(matches!(read(&bad), Err(Bad::At(..))), "byte {at}");
        }
        assert!(matches!(read(&file[..file.len() - 1]), Err(Bad::At(..))));
    }
}
