//! A disk that is soon full: a tmpfs of a few MiB, and ballast that comes and goes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

const BLOCK: usize = 1 << 16;

/// A mounted small disk; unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

/// Why there can be none here; `None`: there can.
#[must_use]
pub fn missing() -> Option<String> {
    let root = rustix::process::geteuid().is_root();
    (!root).then(|| "mounting needs root".to_owned())
}

impl SmallDisk {
    /// # Errors
    /// What `mount` says.
    pub fn mount(folder: &Path, mib: u32) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output()?;
        match output.status.success() {
            true => Ok(Self { folder: folder.to_owned() }),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes ballast until `left` bytes are free.
    ///
    /// # Errors
    /// Any but a full disk.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        while self.free()? > left {
            match ballast.write_all(&[0x55; BLOCK]) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                written => written?,
            }
        }
        Ok(())
    }

    /// Throws the ballast away.
    ///
    /// # Errors
    /// The disk's.
    pub fn make_room(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg(&self.folder).status();
        if !gone.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.folder.display());
        }
    }
}
