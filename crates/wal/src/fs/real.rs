//! The machine's file system.

use std::fs::{self, File as StdFile, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Access, FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{File, Fs, Lock, Names, Space};

/// `std` and `fallocate`, nothing between.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    fn may_have_made(&self, dir: &Path) -> io::Result<bool> {
        let parent = super::parent(dir);
        // A mount's name lies on another disk, which may not even know what a sync is.
        let here = fs::metadata(dir)?.dev() == fs::metadata(parent)?.dev();
        let open = Access::READ_OK | Access::WRITE_OK;
        Ok(here && rustix::fs::access(parent, open).is_ok())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(dir)? {
            names.push(item?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(RealFile(how.open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Arc::new(RealFile(how.open(path)?)))
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One more than allowed, so that too long is not taken for whole.
        StdFile::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > max {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A link never replaces; of several who try at once, one succeeds.
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Names>> {
        Ok(Arc::new(RealNames(StdFile::open(dir)?)))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

struct RealNames(StdFile);

impl Names for RealNames {
    fn sync(&self) -> io::Result<()> {
        if !super::SYNCS {
            return Ok(());
        }
        self.0.sync_all()
    }
}

struct RealFile(StdFile);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve; zeros written take the space just as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeros(&self.0, len),
            Err(e) => Err(e.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        if !super::SYNCS {
            return Ok(());
        }
        self.0.sync_data()
    }
}

/// Appends zeros up to `len`; what the file already holds stays.
fn write_zeros(file: &StdFile, len: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    let mut at = file.seek(SeekFrom::End(0))?;
    let zeros = vec![0; 1 << 20];
    while at < len {
        let n = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        file.write_all(&zeros[..n])?;
        at += n as u64;
    }
    Ok(())
}
