//! One group's copy: streamed, checked chunk by chunk, gone on with after a broken stream.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hansa_api::pb::admin::{
    BackupCursor, BackupPart, GroupCut, ReadBackupRequest, ReadBackupResponse, StartBackupResponse,
};
use hansa_backup::part::{checksum, frame, head};
use hansa_backup::{Group, Part, PartKind};
use hansa_types::id::GroupId;
use indicatif::ProgressBar;
use tonic::Streaming;

use super::disk;
use crate::connect::{Role, Session};
use crate::error::Problem;

/// Streams that may break one after the other without a chunk between them.
const BREAKS_MAX: u32 = 8;
/// Silence after which a stream counts as broken.
const CHUNK_MAX: Duration = Duration::from_secs(60);

/// One part on its way to the disk.
struct Writing {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
    frames: u64,
}

impl Writing {
    fn create(path: PathBuf, kind: PartKind) -> Result<Self, Problem> {
        let file = File::create(&path).map_err(|e| disk(&path, e))?;
        let mut this = Self { path, file, hasher: blake3::Hasher::new(), bytes: 0, frames: 0 };
        this.write(&head(kind))?;
        Ok(this)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.file.write_all(bytes).map_err(|e| disk(&self.path, e))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self, kind: PartKind) -> Result<Part, Problem> {
        self.file.sync_all().map_err(|e| disk(&self.path, e))?;
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(Part { kind, bytes: self.bytes, frames: self.frames, blake3 })
    }
}

/// Copies one group into the folder.
pub async fn group(
    session: &Session,
    folder: &Path,
    cut: &StartBackupResponse,
    group: &GroupCut,
    bar: &ProgressBar,
) -> Result<Group, Problem> {
    let odd = || Problem::failed("the region named a group of no known kind", "see its version");
    let name = GroupId::from_number(group.group).ok_or_else(odd)?.to_string();
    let dir = folder.join(&name);
    fs::create_dir_all(&dir).map_err(|e| disk(&dir, e))?;
    let mut parts = Vec::new();
    for kind in PartKind::ALL {
        parts.push(Writing::create(dir.join(kind.as_str()), kind)?);
    }
    let end = BackupCursor { state_offset: 0, record: group.records, entry: group.index + 1 };
    let (mut at, mut state_bytes, mut breaks) = (BackupCursor::default(), None, 0);
    while !reached(&at, &end, state_bytes) {
        let before = at;
        let broken = match open(session, cut, group, at).await {
            Ok(mut chunks) => loop {
                match next(&mut chunks).await {
                    Ok(Some(chunk)) => {
                        state_bytes = Some(chunk.state_bytes);
                        at = take(&mut parts, chunk, bar)?;
                    }
                    Ok(None) => break None,
                    Err(problem) => break Some(problem),
                }
            },
            Err(problem) => Some(problem),
        };
        breaks = if at == before { breaks + 1 } else { 0 };
        if let Some(problem) = broken.filter(|_| breaks >= BREAKS_MAX) {
            return Err(problem);
        }
        if breaks >= BREAKS_MAX {
            let what = format!("{name}: the node has no more of it");
            return Err(Problem::failed(what, "make another backup"));
        }
        if breaks > 0 {
            tokio::time::sleep(Duration::from_millis(250) * breaks).await;
        }
    }
    let parts = PartKind::ALL.into_iter().zip(parts).map(|(kind, part)| part.finish(kind));
    let parts = parts.collect::<Result<_, _>>()?;
    // Their names too: the manifest that comes last promises them.
    File::open(&dir).and_then(|names| names.sync_all()).map_err(|e| disk(&dir, e))?;
    Ok(Group {
        name,
        group: group.group,
        node: group.node,
        index: group.index,
        term: group.term,
        log_time_ms: group.log_time_ms,
        state_hash: group.state_hash.clone(),
        chain_head: group.chain_head.clone(),
        records: group.records,
        parts,
    })
}

fn reached(at: &BackupCursor, end: &BackupCursor, state_bytes: Option<u64>) -> bool {
    let state = state_bytes.is_some_and(|bytes| at.state_offset >= bytes);
    state && at.record >= end.record && at.entry >= end.entry
}

async fn open(
    session: &Session,
    cut: &StartBackupResponse,
    group: &GroupCut,
    at: BackupCursor,
) -> Result<Streaming<ReadBackupResponse>, Problem> {
    let mut services = session.services(Role::Operator).await?;
    let request = ReadBackupRequest {
        region: session.region(),
        backup: cut.backup.clone(),
        group: group.group,
        node: group.node,
        from: Some(at),
    };
    Ok(services.backups.read_backup(request).await?.into_inner())
}

/// The next chunk, if it is what the node sent.
async fn next(
    chunks: &mut Streaming<ReadBackupResponse>,
) -> Result<Option<ReadBackupResponse>, Problem> {
    let waited = tokio::time::timeout(CHUNK_MAX, chunks.message()).await;
    let silent = |_| Problem::unreachable("the stream fell silent", "try again");
    let Some(chunk) = waited.map_err(silent)?? else { return Ok(None) };
    match checksum(chunk.position, &chunk.data) == chunk.checksum {
        true => Ok(Some(chunk)),
        false => Err(Problem::failed("a chunk was damaged on its way", "try again")),
    }
}

/// Puts a chunk where it belongs; answers where the next one begins.
fn take(
    parts: &mut [Writing],
    chunk: ReadBackupResponse,
    bar: &ProgressBar,
) -> Result<BackupCursor, Problem> {
    let part = match chunk.part() {
        BackupPart::State => parts.first_mut(),
        BackupPart::Records => parts.get_mut(1),
        BackupPart::Entries => parts.get_mut(2),
        BackupPart::Unspecified => None,
    };
    let (Some(part), Some(next)) = (part, chunk.next) else {
        return Err(Problem::failed("a chunk of an unknown kind", "see the league's version"));
    };
    let frame = frame(chunk.position, &chunk.data);
    part.write(&frame)?;
    part.frames += 1;
    bar.inc(frame.len() as u64);
    Ok(next)
}
