//! Names, durability of names, locks, space: everything of the simulated disk but file content.
//!
//! A folder is whatever its names lie in: it may lose its own name, or be called otherwise, and
//! what lies in it is lost or found with it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::faults::Faults;
use super::inode::{Inode, Tear};
use super::tree::{self, Change, Dir, Entry, Node, ROOT, Tree};
use crate::fs::Op;

pub struct Disk {
    names: Tree,
    /// The names that survive a crash, and the changes on the way there, oldest first.
    durable: Tree,
    changes: Vec<Change>,
    next_dir: Dir,
    locks: BTreeMap<PathBuf, u64>,
    /// Every file that has a name or a handle.
    nodes: Vec<Weak<Mutex<Inode>>>,
    next_lock: u64,
    pub boot: u64,
    pub capacity: u64,
    pub faults: Faults,
    dice: Dice,
}

/// Seeded chance (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn toss(&mut self) -> bool {
        self.roll() & 1 == 1
    }

    fn tear(&mut self) -> Tear {
        match self.roll() % 4 {
            0 => Tear::None,
            1 => Tear::All,
            _ => Tear::Mixed,
        }
    }
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self {
            names: Tree::default(),
            durable: Tree::default(),
            changes: Vec::new(),
            next_dir: ROOT + 1,
            locks: BTreeMap::new(),
            nodes: Vec::new(),
            next_lock: 0,
            boot: 0,
            capacity: u64::MAX,
            faults: Faults::default(),
            dice: Dice(seed),
        }
    }

    /// Lets an operation of a handle of `boot` through, or not.
    pub fn enter(&mut self, boot: u64, op: Op, path: &Path) -> io::Result<()> {
        if boot != self.boot {
            return Err(io::Error::other("a handle of before the crash"));
        }
        self.faults.check(op, path)
    }

    pub fn find(&self, path: &Path) -> io::Result<Node> {
        self.names.file(path)
    }

    pub fn find_dir(&self, dir: &Path) -> io::Result<()> {
        self.names.dir(dir).map(drop)
    }

    pub fn exists(&self, path: &Path) -> bool {
        self.names.find(path).is_some()
    }

    pub fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        if self.exists(dir) {
            return Ok(());
        }
        self.faults.check(Op::Write, dir)?;
        let name = self.names.name(dir)?;
        self.change(Change::Put(name, Entry::Dir(self.next_dir)));
        self.next_dir += 1;
        Ok(())
    }

    pub fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        self.faults.check(Op::Read, dir)?;
        let within = self.names.within(self.names.dir(dir)?);
        Ok(within.map(|((_, name), _)| name.to_string_lossy().into_owned()).collect())
    }

    pub fn create(&mut self, path: &Path) -> io::Result<Node> {
        self.faults.check(Op::Write, path)?;
        let name = self.names.name(path)?;
        match self.names.get(&name) {
            Some(Entry::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(node)) => {
                node.lock().set_len(0);
                return Ok(node.clone());
            }
            None => {}
        }
        let node = Node::default();
        self.nodes.push(Arc::downgrade(&node));
        self.change(Change::Put(name, Entry::File(node.clone())));
        Ok(node)
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.faults.check(Op::Write, path)?;
        self.names.file(path)?;
        let name = self.names.name(path)?;
        self.change(Change::Remove(name));
        Ok(())
    }

    pub fn remove_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        self.faults.check(Op::Write, dir)?;
        let Some(Entry::Dir(inside)) = self.names.find(dir) else { return Ok(()) };
        let mut names = self.names.below(inside);
        names.push(self.names.name(dir)?);
        names.into_iter().for_each(|name| self.change(Change::Remove(name)));
        Ok(())
    }

    /// Renames a file, or a folder with what is in it.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(Op::Write, from)?;
        let (from, to) = (self.names.name(from)?, self.names.name(to)?);
        let entry = self.names.get(&from).cloned().ok_or(io::ErrorKind::NotFound)?;
        match (&entry, self.names.get(&to)) {
            (Entry::File(_), Some(Entry::Dir(_))) => Err(io::ErrorKind::IsADirectory.into()),
            (Entry::Dir(_), Some(Entry::File(_))) => Err(io::ErrorKind::NotADirectory.into()),
            (_, Some(Entry::Dir(there))) if self.names.within(*there).next().is_some() => {
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            _ => {
                self.change(Change::Rename(from, to, entry));
                Ok(())
            }
        }
    }

    pub fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.faults.check(Op::Sync, dir)?;
        let dir = self.names.dir(dir)?;
        self.faults.syncs += 1;
        if !self.faults.ignore_syncs {
            let done = tree::synced(&mut self.changes, dir);
            done.into_iter().for_each(|change| self.durable.apply(change));
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        self.names.apply(change.clone());
        self.changes.push(change);
    }

    pub fn take_lock(&mut self, path: &Path) -> io::Result<u64> {
        self.faults.check(Op::Write, path)?;
        if self.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.next_lock += 1;
        self.locks.insert(path.to_owned(), self.next_lock);
        Ok(self.next_lock)
    }

    pub fn drop_lock(&mut self, path: &Path, held: u64) {
        if self.locks.get(path) == Some(&held) {
            self.locks.remove(path);
        }
    }

    /// Makes room for a file that is to reach `end`.
    pub fn reserve(&mut self, node: &Node, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(node.lock().reserved());
        if more > 0 && self.used().saturating_add(more) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        node.lock().reserve(end);
        Ok(())
    }

    pub fn used(&self) -> u64 {
        let nodes = self.nodes.iter().filter_map(Weak::upgrade);
        nodes.map(|node| node.lock().reserved()).sum()
    }

    pub fn files(&self) -> Vec<PathBuf> {
        self.names.files().into_iter().map(|(path, _)| path).collect()
    }

    pub fn lose(&mut self, path: &Path) -> io::Result<()> {
        self.names.file(path)?;
        let lost = Change::Remove(self.names.name(path)?);
        self.durable.apply(lost.clone());
        self.names.apply(lost);
        Ok(())
    }

    pub fn kill(&mut self) {
        self.boot += 1;
        self.faults.cut_after = None;
        self.locks.clear();
    }

    pub fn crash(&mut self) {
        self.kill();
        self.faults.rules.clear();
        let tear = self.dice.tear();
        for change in std::mem::take(&mut self.changes) {
            let kept = match tear {
                Tear::None => false,
                Tear::All => true,
                Tear::Mixed => self.dice.toss(),
            };
            if kept {
                self.durable.apply(change);
            }
        }
        self.durable.prune();
        self.names = self.durable.clone();
        for (_, node) in self.names.files() {
            let tear = self.dice.tear();
            node.lock().crash(tear, &mut self.dice);
        }
        self.nodes.retain(|node| node.strong_count() > 0);
    }

    pub fn fork(&self, seed: u64) -> Self {
        let (mut fork, copies) = (Self::new(seed), self.names.copied());
        for (_, node) in copies.files() {
            node.lock().sync();
            fork.nodes.push(Arc::downgrade(&node));
        }
        fork.next_dir = self.next_dir;
        (fork.names, fork.durable) = (copies.clone(), copies);
        fork
    }
}
