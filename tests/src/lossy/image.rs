//! The names of a lossy disk: folders whose changes are lost until the folder is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::Cut;
use super::content::Content;

pub type Ino = u64;
pub const ROOT: Ino = 1;

/// A whole disk, as it is shown and as a power cut would leave it.
#[derive(Debug)]
pub struct Image {
    /// Contents of files, by number.
    below: PathBuf,
    next: Ino,
    nodes: BTreeMap<Ino, Node>,
    /// Handles on files: their content outlives their names.
    open: BTreeMap<Ino, u64>,
}

#[derive(Debug)]
struct Node {
    /// Its last path, to choose what fails.
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File(Content),
    Dir(Dir),
}

type Names = BTreeMap<OsString, Ino>;

#[derive(Debug, Default)]
struct Dir {
    live: Names,
    synced: Names,
    /// Changes since the last sync, in order: a torn cut keeps some of the first.
    pending: Vec<Change>,
}

/// Names that change together, as in a rename.
type Change = Vec<(OsString, Option<Ino>)>;

impl Dir {
    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }
}

fn apply(names: &mut Names, change: &Change) {
    for (name, to) in change {
        match to {
            Some(ino) => names.insert(name.clone(), *ino),
            None => names.remove(name),
        };
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Image {
    /// An empty disk whose synced contents lie in `below`.
    #[must_use]
    pub fn new(below: &Path) -> Self {
        let root = Node { path: PathBuf::new(), kind: Kind::Dir(Dir::default()) };
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self { below: below.to_owned(), next: ROOT + 1, nodes, open: BTreeMap::new() }
    }

    /// # Errors
    /// No such name.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> io::Result<Ino> {
        self.dir(parent)?.live.get(name).copied().ok_or_else(missing)
    }

    /// # Errors
    /// No such node.
    pub fn is_dir(&self, ino: Ino) -> io::Result<bool> {
        let node = self.nodes.get(&ino).ok_or_else(missing)?;
        Ok(matches!(node.kind, Kind::Dir(_)))
    }

    #[must_use]
    pub fn path(&self, ino: Ino) -> &Path {
        self.nodes.get(&ino).map_or(Path::new(""), |node| &node.path)
    }

    /// # Errors
    /// Not a file.
    pub fn file(&mut self, ino: Ino) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&ino).map(|node| &mut node.kind) {
            Some(Kind::File(content)) => Ok(content),
            _ => Err(missing()),
        }
    }

    /// Names with their nodes, in order.
    ///
    /// # Errors
    /// Not a folder.
    pub fn list(&self, ino: Ino) -> io::Result<Vec<(OsString, Ino)>> {
        let names = &self.dir(ino)?.live;
        Ok(names.iter().map(|(name, ino)| (name.clone(), *ino)).collect())
    }

    /// A new empty file.
    ///
    /// # Errors
    /// The name is taken, or the real disk's.
    pub fn create(&mut self, parent: Ino, name: &OsStr) -> io::Result<Ino> {
        let below = self.below.join(self.next.to_string());
        let mut how = OpenOptions::new();
        let file = how.read(true).write(true).create(true).truncate(true).open(below)?;
        self.add(parent, name, Kind::File(Content::new(file)))
    }

    /// # Errors
    /// The name is taken.
    pub fn make_dir(&mut self, parent: Ino, name: &OsStr) -> io::Result<Ino> {
        self.add(parent, name, Kind::Dir(Dir::default()))
    }

    fn add(&mut self, parent: Ino, name: &OsStr, kind: Kind) -> io::Result<Ino> {
        if self.lookup(parent, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (ino, path) = (self.next, self.path(parent).join(name));
        self.dir_mut(parent)?.change(vec![(name.to_owned(), Some(ino))]);
        self.nodes.insert(ino, Node { path, kind });
        self.next += 1;
        Ok(ino)
    }

    /// Removes a file's name, or an empty folder.
    ///
    /// # Errors
    /// No such name, or a folder that is not empty.
    pub fn remove(&mut self, parent: Ino, name: &OsStr) -> io::Result<()> {
        let ino = self.lookup(parent, name)?;
        if self.is_dir(ino)? && !self.dir(ino)?.live.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.dir_mut(parent)?.change(vec![(name.to_owned(), None)]);
        Ok(())
    }

    /// # Errors
    /// No such name.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> io::Result<()> {
        let ino = self.lookup(from.0, from.1)?;
        let (gone, here) = ((from.1.to_owned(), None), (to.1.to_owned(), Some(ino)));
        if from.0 == to.0 {
            self.dir_mut(from.0)?.change(vec![gone, here]);
        } else {
            self.dir_mut(to.0)?.change(vec![here]);
            self.dir_mut(from.0)?.change(vec![gone]);
        }
        let path = self.path(to.0).join(to.1);
        self.nodes.get_mut(&ino).ok_or_else(missing)?.path = path;
        Ok(())
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Not a folder.
    pub fn sync_dir(&mut self, ino: Ino) -> io::Result<()> {
        let dir = self.dir_mut(ino)?;
        dir.synced = dir.live.clone();
        dir.pending.clear();
        self.sweep();
        Ok(())
    }

    pub fn opened(&mut self, ino: Ino) {
        *self.open.entry(ino).or_default() += 1;
    }

    pub fn released(&mut self, ino: Ino) {
        if let Some(count) = self.open.get_mut(&ino) {
            *count = count.saturating_sub(1);
        }
        self.open.retain(|_, count| *count > 0);
    }

    /// The power goes: names and contents become what was synced, and by chance a little more.
    ///
    /// # Errors
    /// The real disk's.
    pub fn cut(&mut self, how: &mut Cut) -> io::Result<()> {
        for node in self.nodes.values_mut() {
            match &mut node.kind {
                Kind::File(content) => content.cut(how)?,
                Kind::Dir(dir) => {
                    let pending = std::mem::take(&mut dir.pending);
                    if let Cut::Torn { dice, .. } = how {
                        let kept = dice.below(pending.len() as u64 + 1) as usize;
                        pending.iter().take(kept).for_each(|one| apply(&mut dir.synced, one));
                    }
                    dir.live = dir.synced.clone();
                }
            }
        }
        self.open.clear();
        self.sweep();
        Ok(())
    }

    /// Forgets what no name leads to, now or after a cut, and nobody has open.
    fn sweep(&mut self) {
        let mut reached: BTreeSet<Ino> = self.open.keys().copied().collect();
        let mut next = vec![ROOT];
        while let Some(ino) = next.pop() {
            if reached.insert(ino)
                && let Ok(dir) = self.dir(ino)
            {
                let pending = dir.pending.iter().flatten().filter_map(|(_, to)| to.as_ref());
                next.extend(dir.live.values().chain(dir.synced.values()).chain(pending));
            }
        }
        let gone: Vec<Ino> =
            self.nodes.keys().filter(|ino| !reached.contains(ino)).copied().collect();
        for ino in gone {
            self.nodes.remove(&ino);
            // A folder has nothing below.
            drop(std::fs::remove_file(self.below.join(ino.to_string())));
        }
    }

    fn dir(&self, ino: Ino) -> io::Result<&Dir> {
        match self.nodes.get(&ino).map(|node| &node.kind) {
            Some(Kind::Dir(dir)) => Ok(dir),
            Some(Kind::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(missing()),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(&ino).map(|node| &mut node.kind) {
            Some(Kind::Dir(dir)) => Ok(dir),
            Some(Kind::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(missing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn with<T>(test: impl FnOnce(&mut Image) -> T) -> T {
        let below = tempfile::tempdir().expect("a folder");
        test(&mut Image::new(below.path()))
    }

    fn synced(image: &mut Image, parent: Ino, file: &str, bytes: &[u8]) -> Ino {
        let ino = image.create(parent, name(file)).expect("creates");
        let content = image.file(ino).expect("a file");
        content.write(0, bytes).and_then(|()| content.sync()).expect("writes");
        ino
    }

    fn shown(image: &mut Image, file: &str) -> Option<Vec<u8>> {
        let ino = image.lookup(ROOT, name(file)).ok()?;
        Some(image.file(ino).expect("a file").read(0, 100).expect("reads"))
    }

    #[test]
    fn a_synced_file_in_an_unsynced_folder_is_lost() {
        with(|image| {
            synced(image, ROOT, "a", b"a");
            image.sync_dir(ROOT).expect("syncs");
            synced(image, ROOT, "b", b"b");
            image.cut(&mut Cut::Clean).expect("cut");
            assert_eq!((shown(image, "a"), shown(image, "b")), (Some(b"a".to_vec()), None));
        });
    }

    #[test]
    fn a_rename_before_the_folder_is_synced_is_undone_by_a_cut() {
        with(|image| {
            synced(image, ROOT, "x", b"old");
            image.sync_dir(ROOT).expect("syncs");
            synced(image, ROOT, "x.tmp", b"new");
            image.rename((ROOT, name("x.tmp")), (ROOT, name("x"))).expect("renames");
            assert_eq!(shown(image, "x"), Some(b"new".to_vec()));
            image.cut(&mut Cut::Clean).expect("cut");
            assert_eq!((shown(image, "x"), shown(image, "x.tmp")), (Some(b"old".to_vec()), None));
        });
    }

    #[test]
    fn a_removed_file_comes_back_until_its_folder_is_synced() {
        with(|image| {
            synced(image, ROOT, "a", b"a");
            image.sync_dir(ROOT).expect("syncs");
            image.remove(ROOT, name("a")).expect("removes");
            image.cut(&mut Cut::Clean).expect("cut");
            assert_eq!(shown(image, "a"), Some(b"a".to_vec()));
            image.remove(ROOT, name("a")).expect("removes");
            image.sync_dir(ROOT).expect("syncs");
            image.cut(&mut Cut::Clean).expect("cut");
            assert_eq!(shown(image, "a"), None);
        });
    }

    #[test]
    fn a_torn_cut_keeps_the_first_changes_of_a_folder_and_a_rename_whole() {
        for seed in 0..50 {
            with(|image| {
                synced(image, ROOT, "x", b"old");
                image.sync_dir(ROOT).expect("syncs");
                synced(image, ROOT, "x.tmp", b"new");
                image.rename((ROOT, name("x.tmp")), (ROOT, name("x"))).expect("renames");
                image.cut(&mut Cut::Torn { unit: 512, dice: Dice::new(seed) }).expect("cut");
                let (x, aside) = (shown(image, "x"), shown(image, "x.tmp"));
                assert!(x.is_some(), "a rename leaves one or the other");
                assert!(x == Some(b"old".to_vec()) || aside.is_none());
            });
        }
    }
}
