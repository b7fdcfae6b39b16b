//! A file system in memory that loses what a real one may lose.
//!
//! Deterministic by seed. At [`SimFs::crash`] unsynced content survives sector by sector as the
//! seed says (all, none, or a torn mix), and so do unsynced names, those of folders too. Faults are
//! injected by rules.

mod disk;
mod faults;
mod inode;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::disk::Disk;
pub use self::faults::Rule;
use self::inode::Inode;
use super::{File, Fs, Lock, Names, Op, Space};

/// A disk that tests and simulations can crash, fill, slow down and damage. Clones are one disk.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

impl SimFs {
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// The power goes and comes back: unsynced state is lost as the seed says, handles and locks of
    /// before are dead, injected rules and a pending power cut are gone.
    pub fn crash(&self) {
        self.disk.lock().crash();
    }

    /// The process is killed: nothing is lost, but its handles and locks are dead. A pending power
    /// cut was its end, and is gone.
    pub fn kill(&self) {
        self.disk.lock().kill();
    }

    /// Lets `ops` more changes through; every one after that fails until [`SimFs::crash`] or
    /// [`SimFs::kill`], which decides whether power or process ended there.
    pub fn cut_power_after(&self, ops: u64) {
        self.disk.lock().faults.cut_after = Some(ops);
    }

    /// Changes still let through before the power goes.
    pub fn cut_power_left(&self) -> Option<u64> {
        self.disk.lock().faults.cut_after
    }

    /// Makes operations fail as `rule` says; rules are tried in the order in which they came.
    pub fn inject(&self, rule: Rule) {
        self.disk.lock().faults.rules.push(rule);
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        self.disk.lock().faults.rules.clear();
    }

    /// Bytes that files may take in all; more is `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk.lock().capacity = bytes;
    }

    /// Answers syncs with success without doing them: the mutation that a durability test must
    /// catch.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.disk.lock().faults.ignore_syncs = ignore;
    }

    /// How long an operation takes from now on: see [`Fs::latency`].
    pub fn set_latency(&self, op: Op, latency: Duration) {
        self.disk.lock().faults.set_latency(op, latency);
    }

    /// Flips the bits of `mask` in the byte at `offset`, on disk and in the cache.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        self.disk.lock().find(path)?.lock().flip(offset, mask)
    }

    /// Cuts the file to `len` bytes, durably, as damage does.
    pub fn shorten(&self, path: &Path, len: u64) -> io::Result<()> {
        self.disk.lock().find(path)?.lock().shorten(len);
        Ok(())
    }

    /// Removes the file durably, as damage does.
    pub fn lose(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().lose(path)
    }

    /// The file's bytes as a reader sees them now.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.disk.lock().find(path)?.lock().bytes())
    }

    /// A second disk with the same content and nothing unsynced, for trying damage on it.
    pub fn fork(&self, seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(self.disk.lock().fork(seed))) }
    }

    /// Every file, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk.lock().files()
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.disk.lock().used()
    }

    /// Syncs of files and folders that succeeded.
    pub fn syncs(&self) -> u64 {
        self.disk.lock().faults.syncs
    }

    fn handle(&self, path: &Path, inode: Arc<Mutex<Inode>>, boot: u64) -> Arc<dyn File> {
        Arc::new(SimFile { disk: self.disk.clone(), path: path.to_owned(), inode, boot })
    }
}

impl Fs for SimFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.lock().list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.disk.lock().exists(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        let inode = disk.create(path)?;
        Ok(self.handle(path, inode, disk.boot))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let disk = self.disk.lock();
        let inode = disk.find(path)?;
        Ok(self.handle(path, inode, disk.boot))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().remove_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.lock().rename(from, to)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Names>> {
        self.disk.lock().find_dir(dir)?;
        Ok(Arc::new(SimNames { disk: self.disk.clone(), path: dir.to_owned() }))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let held = self.disk.lock().take_lock(path)?;
        let (disk, path) = (self.disk.clone(), path.to_owned());
        Ok(Box::new(SimLock { disk, path, held }))
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let disk = self.disk.lock();
        let free = disk.capacity.saturating_sub(disk.used());
        Ok(Space { free, total: disk.capacity })
    }

    fn latency(&self, op: Op) -> Duration {
        self.disk.lock().faults.latency(op)
    }
}

struct SimLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    held: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock().drop_lock(&self.path, self.held);
    }
}

struct SimNames {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
}

impl Names for SimNames {
    fn sync(&self) -> io::Result<()> {
        self.disk.lock().sync_dir(&self.path)
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    inode: Arc<Mutex<Inode>>,
    /// The boot in which it was opened; of no use in a later one.
    boot: u64,
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.lock().enter(self.boot, Op::Read, &self.path)?;
        Ok(self.inode.lock().read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.enter(self.boot, Op::Write, &self.path)?;
        let end = offset + buf.len() as u64;
        disk.reserve(&self.inode, end)?;
        self.inode.lock().write(buf, offset);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.enter(self.boot, Op::Write, &self.path)?;
        disk.reserve(&self.inode, len)?;
        self.inode.lock().grow(len);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.enter(self.boot, Op::Write, &self.path)?;
        disk.reserve(&self.inode, len)?;
        self.inode.lock().set_len(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.lock().enter(self.boot, Op::Read, &self.path)?;
        Ok(self.inode.lock().len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.enter(self.boot, Op::Sync, &self.path) {
            Ok(()) if disk.faults.ignore_syncs => {}
            Ok(()) => self.inode.lock().sync(),
            // With the power goes the kernel: what of its cache had reached the disk, dice say.
            Err(e) if disk.faults.power_is_gone() => return Err(e),
            Err(e) => {
                // As on Linux: the pages count as clean now, and a later sync will not write them.
                self.inode.lock().sync_failed();
                return Err(e);
            }
        }
        disk.faults.syncs += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
