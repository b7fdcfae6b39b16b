//! One file's content: as readers see it, and what of it the disk would still have.

use std::collections::BTreeMap;
use std::io;

use super::disk::Dice;

/// What is read and written in one piece by the cache.
const BLOCK: usize = 4096;
/// What the disk writes whole or not at all.
const SECTOR: usize = 512;

type Bytes = Box<[u8; BLOCK]>;

/// Sparse content; blocks that are not there are zeros.
#[derive(Clone, Default)]
pub struct Inode {
    blocks: BTreeMap<u64, Bytes>,
    /// For blocks written since the last sync: what the disk has instead.
    dirty: BTreeMap<u64, Option<Bytes>>,
    /// The same for blocks whose sync failed: clean for the kernel, and not on disk.
    lost: BTreeMap<u64, Option<Bytes>>,
    len: u64,
    durable_len: u64,
    reserved: u64,
}

/// What of the unsynced content a crash leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tear {
    /// Nothing of it.
    None,
    /// All of it: the cache happened to be written back.
    All,
    /// Each sector on its own.
    Mixed,
}

impl Inode {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of disk that the file takes.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    pub fn reserve(&mut self, end: u64) {
        self.reserved = self.reserved.max(end);
    }

    pub fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let end = self.len.min(offset + buf.len() as u64);
        let n = end.saturating_sub(offset) as usize;
        for (at, byte) in pieces(offset, n) {
            let out = &mut buf[at.from..at.to];
            match self.blocks.get(&byte.block) {
                Some(block) => out.copy_from_slice(&block[byte.start..byte.start + out.len()]),
                None => out.fill(0),
            }
        }
        n
    }

    pub fn write(&mut self, buf: &[u8], offset: u64) {
        for (at, byte) in pieces(offset, buf.len()) {
            self.dirty_block(byte.block);
            let block = self.blocks.entry(byte.block).or_insert_with(|| Box::new([0; BLOCK]));
            let bytes = &buf[at.from..at.to];
            block[byte.start..byte.start + bytes.len()].copy_from_slice(bytes);
        }
        self.len = self.len.max(offset + buf.len() as u64);
    }

    pub fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.zero_from(len);
            self.reserved = len;
        }
        self.len = len;
    }

    pub fn sync(&mut self) {
        self.dirty.clear();
        self.durable_len = self.len;
    }

    pub fn sync_failed(&mut self) {
        for (block, durable) in std::mem::take(&mut self.dirty) {
            self.lost.entry(block).or_insert(durable);
        }
    }

    pub fn crash(&mut self, tear: Tear, dice: &mut Dice) {
        for (number, durable) in std::mem::take(&mut self.lost) {
            self.put_back(number, durable);
        }
        for (number, durable) in std::mem::take(&mut self.dirty) {
            match tear {
                Tear::All => {}
                Tear::None => self.put_back(number, durable),
                Tear::Mixed => self.mix(number, durable, dice),
            }
        }
        if self.len != self.durable_len && (tear == Tear::None || dice.toss()) {
            self.set_len(self.durable_len);
        }
        self.dirty.clear();
        self.durable_len = self.len;
    }

    pub fn flip(&mut self, offset: u64, mask: u8) -> io::Result<()> {
        if offset >= self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = offset / BLOCK as u64;
        let block = self.blocks.entry(number).or_insert_with(|| Box::new([0; BLOCK]));
        block[(offset % BLOCK as u64) as usize] ^= mask;
        Ok(())
    }

    pub fn shorten(&mut self, len: u64) {
        self.set_len(len.min(self.len));
        self.sync();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Remembers what the disk has before the block is first written after a sync.
    fn dirty_block(&mut self, number: u64) {
        if self.dirty.contains_key(&number) {
            return;
        }
        let durable = match self.lost.remove(&number) {
            Some(durable) => durable,
            None => self.blocks.get(&number).cloned(),
        };
        self.dirty.insert(number, durable);
    }

    fn put_back(&mut self, number: u64, durable: Option<Bytes>) {
        match durable {
            Some(block) => self.blocks.insert(number, block),
            None => self.blocks.remove(&number),
        };
    }

    fn mix(&mut self, number: u64, durable: Option<Bytes>, dice: &mut Dice) {
        let old = durable.unwrap_or_else(|| Box::new([0; BLOCK]));
        let Some(block) = self.blocks.get_mut(&number) else { return };
        for (new, old) in block.chunks_mut(SECTOR).zip(old.chunks(SECTOR)) {
            if dice.toss() {
                new.copy_from_slice(old);
            }
        }
    }

    fn zero_from(&mut self, len: u64) {
        let first = len / BLOCK as u64;
        let numbers: Vec<u64> = self.blocks.range(first..).map(|(number, _)| *number).collect();
        for number in numbers {
            self.dirty_block(number);
            let keep = len.saturating_sub(number * BLOCK as u64) as usize;
            if keep == 0 {
                self.blocks.remove(&number);
            } else if let Some(block) = self.blocks.get_mut(&number) {
                block[keep.min(BLOCK)..].fill(0);
            }
        }
    }
}

/// A part of the caller's buffer.
struct Part {
    from: usize,
    to: usize,
}

/// Where that part begins in the file.
struct Start {
    block: u64,
    start: usize,
}

/// Cuts `n` bytes at `offset` at the blocks' borders.
fn pieces(offset: u64, n: usize) -> impl Iterator<Item = (Part, Start)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from >= n {
            return None;
        }
        let at = offset + from as u64;
        let start = (at % BLOCK as u64) as usize;
        let to = n.min(from + BLOCK - start);
        let piece = (Part { from, to }, Start { block: at / BLOCK as u64, start });
        from = to;
        Some(piece)
    })
}
