//! `hansactl backup list` and `prune`: the backups in a folder, and when each is to be deleted.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use hansa_backup::manifest::PartKind;
use hansa_backup::part::head;
use hansa_backup::verify::{Damage, Folder, manifest};
use hansa_backup::{MANIFEST, Manifest};

use super::disk;
use crate::error::{Problem, WRONG};
use crate::output::Rows;
use crate::values::time_ms;

type Backup = (PathBuf, Result<Manifest, Unclear>);

/// Why nobody knows until when a backup may be kept.
#[derive(Debug)]
enum Unclear {
    Damaged(Damage),
    /// It has no manifest.
    Unfinished,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) => write!(f, "{damage}"),
            Self::Unfinished => f.write_str("unfinished: delete it, unless it is being made"),
        }
    }
}

/// Exit code 1 when a manifest cannot be read, or there is none beside what was copied: nobody
/// knows until when that one may be kept.
pub fn list(shelf: &Path) -> Result<ExitCode, Problem> {
    let (found, now) = (find(shelf)?, now_ms());
    let mut rows = Rows::new(
        &["backup", "region", "epoch", "cut", "MiB", "keep until", ""],
        "no backup in this folder",
    );
    for (folder, read) in &found {
        let name = folder.display().to_string();
        rows.add(match read {
            Ok(manifest) => [
                name,
                manifest.region.clone(),
                manifest.epoch.to_string(),
                time_ms(manifest.cut_ms),
                format!("{:.1}", manifest.bytes() as f64 / f64::from(1 << 20)),
                time_ms(manifest.keep_until_ms),
                if is_over(manifest, now) { "over: prune it".to_owned() } else { String::new() },
            ],
            Err(damage) => {
                let dash = || "-".to_owned();
                [name, dash(), dash(), dash(), dash(), dash(), damage.to_string()]
            }
        });
    }
    rows.print();
    Ok(code(&found))
}

/// Deletes what is over; a backup whose manifest does not read, that has none yet, or that lies
/// around something that is not its own, is left alone and named.
pub fn prune(shelf: &Path, dry_run: bool) -> Result<ExitCode, Problem> {
    let (found, now) = (find(shelf)?, now_ms());
    let mut code = code(&found);
    for (folder, read) in &found {
        let name = folder.display();
        match read {
            Ok(manifest) if is_over(manifest, now) => {
                if let Some(stray) = stray(folder, manifest)? {
                    let why = "is no part of this backup: move it elsewhere, then repeat";
                    eprintln!("{name}: left alone: {} {why}", stray.display());
                    code = ExitCode::from(WRONG);
                    continue;
                }
                let until = time_ms(manifest.keep_until_ms);
                if !dry_run {
                    delete(folder)?;
                }
                let done = if dry_run { "would be deleted" } else { "deleted" };
                println!("{name}: {done}: {} was to be kept until {until}", manifest.id);
            }
            Ok(_) => {}
            Err(damage) => eprintln!("{name}: left alone: {damage}"),
        }
    }
    Ok(code)
}

