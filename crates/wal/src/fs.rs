//! The file system as the log, the checkpoints and the archive see it.
//!
//! Small on purpose, and synchronous: the loops that call it own a thread in production. What is
//! not synced may be lost: file content until [`File::sync_data`], names until [`Fs::sync_dir`].

mod own;
mod real;
mod sim;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::own::end_unsynced;
pub use self::real::RealFs;
pub use self::sim::{Rule, SimFs};

/// Whether this build syncs at all. Only the program that a test proves itself with does not.
pub const SYNCS: bool = cfg!(not(feature = "unsafe-no-sync"));

/// What a loop is about to do, for [`Fs::latency`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write,
    Sync,
}

/// A file system's room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Bytes that can still be written, by who is not root.
    pub free: u64,
    pub total: u64,
}

/// Whether an error says that the disk is full: then later may be better, unlike with any other.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The folder that a name lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A small file's first `max` bytes; `None` when there is no such file.
///
/// # Errors
/// Any other failure to open or read it.
pub fn read_start(fs: &dyn Fs, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = usize::try_from(file.len()?.min(max)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// Puts `bytes` in place of the small file `name` in `dir`, whole or not at all; durable on return.
pub fn replace(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = dir.join(format!("{name}.tmp"));
    let file = fs.create(&aside)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    fs.rename(&aside, &dir.join(name))?;
    fs.sync_dir(dir)
}

/// Names and files.
pub trait Fs: Send + Sync + 'static {
    /// Creates the folder `dir` in one that is there, if it is not. The name needs
    /// [`Fs::sync_dir`].
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether a process like this one can have made the folder.
    fn may_have_made(&self, _dir: &Path) -> io::Result<bool> {
        Ok(true)
    }
    /// Creates `dir` and what leads to it; durable on return.
    ///
    /// Each name is synced before anything is made below it. So of what is there only the last
    /// folder on the way may lack it: a process was killed just before.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let way = dir.ancestors().filter(|at| !at.as_os_str().is_empty());
        let mut lacking = Vec::new();
        for at in way {
            if self.exists(at)? {
                if at.parent().is_some() && self.may_have_made(at)? {
                    self.sync_dir(parent(at))?;
                }
                break;
            }
            lacking.push(at);
        }
        for at in lacking.into_iter().rev() {
            self.create_dir(at)?;
            self.sync_dir(parent(at))?;
        }
        Ok(())
    }
    /// The names in `dir`, sorted; folders included.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether `path` is a file or a folder.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Creates an empty file, or empties the one that is there. The name needs [`Fs::sync_dir`].
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading and writing; `NotFound` when it is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// As [`Fs::create`], for what nobody but its owner may read.
    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.create(path)
    }
    /// Reads a file that is at most `max` bytes long, without the right to write it.
    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let len = file.len()?;
        let small = usize::try_from(len).ok().filter(|_| len <= max);
        let mut bytes = vec![0; small.ok_or(io::ErrorKind::FileTooLarge)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
    /// Removes a file. Open handles keep its content.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it; nothing to remove is fine.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file or folder inside one file system, replacing a file that is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// As [`Fs::rename`] for a file, but `AlreadyExists` where one is there.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.exists(to)? {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => self.rename(from, to),
        }
    }
    /// Opens a folder, for its names to be synced.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Names>>;
    /// Makes creations, removals and renames in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }
    /// Takes the lock file at `path`, held until the value is dropped; `WouldBlock` when it is
    /// taken.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
    /// The room of the file system that `dir` lies on.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// How long an async caller sleeps before the operation. Zero in production, where it just
    /// takes its time.
    fn latency(&self, _op: Op) -> Duration {
        Duration::ZERO
    }
}

/// A held lock; dropping it lets go.
pub type Lock = Box<dyn Any + Send + Sync>;

/// An open folder.
pub trait Names: Send + Sync + 'static {
    /// Makes creations, removals and renames in it durable. After an error nothing may be assumed:
    /// end the process.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`, or fails having written an unknown part.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Reserves disk space up to `len` and grows the file to it, reading as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Makes content and length durable. After an error nothing may be assumed: end the process.
    fn sync_data(&self) -> io::Result<()>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads exactly `buf.len()` bytes, else `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self.read_at(buf, offset)? {
            n if n == buf.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
