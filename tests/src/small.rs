//! A disk that is soon full: an ext4 of a few MiB in a file, and ballast that comes and goes. Where
//! there is no loop device it is a tmpfs, and says so.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{scale, suite};

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
        if let Err(why) = mount_loop(folder, mib) {
            scale::aside(&format!(
                "{}: a tmpfs, as there is no loop filesystem here: {why}",
                folder.display()
            ));
            let size = format!("size={mib}m");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder))?;
        }
        Ok(Self { folder: folder.to_owned() })
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
        suite::fault("full disk");
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

/// An ext4 in a sparse file beside `folder`; the loop device goes when it is unmounted.
fn mount_loop(folder: &Path, mib: u32) -> io::Result<()> {
    let image = folder.with_extension("ext4");
    File::create(&image)?.set_len(u64::from(mib) << 20)?;
    // None of it is kept for root, as whom the tests run.
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
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
