//! `hansactl backup verify`: offline; names file and offset of the first damage.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use hansa_backup::verify::{Damage, Folder, manifest};
use hansa_backup::{Checked, Manifest, verify};

use super::{bar, rate};
use crate::error::{Problem, WRONG};

pub fn run(folder: &Path) -> Result<ExitCode, Problem> {
    let began = Instant::now();
    match check(folder) {
        Ok((manifest, checked)) => {
            println!(
                "{}: {} groups of {} in epoch {}, {} entries in unbroken chains; {}",
                manifest.id,
                checked.groups,
                manifest.region,
                manifest.epoch,
                checked.entries,
                rate(checked.bytes, began.elapsed())
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(Damage::Io { file, source }) if source.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("{}: {file} is missing", folder.display());
            Err(Problem::usage(what, "a folder that `backup create` has finished"))
        }
        Err(damage) => {
            println!("{}: {damage}", folder.display());
            Ok(ExitCode::from(WRONG))
        }
    }
}

/// The whole backup, every byte of it.
pub fn check(folder: &Path) -> Result<(Manifest, Checked), Damage> {
    let shelf = Folder(folder.to_owned());
    let manifest = manifest(&shelf)?;
    let bar = bar(Some(manifest.bytes()));
    bar.set_message("verifying");
    let checked = verify(&shelf, &manifest, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    Ok((manifest, checked?))
}
