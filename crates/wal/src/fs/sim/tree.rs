//! Folders and the names in them, and what of their changes is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::inode::Inode;

pub type Node = Arc<Mutex<Inode>>;
/// A folder, whatever it is called.
pub type Dir = u64;
/// The folder that is always there.
pub const ROOT: Dir = 0;
/// A name in a folder.
pub type Name = (Dir, OsString);

/// What a name stands for.
#[derive(Clone)]
pub enum Entry {
    File(Node),
    Dir(Dir),
}

/// A change of names that no folder's sync has made durable yet.
#[derive(Clone)]
pub enum Change {
    Put(Name, Entry),
    Remove(Name),
    Rename(Name, Name, Entry),
}

impl Change {
    pub fn names(&self) -> Vec<&Name> {
        match self {
            Self::Put(name, _) | Self::Remove(name) => vec![name],
            Self::Rename(from, to, _) => vec![from, to],
        }
    }

    /// What is left of the change when what came later to `settled` names is durable already.
    fn without(self, settled: &BTreeSet<Name>) -> Option<Self> {
        match self {
            Self::Put(name, _) | Self::Remove(name) if settled.contains(&name) => None,
            Self::Rename(from, to, entry) => {
                match (settled.contains(&from), settled.contains(&to)) {
                    (false, false) => Some(Self::Rename(from, to, entry)),
                    (false, true) => Some(Self::Remove(from)),
                    (true, false) => Some(Self::Put(to, entry)),
                    (true, true) => None,
                }
            }
            other => Some(other),
        }
    }
}

/// Takes out of `changes` what a sync of `dir` makes durable, oldest first.
pub fn synced(changes: &mut Vec<Change>, dir: Dir) -> Vec<Change> {
    let (mut done, mut rest, mut settled) = (Vec::new(), Vec::new(), BTreeSet::new());
    for change in std::mem::take(changes).into_iter().rev() {
        if change.names().iter().any(|(of, _)| *of == dir) {
            settled.extend(change.names().into_iter().cloned());
            done.push(change);
        } else {
            rest.extend(change.without(&settled));
        }
    }
    done.reverse();
    rest.reverse();
    *changes = rest;
    done
}

/// Every name of every folder.
#[derive(Clone, Default)]
pub struct Tree(BTreeMap<Name, Entry>);

impl Tree {
    pub fn get(&self, name: &Name) -> Option<&Entry> {
        self.0.get(name)
    }

    /// What lies at `path`, if anything.
    pub fn find(&self, path: &Path) -> Option<Entry> {
        let mut at = Entry::Dir(ROOT);
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            let Entry::Dir(dir) = at else { return None };
            at = self.0.get(&(dir, part.to_owned()))?.clone();
        }
        Some(at)
    }

    pub fn file(&self, path: &Path) -> io::Result<Node> {
        match self.find(path) {
            Some(Entry::File(node)) => Ok(node),
            Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn dir(&self, path: &Path) -> io::Result<Dir> {
        match self.find(path) {
            Some(Entry::Dir(dir)) => Ok(dir),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The place of a path's last name, which need not be taken.
    pub fn name(&self, path: &Path) -> io::Result<Name> {
        let last = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.dir(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir, last.to_owned()))
    }

    /// The names in a folder, sorted.
    pub fn within(&self, dir: Dir) -> impl Iterator<Item = (&Name, &Entry)> {
        self.0.range((dir, OsString::new())..(dir + 1, OsString::new()))
    }

    /// Every file that a path leads to, sorted by it.
    pub fn files(&self) -> Vec<(PathBuf, Node)> {
        let mut files = Vec::new();
        self.walk(ROOT, Path::new("/"), &mut |path, entry| {
            if let Entry::File(node) = entry {
                files.push((path, node.clone()));
            }
        });
        files
    }

    fn walk(&self, dir: Dir, at: &Path, visit: &mut dyn FnMut(PathBuf, &Entry)) {
        for ((_, name), entry) in self.within(dir) {
            let path = at.join(name);
            if let Entry::Dir(inner) = entry {
                self.walk(*inner, &path, visit);
            }
            visit(path, entry);
        }
    }

    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(name, entry) => {
                self.0.insert(name, entry);
            }
            Change::Remove(name) => {
                self.0.remove(&name);
            }
            Change::Rename(from, to, entry) => {
                self.0.remove(&from);
                self.0.insert(to, entry);
            }
        }
    }

    /// Forgets what no path leads to: names in folders whose own names are lost.
    pub fn prune(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        self.walk(ROOT, Path::new("/"), &mut |_, entry| {
            if let Entry::Dir(dir) = entry {
                reached.insert(*dir);
            }
        });
        self.0.retain(|(dir, _), _| reached.contains(dir));
    }

    /// The same names for copies of the files.
    pub fn copied(&self) -> Self {
        let copy = |entry: &Entry| match entry {
            Entry::File(node) => Entry::File(Arc::new(Mutex::new(node.lock().clone()))),
            Entry::Dir(dir) => Entry::Dir(*dir),
        };
        Self(self.0.iter().map(|(name, entry)| (name.clone(), copy(entry))).collect())
    }

    /// Files and folders in `dir` with all that is in them, what is inside first.
    pub fn below(&self, dir: Dir) -> Vec<Name> {
        let mut names = Vec::new();
        for (name, entry) in self.within(dir) {
            if let Entry::Dir(inner) = entry {
                names.extend(self.below(*inner));
            }
            names.push(name.clone());
        }
        names
    }
}
