//! Backups: the same entries, records and states, in frames.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use hansa_backup::manifest::{BYTES_MAX, Group, Manifest, PartKind};
use hansa_backup::part::{Bad, Reader, StateBytes};
use hansa_consensus::inspect;
use hansa_wal::fs::{File, Fs};

use crate::findings::{Findings, Place, Stays};
use crate::format::{Cursor, Format, Opened, Piece, folder, group_named, last};
use crate::says::{self, Hearing};

/// `manifest.json` and the parts that it names.
pub struct Manifested;

impl Format for Manifested {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn claims(&self, path: &str) -> bool {
        let part = PartKind::ALL.iter().any(|kind| kind.as_str() == last(path));
        last(path) == hansa_backup::MANIFEST || part && group_named(folder(path)).is_some()
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let is_manifest = last(file.name) == hansa_backup::MANIFEST;
        let manifest = match is_manifest {
            true => file.path.to_owned(),
            false => match file.path.parent().and_then(Path::parent) {
                Some(backup) => backup.join(hansa_backup::MANIFEST),
                None => return Ok(Piece::whole(0)),
            },
        };
        let read = match file.fs.read(&manifest, BYTES_MAX) {
            Ok(bytes) => read_manifest(&bytes, is_manifest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err("a part of a backup without a manifest".to_owned())
            }
            Err(error) => return Err(error),
        };
        let told = read.and_then(|manifest| match is_manifest {
            true => Ok(()),
            false => part(&manifest, file, to),
        });
        if let Err(why) = told {
            to.unexplained(file.name, 0, file.length, why);
        }
        Ok(Piece::whole(file.length))
    }
}

fn read_manifest(bytes: &[u8], itself: bool) -> Result<Manifest, String> {
    let manifest = Manifest::parse(bytes).map_err(|bad| bad.to_string())?;
    let same = manifest.to_json().trim_end().as_bytes() == bytes.trim_ascii_end();
    match same || !itself {
        true => Ok(manifest),
        false => Err("a manifest in another form than ours".to_owned()),
    }
}

fn part(manifest: &Manifest, file: &Opened<'_>, to: &mut Findings) -> Result<(), String> {
    let group = manifest.groups.iter().find(|group| group.name == folder(file.name));
    let group = group.ok_or("a part that the manifest does not name")?;
    let kind = PartKind::ALL.into_iter().find(|kind| kind.as_str() == last(file.name));
    let kind = kind.ok_or("no part of a backup")?;
    let opened = file.fs.open(file.path).map_err(|error| error.to_string())?;
    let from = Sequential { file: opened, at: 0 };
    let reader = Reader::open(from, kind).map_err(bad)?;
    let place = file.place(Stays::Backup(manifest.keep_until_ms));
    let records = match kind {
        PartKind::State => state(file, group, reader, &place, to)?,
        PartKind::Records | PartKind::Entries => frames(group, kind, reader, &place, to)?,
    };
    to.tally("backup").records += records;
    Ok(())
}

fn bad(bad: Bad) -> String {
    match bad {
        Bad::At(offset, what) => format!("byte {offset}: {what}"),
        Bad::Io(error) => error.to_string(),
    }
}

fn frames(
    group: &Group,
    kind: PartKind,
    mut reader: Reader<Sequential>,
    place: &Place,
    to: &mut Findings,
) -> Result<u64, String> {
    let id = group.id().ok_or("no group of ours")?;
    let mut records = 0;
    while let Some(frame) = reader.next_frame().map_err(bad)? {
        let (at, name) = (frame.offset, &group.name);
        match kind {
            PartKind::Entries => {
                for entry in inspect::entries(&frame.bytes)? {
                    let at = || format!("byte {at}, {name} entry {}", entry.index);
                    says::entry(id, &entry, &mut Hearing { findings: to, place, at: &at })?;
                    records += 1;
                }
            }
            _ => {
                for record in inspect::records(&frame.bytes, frame.position)? {
                    let at = || format!("byte {at}, {name} record {}", record.number);
                    says::record(id, &record, &mut Hearing { findings: to, place, at: &at })?;
                    records += 1;
                }
            }
        }
    }
    let part = group.part(kind).ok_or("not in the manifest")?;
    let whole = part.bytes == reader.read_bytes() && part.blake3 == reader.hash();
    if whole { Ok(records) } else { Err("not the bytes that the manifest names".to_owned()) }
}

fn state(
    file: &Opened<'_>,
    group: &Group,
    reader: Reader<Sequential>,
    place: &Place,
    to: &mut Findings,
) -> Result<u64, String> {
    let id = group.id().ok_or("no group of ours")?;
    // A checkpoint in frames: put together in memory, as its machine will be.
    let mut bytes = Vec::new();
    let mut state = StateBytes::new(reader);
    state.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let part = group.part(PartKind::State).ok_or("not in the manifest")?;
    let raw = file.bytes().map_err(|error| error.to_string())?;
    if hansa_backup::manifest::hex(hansa_hash(&raw).as_slice()) != part.blake3 {
        return Err("not the bytes that the manifest names".to_owned());
    }
    drop(raw);
    let length = bytes.len() as u64;
    let memory: Arc<dyn File> = Arc::new(Memory(bytes));
    let opened = inspect::checkpoint(&memory, file.path, id).map_err(|error| error.to_string());
    let (_, mut state) = opened?;
    let at = || format!("{} state", group.name);
    let mut hearing = Hearing { findings: to, place, at: &at };
    let records = says::state(id, &mut state, &mut hearing).map_err(|error| error.to_string())?;
    let end = state.end().map_err(|error| error.to_string())?;
    if end == length { Ok(records) } else { Err("bytes behind the checkpoint".to_owned()) }
}

fn hansa_hash(bytes: &[u8]) -> Vec<u8> {
    inspect::hash(bytes).to_vec()
}

/// A file from its beginning to its end.
struct Sequential {
    file: Arc<dyn File>,
    at: u64,
}

impl Read for Sequential {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Bytes as a file that nobody writes.
struct Memory(Vec<u8>);

impl File for Memory {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let read = out.len().min(self.0.len() - from);
        out[..read].copy_from_slice(&self.0[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `dir` is a backup's folder.
pub fn is_backup(fs: &Arc<dyn Fs>, dir: &Path) -> bool {
    fs.exists(&dir.join(hansa_backup::MANIFEST)).unwrap_or(false)
}
