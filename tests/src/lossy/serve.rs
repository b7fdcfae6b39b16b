//! What the kernel asks of a lossy disk, verb by verb. Nothing is cached on its side.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::image::{Image, Ino};
use super::{Op, Shared};

/// Nothing is remembered: a cut changes names and contents behind the kernel's back.
const TTL: Duration = Duration::ZERO;
const BLOCK: u32 = 4_096;
/// What there is always room for: 64 GiB.
const BLOCKS: u64 = 1 << 24;

pub struct Serve {
    shared: Arc<Shared>,
}

impl Serve {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Image) -> io::Result<T>) -> Result<T, Errno> {
        work(&mut self.shared.image()).map_err(|error| errno(&error))
    }

    /// Refused when it was asked for.
    fn faulty(&self, op: Op, ino: Ino) -> bool {
        let faults = self.shared.faults();
        let hit = |path: &Path, part: &str| path.to_string_lossy().contains(part);
        faults.eio.is_some_and(|(bad, part)| bad == op && hit(self.shared.image().path(ino), part))
    }

    fn sync(&self, ino: Ino, work: impl FnOnce(&mut Image) -> io::Result<()>, reply: ReplyEmpty) {
        let faults = self.shared.faults();
        // Outside the lock: reads and writes of others go on.
        std::thread::sleep(faults.sync_delay);
        if self.faulty(Op::Sync, ino) {
            if let Ok(content) = self.shared.image().file(ino) {
                content.forsake();
            }
            return reply.error(Errno::EIO);
        }
        match faults.lies {
            true => reply.ok(),
            false => empty(self.with(work), reply),
        }
    }
}

/// The system's number, by kind where the error is ours.
fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        _ if error.raw_os_error().is_some() => Errno::from_i32(error.raw_os_error().unwrap_or(0)),
        io::ErrorKind::NotFound => Errno::ENOENT,
        io::ErrorKind::AlreadyExists => Errno::EEXIST,
        io::ErrorKind::NotADirectory => Errno::ENOTDIR,
        io::ErrorKind::DirectoryNotEmpty => Errno::ENOTEMPTY,
        _ => Errno::EIO,
    }
}

fn empty(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn attr(image: &mut Image, ino: Ino) -> io::Result<FileAttr> {
    let dir = image.is_dir(ino)?;
    let size = if dir { 0 } else { image.file(ino)?.len() };
    let at = SystemTime::UNIX_EPOCH;
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: at,
        mtime: at,
        ctime: at,
        crtime: at,
        kind: if dir { FileType::Directory } else { FileType::RegularFile },
        perm: if dir { 0o755 } else { 0o644 },
        nlink: if dir { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

impl Filesystem for Serve {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.with(|image| {
            let ino = image.lookup(parent.0, name)?;
            attr(image, ino)
        });
        match found {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|image| attr(image, ino.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    /// Only the length is kept; rights and times are not.
    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.with(|image| {
            if let Some(size) = size {
                image.file(ino.0)?.set_len(size)?;
            }
            attr(image, ino.0)
        });
        match set {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.with(|image| {
            let ino = image.make_dir(parent.0, name)?;
            attr(image, ino)
        });
        match made {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.with(|image| image.remove(parent.0, name)), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.with(|image| image.remove(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        empty(self.with(|image| image.rename(from, to)), reply);
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.with(|image| {
            let ino = image.create(parent.0, name)?;
            image.opened(ino);
            attr(image, ino)
        });
        match made {
            Ok(attr) => {
                let direct = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), direct);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.shared.image().opened(ino.0);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.image().released(ino.0);
        reply.ok();
    }

    /// A close makes nothing durable.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if self.faulty(Op::Read, ino.0) {
            return reply.error(Errno::EIO);
        }
        match self.with(|image| image.file(ino.0)?.read(offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.faulty(Op::Write, ino.0) {
            return reply.error(Errno::EIO);
        }
        match self.with(|image| image.file(ino.0)?.write(offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.sync(ino.0, |image| image.file(ino.0)?.sync(), reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.sync(ino.0, |image| image.sync_dir(ino.0), reply);
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let grown = self.with(|image| {
            let file = image.file(ino.0)?;
            file.set_len(file.len().max(offset + length))
        });
        empty(grown, reply);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.with(|image| {
            let mut all = vec![(".".into(), ino.0, true), ("..".into(), ino.0, true)];
            for (name, ino) in image.list(ino.0)? {
                all.push((name, ino, image.is_dir(ino)?));
            }
            Ok(all)
        });
        let entries = match listed {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        for (at, (name, ino, dir)) in (1..).zip(entries).skip(offset as usize) {
            let kind = if dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(ino), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK, 255, BLOCK);
    }
}
