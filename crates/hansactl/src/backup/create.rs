//! `hansactl backup create`: a cut, its groups side by side, the manifest last.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hansa_api::pb::admin::{EndBackupRequest, StartBackupRequest, StartBackupResponse};
use hansa_backup::manifest::FORMAT;
use hansa_backup::{MANIFEST, Manifest};

use super::{bar, disk, download, rate, request_id};
use crate::connect::{Role, Session};
use crate::error::Problem;

/// Groups that are copied at once.
const AT_ONCE: usize = 4;

pub async fn run(session: &Session, folder: &Path, keep: Duration) -> Result<(), Problem> {
    prepare(folder)?;
    let began = Instant::now();
    let request = StartBackupRequest { request_id: request_id(), region: session.region() };
    let cut = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.backups.start_backup(request).await
        })
        .await?;
    eprintln!(
        "cut {}: {} groups of {} in epoch {}; steps of sagas waited {} ms",
        cut.backup,
        cut.groups.len(),
        cut.region,
        cut.epoch,
        cut.held_ms
    );
    let copied = copy(session, folder, &cut, keep).await;
    // Whatever came of it: the nodes need not keep the cut any longer.
    end(session, &cut).await;
    let manifest = copied?;
    publish(folder, &manifest)?;
    let records: u64 = manifest.groups.iter().map(|group| group.records).sum();
    let entries: u64 = manifest.groups.iter().map(|group| group.index + 1).sum();
    println!(
        "{}: {} groups, {entries} entries, {records} records; {}",
        folder.display(),
        manifest.groups.len(),
        rate(manifest.bytes(), began.elapsed())
    );
    let until = crate::values::time_ms(manifest.keep_until_ms);
    eprintln!("to be deleted after {until}: hansactl backup prune, or delete the folder");
    eprintln!("the region's vault key is not in it: without the key nobody reads personal data");
    Ok(())
}

/// A backup is never mixed with another one.
fn prepare(folder: &Path) -> Result<(), Problem> {
    make(folder).map_err(|e| disk(folder, e))?;
    let mut there = fs::read_dir(folder).map_err(|e| disk(folder, e))?;
    if there.next().is_some() {
        let what = format!("{} is not empty", folder.display());
        return Err(Problem::usage(what, "give a new folder"));
    }
    Ok(())
}

/// Creates the folder and what leads to it; durable on return, as what will lie in it.
fn make(folder: &Path) -> io::Result<()> {
    let way = folder.ancestors().filter(|at| !at.as_os_str().is_empty());
    let lacking: Vec<&Path> = way.take_while(|at| !at.exists()).collect();
    fs::create_dir_all(folder)?;
    // The folder's own name too where somebody else has made it: perhaps a moment ago.
    for made in lacking.iter().copied().chain([folder]) {
        let parent = made.parent().filter(|at| !at.as_os_str().is_empty());
        match fs::File::open(parent.unwrap_or(Path::new("."))) {
            Ok(names) => names.sync_all()?,
            // Who may not read it has made nothing in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn copy(
    session: &Session,
    folder: &Path,
    cut: &StartBackupResponse,
    keep: Duration,
) -> Result<Manifest, Problem> {
    let bar = bar(None);
    bar.set_message(format!("copying {}", cut.region));
    let groups = cut.groups.iter().map(|group| download::group(session, folder, cut, group, &bar));
    let mut groups: Vec<_> = stream::iter(groups).buffer_unordered(AT_ONCE).try_collect().await?;
    bar.finish_and_clear();
    groups.sort_by_key(|group: &hansa_backup::Group| group.group);
    let mut manifest = Manifest {
        format: FORMAT,
        id: cut.backup.clone(),
        region: cut.region.clone(),
        number: u16::try_from(cut.region_number).unwrap_or_default(),
        epoch: cut.epoch,
        cut_ms: cut.cut_ms,
        keep_until_ms: cut
            .cut_ms
            .saturating_add(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
        groups,
        hash: String::new(),
    };
    manifest.seal();
    Ok(manifest)
}

async fn end(session: &Session, cut: &StartBackupResponse) {
    let (region, backup) = (session.region(), cut.backup.clone());
    let request = EndBackupRequest { request_id: request_id(), region, backup };
    let ended = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.backups.end_backup(request).await
        })
        .await;
    if let Err(problem) = ended {
        eprintln!("the cut was not let go ({}); it runs out by itself", problem.text());
    }
}

/// The manifest makes a folder a backup: it comes last, and all at once.
fn publish(folder: &Path, manifest: &Manifest) -> Result<(), Problem> {
    let (aside, file) = (folder.join("manifest.tmp"), folder.join(MANIFEST));
    let written = || {
        let mut out = fs::File::create(&aside)?;
        out.write_all(manifest.to_json().as_bytes())?;
        out.sync_all()?;
        fs::rename(&aside, &file)?;
        fs::File::open(folder)?.sync_all()
    };
    written().map_err(|e| disk(&file, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backups_folder_is_made_with_all_that_leads_to_it_and_only_an_empty_one_will_do() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("backups/eu-west/b-1");
        for _ in 0..2 {
            assert!(prepare(&folder).is_ok() && folder.is_dir(), "an empty one is as good as none");
        }
        assert!(make(Path::new("/")).is_ok(), "the root has no parent");
        fs::write(folder.join("x"), "y").unwrap();
        assert!(prepare(&folder).is_err());
        assert!(prepare(&folder.join("x")).is_err(), "no folder");
    }
}
