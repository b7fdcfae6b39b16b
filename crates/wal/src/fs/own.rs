//! A node's own disk: a sync that fails on it is the node's end, whoever asked for it.
//!
//! After a failed sync the kernel takes the pages for clean, and a second one says that all is
//! well. So nobody is left to try: the process ends with the file and the error, and where an end
//! is only simulated no later sync reaches the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hansa_node::env::{Env, Exit};

use super::{File, Fs, Lock, Names, Op, Space};

/// The disk and the surroundings of a node that ends over its first failed sync.
///
/// The node's end has one reason, the first: what follows from it is not told. Doing this twice is
/// doing it once.
pub fn end_unsynced(fs: Arc<dyn Fs>, env: &Env) -> (Arc<dyn Fs>, Env) {
    let (told, failed) = Default::default();
    let end = Arc::new(End { exit: env.exit.clone(), told, failed });
    let env = Env { exit: end.clone(), ..env.clone() };
    (Arc::new(OwnDisk { fs, end }), env)
}

struct End {
    exit: Arc<dyn Exit>,
    told: AtomicBool,
    /// The sync that failed.
    failed: OnceLock<String>,
}

impl Exit for End {
    fn exit(&self, why: &str) {
        if !self.told.swap(true, Ordering::SeqCst) {
            self.exit.exit(why);
        }
    }
}

impl End {
    /// Syncs, unless a sync has failed before.
    ///
    /// # Errors
    /// Never one that [`is_full`](super::is_full) is true of: nothing is to be waited for.
    fn sync(&self, path: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if let Some(why) = self.failed.get() {
            return Err(io::Error::other(format!("after a failed sync: {why}")));
        }
        sync().map_err(|error| {
            let why = format!("sync {}: {error}", path.display());
            let why = self.failed.get_or_init(|| why);
            self.exit(why);
            io::Error::other(why.clone())
        })
    }
}

struct OwnDisk {
    fs: Arc<dyn Fs>,
    end: Arc<End>,
}

impl OwnDisk {
    fn file(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(OwnFile { path: path.to_owned(), file, end: self.end.clone() })
    }
}

impl Fs for OwnDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir(dir)
    }

    fn may_have_made(&self, dir: &Path) -> io::Result<bool> {
        self.fs.may_have_made(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.fs.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.fs.exists(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.fs.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.fs.open(path)?))
    }

    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.fs.create_private(path)?))
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        self.fs.read(path, max)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.fs.remove_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename_new(from, to)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Names>> {
        let (names, end) = (self.fs.open_dir(dir)?, self.end.clone());
        Ok(Arc::new(OwnNames { path: dir.to_owned(), names, end }))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.fs.lock(path)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.fs.space(dir)
    }

    fn latency(&self, op: Op) -> Duration {
        self.fs.latency(op)
    }
}

struct OwnNames {
    path: PathBuf,
    names: Arc<dyn Names>,
    end: Arc<End>,
}

impl Names for OwnNames {
    fn sync(&self) -> io::Result<()> {
        self.end.sync(&self.path, || self.names.sync())
    }
}

struct OwnFile {
    path: PathBuf,
    file: Arc<dyn File>,
    end: Arc<End>,
}

impl File for OwnFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.end.sync(&self.path, || self.file.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use hansa_node::env::test::seeded;
    use hansa_types::time::WallTime;

    use super::super::{Rule, SimFs, is_full, replace};
    use super::*;

    #[tokio::test]
    async fn the_first_failed_sync_is_the_last_and_the_nodes_one_reason_to_end() {
        let syncs =
            [("/d/a.tmp", "sync /d/a.tmp: no storage space"), ("/d", "sync /d: no storage space")];
        for (n, (on, why)) in syncs.into_iter().enumerate() {
            let disk = SimFs::new(1);
            let (env, exit) = seeded("a", 1, WallTime(0));
            let (fs, env) = end_unsynced(Arc::new(disk.clone()), &env);
            let (fs, env) = end_unsynced(fs, &env);
            fs.create_dir_all(Path::new("/d")).unwrap();
            let other = fs.create(Path::new("/d/other")).unwrap();
            let before = disk.syncs();
            disk.inject(Rule::once(Op::Sync).at(Path::new(on)).full());
            let failed = replace(fs.as_ref(), Path::new("/d"), "a", b"x").unwrap_err();
            assert!(!is_full(&failed), "{failed}");
            assert_eq!(exit.whys(), [why]);
            let again = replace(fs.as_ref(), Path::new("/d"), "b", b"y").unwrap_err();
            assert!(again.to_string().contains(why), "{again}");
            fs.sync_dir(Path::new("/d")).unwrap_err();
            other.sync_data().unwrap_err();
            env.exit.exit("what follows from it");
            assert_eq!(exit.whys(), [why], "told once");
            assert_eq!(disk.syncs(), before + n as u64, "no second try");
        }
    }

    #[tokio::test]
    async fn a_folder_that_does_not_open_is_no_failed_sync() {
        let (env, exit) = seeded("a", 1, WallTime(0));
        let temp = tempfile::tempdir().unwrap();
        let (fs, _) = end_unsynced(Arc::new(super::super::RealFs), &env);
        let gone = fs.sync_dir(&temp.path().join("gone")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        let away = temp.path().join("away");
        std::os::unix::fs::symlink(&away, &away).unwrap();
        let looped = fs.sync_dir(&away).unwrap_err();
        assert_ne!(looped.kind(), io::ErrorKind::NotFound);
        assert_eq!(exit.whys(), Vec::<String>::new());
        fs.sync_dir(temp.path()).unwrap();
    }
}
