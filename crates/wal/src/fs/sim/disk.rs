//! Names, durability of names, locks, space: everything of the simulated disk but file content.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::faults::Faults;
use super::inode::{Inode, Tear};
use crate::fs::Op;

type Node = Arc<Mutex<Inode>>;

/// A change of names that no folder sync has made durable yet.
enum Change {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

pub struct Disk {
    names: BTreeMap<PathBuf, Node>,
    /// The names that survive a crash, and the changes on the way there, oldest first.
    durable: BTreeMap<PathBuf, Node>,
    changes: Vec<Change>,
    dirs: BTreeSet<PathBuf>,
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
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: Vec::new(),
            dirs: ["", "/"].map(PathBuf::from).into(),
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
        self.names.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn exists(&self, path: &Path) -> bool {
        self.names.contains_key(path) || self.dirs.contains(path)
    }

    /// The name is durable at once.
    pub fn create_dir(&mut self, dir: &Path) -> io::Result<bool> {
        if self.dirs.contains(dir) {
            return Ok(false);
        }
        self.faults.check(Op::Write, dir)?;
        self.dirs.insert(dir.to_owned());
        Ok(false)
    }

    pub fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        self.faults.check(Op::Read, dir)?;
        if !self.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = self.names.keys().chain(&self.dirs).filter(|path| path.parent() == Some(dir));
        let names = here.filter_map(|path| path.file_name());
        let names: BTreeSet<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    pub fn create(&mut self, path: &Path) -> io::Result<Node> {
        self.faults.check(Op::Write, path)?;
        if path.parent().is_some_and(|dir| !self.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(node) = self.names.get(path) {
            node.lock().set_len(0);
            return Ok(node.clone());
        }
        let node = Node::default();
        self.nodes.push(Arc::downgrade(&node));
        self.names.insert(path.to_owned(), node.clone());
        self.changes.push(Change::Put(path.to_owned(), node.clone()));
        Ok(node)
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.faults.check(Op::Write, path)?;
        self.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    pub fn remove_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        self.faults.check(Op::Write, dir)?;
        let inside: Vec<_> = self.names.keys().filter(|p| p.starts_with(dir)).cloned().collect();
        for path in inside {
            self.names.remove(&path);
            self.changes.push(Change::Remove(path));
        }
        self.dirs.retain(|path| !path.starts_with(dir));
        Ok(())
    }

    /// Renames a file, or every file in a folder; the folder's own name is durable at once.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(Op::Write, from)?;
        if let Some(node) = self.names.remove(from) {
            self.names.insert(to.to_owned(), node);
            self.changes.push(Change::Rename(from.to_owned(), to.to_owned()));
            return Ok(());
        }
        if !self.dirs.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let moved = |path: &Path| path.strip_prefix(from).map(|rest| to.join(rest)).ok();
        self.dirs = self.dirs.iter().map(|p| moved(p).unwrap_or_else(|| p.clone())).collect();
        let inside: Vec<_> = self.names.keys().filter(|p| p.starts_with(from)).cloned().collect();
        for path in inside {
            let (Some(node), Some(new)) = (self.names.remove(&path), moved(&path)) else {
                continue;
            };
            self.names.insert(new.clone(), node);
            self.changes.push(Change::Rename(path, new));
        }
        Ok(())
    }

    pub fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.faults.check(Op::Sync, dir)?;
        self.faults.syncs += 1;
        if self.faults.ignore_syncs {
            return Ok(());
        }
        let (done, rest) = std::mem::take(&mut self.changes).into_iter().partition(|change| {
            let (Change::Put(path, _) | Change::Remove(path) | Change::Rename(path, _)) = change;
            let to = match change {
                Change::Rename(_, to) => Some(to.as_path()),
                _ => None,
            };
            path.parent() == Some(dir) || to.and_then(Path::parent) == Some(dir)
        });
        self.changes = rest;
        let done: Vec<Change> = done;
        done.into_iter().for_each(|change| self.persist(change));
        Ok(())
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
        self.names.keys().cloned().collect()
    }

    pub fn lose(&mut self, path: &Path) -> io::Result<()> {
        self.durable.remove(path);
        self.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
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
                self.persist(change);
            }
        }
        self.names = self.durable.clone();
        for node in self.names.values() {
            let tear = self.dice.tear();
            node.lock().crash(tear, &mut self.dice);
        }
        self.nodes.retain(|node| node.strong_count() > 0);
    }

    pub fn fork(&self, seed: u64) -> Self {
        let mut fork = Self::new(seed);
        for (path, node) in &self.names {
            let mut inode = node.lock().clone();
            inode.sync();
            let node = Arc::new(Mutex::new(inode));
            fork.nodes.push(Arc::downgrade(&node));
            fork.names.insert(path.clone(), node.clone());
            fork.durable.insert(path.clone(), node);
        }
        fork.dirs = self.dirs.clone();
        fork
    }

    fn persist(&mut self, change: Change) {
        match change {
            Change::Put(path, node) => {
                self.durable.insert(path, node);
            }
            Change::Remove(path) => {
                self.durable.remove(&path);
            }
            Change::Rename(from, to) => {
                if let Some(node) = self.durable.remove(&from) {
                    self.durable.insert(to, node);
                }
            }
        }
    }
}
