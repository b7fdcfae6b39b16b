//! A disk that loses what was not synced: a FUSE pass-through, mounted as a node's data folder.
//!
//! Stricter than most: a write is durable after the file's sync only, a name after its folder's
//! only. At a power cut everything else is gone, or torn: some of it reached the disk and some not.
//! On demand it answers EIO, takes its time over a sync, or lies about it.

pub mod content;
pub mod image;
mod serve;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};

use self::image::Image;
use self::serve::Serve;
use crate::dice::Dice;
use crate::suite;

/// What the power takes with it.
#[derive(Clone, Debug)]
pub enum Cut {
    /// All that was not synced.
    Clean,
    /// Of what was not synced, some units of `unit` bytes and some names, as the dice say.
    Torn { unit: usize, dice: Dice },
}

/// What may go wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Read,
    Write,
    Sync,
}

/// What the disk does wrong from now on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// EIO to an operation on files whose path holds the text.
    pub eio: Option<(Op, &'static str)>,
    /// How long each sync takes on top.
    pub sync_delay: Duration,
    /// Syncs are answered and not done: the drive that lies.
    pub lies: bool,
}

/// A mounted lossy disk; unmounted when dropped.
pub struct LossyDisk {
    folder: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

struct Shared {
    image: Mutex<Image>,
    faults: Mutex<Faults>,
}

impl Shared {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> Faults {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why there can be no lossy disk here; `None`: there can.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.err().map(|error| format!("/dev/fuse: {error}"))
}

impl LossyDisk {
    /// Mounts an empty disk at `folder`; synced contents lie in `below`.
    ///
    /// # Errors
    /// The system's.
    pub fn mount(folder: &Path, below: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::create_dir_all(below)?;
        let (image, faults) = (Mutex::new(Image::new(below)), Mutex::default());
        let shared = Arc::new(Shared { image, faults });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("hansa-lossy".to_owned())];
        config.n_threads = Some(4);
        let session = fuser::spawn_mount(Serve::new(shared.clone()), folder, &config)?;
        Ok(Self { folder: folder.to_owned(), shared, session: Some(session) })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn set(&self, faults: Faults) {
        if let Some((op, _)) = faults.eio {
            suite::fault(match op {
                Op::Read => "EIO to reads",
                Op::Write => "EIO to writes",
                Op::Sync => "EIO to syncs",
            });
        }
        if faults.sync_delay > Duration::ZERO {
            suite::fault("slow syncs");
        }
        if faults.lies {
            suite::fault("disk that lies about syncs");
        }
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// The power goes and comes back. Nobody may have a file open: kill them first.
    ///
    /// # Errors
    /// The real disk's.
    pub fn cut(&self, how: &mut Cut) -> io::Result<()> {
        suite::fault(match how {
            Cut::Clean => "power cut of a disk, clean",
            Cut::Torn { .. } => "power cut of a disk, torn",
        });
        self.set(Faults::default());
        self.shared.image().cut(how)
    }
}

impl Drop for LossyDisk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("{} stays mounted: {error}", self.folder.display());
        }
    }
}