/// Something in a backup's folder that its manifest does not name.
fn stray(folder: &Path, manifest: &Manifest) -> Result<Option<PathBuf>, Problem> {
    for path in inside(folder)? {
        if path.ends_with(MANIFEST) {
            continue;
        }
        if !manifest.groups.iter().any(|group| path.ends_with(&group.name)) {
            return Ok(Some(path));
        }
        let own = |path: &PathBuf| PartKind::ALL.iter().any(|kind| path.ends_with(kind.as_str()));
        if let Some(path) = inside(&path)?.into_iter().find(|path| !own(path)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whatever falls in between, what is left is no backup, and is found by its manifest until then.
fn delete(folder: &Path) -> Result<(), Problem> {
    let at = |error| disk(folder, error);
    for path in inside(folder)?.iter().filter(|path| !path.ends_with(MANIFEST)) {
        fs::remove_dir_all(path).map_err(at)?;
    }
    fs::remove_dir_all(folder).map_err(at)
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let at = |error| disk(folder, error);
    let entries = fs::read_dir(folder).map_err(at)?.collect::<Result<Vec<_>, _>>().map_err(at)?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// The backups in a folder by name, or the folder's own.
fn find(shelf: &Path) -> Result<Vec<Backup>, Problem> {
    if let Some(read) = read(shelf) {
        return Ok(vec![(shelf.to_owned(), read)]);
    }
    let folders = inside(shelf)?.into_iter();
    Ok(folders.filter_map(|folder| read(&folder).map(|read| (folder, read))).collect())
}

/// The backup that lies in a folder itself.
fn read(folder: &Path) -> Option<Result<Manifest, Unclear>> {
    if folder.join(MANIFEST).exists() {
        return Some(manifest(&Folder(folder.to_owned())).map_err(Unclear::Damaged));
    }
    // The manifest comes last. Whatever was copied before it is as much a copy.
    let parts = |folder: &PathBuf| PartKind::ALL.iter().any(|kind| begun(folder, *kind));
    let unfinished = inside(folder).ok()?.iter().any(parts);
    unfinished.then_some(Err(Unclear::Unfinished))
}

/// Whether a group's folder has a part, or the beginning of one.
fn begun(group: &Path, kind: PartKind) -> bool {
    let expected = head(kind);
    let mut found = vec![0; expected.len()];
    let file = fs::File::open(group.join(kind.as_str()));
    file.is_ok_and(|mut file| file.read_exact(&mut found).is_ok()) && found[..] == expected[..]
}

fn is_over(manifest: &Manifest, now_ms: u64) -> bool {
    manifest.keep_until_ms < now_ms
}

fn code(found: &[Backup]) -> ExitCode {
    let unread = found.iter().any(|(_, read)| read.is_err());
    if unread { ExitCode::from(WRONG) } else { ExitCode::SUCCESS }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use hansa_backup::manifest::{FORMAT, Group, Part};
    use hansa_types::id::{GroupId, GroupKind};

    use super::*;

    fn backup(shelf: &Path, name: &str, keep_until_ms: u64) {
        let mut manifest = Manifest {
            format: FORMAT,
            id: name.to_owned(),
            region: "eu-west".to_owned(),
            number: 1,
            epoch: 1,
            cut_ms: 1,
            keep_until_ms,
            groups: vec![Group {
                name: "orders-0".to_owned(),
                group: GroupId::new(GroupKind::Orders, 0).number(),
                node: 1,
                index: 1,
                term: 1,
                log_time_ms: 1,
                state_hash: String::new(),
                chain_head: String::new(),
                records: 0,
                parts: PartKind::ALL
                    .map(|kind| Part { kind, bytes: 7, frames: 1, blake3: String::new() })
                    .to_vec(),
            }],
            hash: String::new(),
        };
        manifest.seal();
        let folder = shelf.join(name);
        fs::create_dir_all(folder.join("orders-0")).unwrap();
        fs::write(folder.join("orders-0/state"), "a state").unwrap();
        fs::write(folder.join(MANIFEST), manifest.to_json()).unwrap();
    }

    #[test]
    fn what_is_over_is_deleted_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = dir.path();
        backup(shelf, "over", 2);
        backup(shelf, "kept", u64::MAX);
        backup(shelf, "damaged", 2);
        let manifest = shelf.join("damaged").join(MANIFEST);
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(manifest, text.replace("eu-west", "us-east")).unwrap();
        fs::create_dir(shelf.join("no-backup")).unwrap();
        fs::create_dir_all(shelf.join("unfinished/payments-1")).unwrap();
        let part = shelf.join("unfinished/payments-1").join(PartKind::Records.as_str());
        fs::write(part, head(PartKind::Records)).unwrap();
        let there = || {
            let names = fs::read_dir(shelf).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        let found = find(shelf).unwrap();
        let unfinished = |(folder, read): &&Backup| {
            folder.ends_with("unfinished") && matches!(read, Err(Unclear::Unfinished))
        };
        assert_eq!((found.len(), found.iter().filter(unfinished).count()), (4, 1));
        assert_eq!(format!("{:?}", code(&found)), format!("{:?}", ExitCode::from(WRONG)));
        assert!(matches!(read(&shelf.join("unfinished")), Some(Err(Unclear::Unfinished))));
        let before = there();
        prune(shelf, true).unwrap();
        assert_eq!(there(), before, "only named");
        prune(shelf, false).unwrap();
        assert_eq!(there(), ["damaged", "kept", "no-backup", "unfinished"]);
        backup(shelf, "around", 2);
        backup(&shelf.join("around"), "kept", u64::MAX);
        prune(shelf, false).unwrap();
        assert!(shelf.join("around/kept").join(MANIFEST).exists(), "it was never listed");
        fs::remove_dir_all(shelf.join("around")).unwrap();
        prune(&shelf.join("kept"), false).unwrap();
        assert_eq!(there(), ["damaged", "kept", "no-backup", "unfinished"]);
        assert!(find(&shelf.join("none")).is_err());
        list(shelf).unwrap();
    }
}
