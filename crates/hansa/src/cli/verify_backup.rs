//! `hansa verify-backup`: a backup's every byte, and its states through their machines.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use hansa_backup::verify::{self, Folder};
use hansa_wal::fs::{Fs, RealFs};

use super::Exit;
use crate::node::verify_states;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup's folder.
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// A folder with room for the largest state; thrown away after.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// # Errors
/// What is damaged, with file and offset.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let shelf = Folder(args.backup.clone());
    let manifest = verify::manifest(&shelf)?;
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let own = || std::env::temp_dir().join(format!("hansa-verify-{}", manifest.id));
    let scratch = args.scratch.clone().unwrap_or_else(own);
    fs.create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    let checked = verify_states(&fs, &scratch, &shelf, &manifest, &mut |_| {});
    if args.scratch.is_none() {
        fs.remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    }
    let checked = checked?;
    println!(
        "{}: {} groups of {} in epoch {}, {} bytes, {} entries: hashes, chains and states are good",
        manifest.id,
        checked.groups,
        manifest.region,
        manifest.epoch,
        checked.bytes,
        checked.entries
    );
    Ok(Exit::Done)
}
