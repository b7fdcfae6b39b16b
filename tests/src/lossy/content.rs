//! One file of a lossy disk: what is synced lies in a real file below, what is not lies here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Cut;

/// What the disk's cache is counted in.
pub const PAGE: usize = 4_096;
const PAGE_LEN: u64 = PAGE as u64;

type Page = Box<[u8; PAGE]>;

/// # Invariant
/// The file below holds what a power cut leaves, and nothing else.
#[derive(Debug)]
pub struct Content {
    below: File,
    synced_len: u64,
    len: u64,
    /// From here on the file below does not show: it was cut there since the last sync.
    floor: u64,
    /// Written and not synced.
    dirty: BTreeMap<u64, Page>,
    /// Written, then a sync failed. The system shows them and has marked them clean: a later sync
    /// that succeeds does not write them.
    forsaken: BTreeMap<u64, Page>,
}

impl Content {
    #[must_use]
    pub fn new(below: File) -> Self {
        let (dirty, forsaken) = (BTreeMap::new(), BTreeMap::new());
        Self { below, synced_len: 0, len: 0, floor: 0, dirty, forsaken }
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// # Errors
    /// The real disk's.
    pub fn read(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let end = self.len.min(offset.saturating_add(size as u64));
        let mut out = Vec::with_capacity(size);
        let mut at = offset;
        while at < end {
            let page = self.page(at / PAGE_LEN)?;
            let from = (at % PAGE_LEN) as usize;
            let to = PAGE.min(from + (end - at) as usize);
            out.extend_from_slice(&page[from..to]);
            at += (to - from) as u64;
        }
        Ok(out)
    }

    /// # Errors
    /// The real disk's.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let number = at / PAGE_LEN;
            let from = (at % PAGE_LEN) as usize;
            let take = rest.len().min(PAGE - from);
            let mut page = self.page(number)?;
            page[from..from + take].copy_from_slice(&rest[..take]);
            self.dirty.insert(number, page);
            at += take as u64;
            rest = &rest[take..];
        }
        self.len = self.len.max(at);
        Ok(())
    }

    /// # Errors
    /// The real disk's.
    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len < self.len {
            let kept = len.div_ceil(PAGE_LEN);
            if !len.is_multiple_of(PAGE_LEN) {
                let mut last = self.page(len / PAGE_LEN)?;
                last[(len % PAGE_LEN) as usize..].fill(0);
                self.dirty.insert(len / PAGE_LEN, last);
            }
            self.dirty.split_off(&kept);
            self.forsaken.split_off(&kept);
            self.floor = self.floor.min(len);
        }
        self.len = len;
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The real disk's.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.floor < self.synced_len {
            self.below.set_len(self.floor)?;
        }
        self.below.set_len(self.len)?;
        for (number, page) in std::mem::take(&mut self.dirty) {
            self.put(number, &page[..], self.len)?;
            self.forsaken.remove(&number);
        }
        (self.synced_len, self.floor) = (self.len, self.len);
        Ok(())
    }

    /// What a sync that failed leaves: pages that are clean and not written.
    pub fn forsake(&mut self) {
        self.forsaken.append(&mut self.dirty);
    }

    /// The power goes. What a torn cut leaves of the unsynced pages is chance, unit by unit.
    ///
    /// # Errors
    /// The real disk's.
    pub fn cut(&mut self, how: &mut Cut) -> io::Result<()> {
        self.forsaken.clear();
        let dirty = std::mem::take(&mut self.dirty);
        if let Cut::Torn { unit, dice } = how {
            let len = if dice.coin() { self.len } else { self.synced_len };
            if self.floor < self.synced_len && len < self.synced_len {
                self.below.set_len(self.floor)?;
            }
            self.below.set_len(len)?;
            for (number, page) in dirty {
                let start = number * PAGE_LEN;
                let mut torn = vec![0; PAGE];
                self.fill(start, &mut torn)?;
                for (old, new) in torn.chunks_mut(*unit).zip(page.chunks(*unit)) {
                    if dice.coin() {
                        old.copy_from_slice(new);
                    }
                }
                self.put(number, &torn, len)?;
            }
            self.synced_len = len;
        }
        (self.len, self.floor) = (self.synced_len, self.synced_len);
        Ok(())
    }

    /// Writes a page below, as far as it lies within the file.
    fn put(&self, number: u64, page: &[u8], len: u64) -> io::Result<()> {
        let start = number * PAGE_LEN;
        let within = len.saturating_sub(start).min(PAGE_LEN) as usize;
        self.below.write_all_at(&page[..within], start)
    }

    fn page(&self, number: u64) -> io::Result<Page> {
        if let Some(page) = self.dirty.get(&number).or_else(|| self.forsaken.get(&number)) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE]);
        let start = number * PAGE_LEN;
        let shown = self.floor.saturating_sub(start).min(PAGE_LEN) as usize;
        self.fill(start, &mut page[..shown])?;
        Ok(page)
    }

    /// Reads from below; what is not there is zeros.
    fn fill(&self, start: u64, to: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < to.len() {
            match self.below.read_at(&mut to[done..], start + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn content() -> Content {
        Content::new(tempfile::tempfile().expect("a file"))
    }

    fn all(content: &Content) -> Vec<u8> {
        content.read(0, 1 << 20).expect("reads")
    }

    #[test]
    fn what_is_not_synced_is_lost_and_what_is_synced_stays() {
        let mut file = content();
        file.write(0, &[1; 5_000]).expect("writes");
        file.sync().expect("syncs");
        file.write(4_000, &[2; 3_000]).expect("writes");
        assert_eq!(file.len(), 7_000);
        file.cut(&mut Cut::Clean).expect("cut");
        assert_eq!(all(&file), vec![1; 5_000]);
    }

    #[test]
    fn a_cut_and_grown_file_shows_zeros_and_not_what_was_there() {
        let mut file = content();
        file.write(0, &[1; 9_000]).expect("writes");
        file.sync().expect("syncs");
        file.set_len(100).expect("shrinks");
        file.set_len(9_000).expect("grows");
        let expected = [vec![1; 100], vec![0; 8_900]].concat();
        assert_eq!(all(&file), expected);
        file.sync().expect("syncs");
        file.cut(&mut Cut::Clean).expect("cut");
        assert_eq!(all(&file), expected);
    }

    #[test]
    fn after_a_failed_sync_the_next_one_succeeds_and_writes_nothing() {
        let mut file = content();
        file.write(0, &[7; 10]).expect("writes");
        file.forsake();
        file.sync().expect("syncs");
        assert_eq!(all(&file), vec![7; 10], "it is still shown");
        file.cut(&mut Cut::Clean).expect("cut");
        assert_eq!(all(&file), vec![0; 10], "and was never written");
    }

    #[test]
    fn a_torn_write_is_new_or_old_in_each_unit() {
        let mut file = content();
        file.write(0, &[1; 64 * PAGE]).expect("writes");
        file.sync().expect("syncs");
        file.write(0, &[2; 64 * PAGE]).expect("writes");
        file.cut(&mut Cut::Torn { unit: 512, dice: Dice::new(1) }).expect("cut");
        let bytes = all(&file);
        let (mut old, mut new) = (0, 0);
        for unit in bytes.chunks(512) {
            assert!(unit.iter().all(|byte| *byte == unit[0]), "a unit is whole");
            if unit[0] == 1 { old += 1 } else { new += 1 }
        }
        assert!(old > 100 && new > 100, "{old} old, {new} new");
    }
}
