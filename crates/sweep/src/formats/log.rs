//! The write-ahead log: every record of every segment.

use std::collections::BTreeMap;
use std::io;

use hansa_consensus::inspect;
use hansa_types::id::GroupId;
use hansa_wal::inspect as wal;

use crate::findings::{Findings, Stays};
use crate::format::{Cursor, Format, Opened, Piece, last};
use crate::says::{self, Hearing};

const FOLDER: &str = "wal/";
/// Looks at a segment that is being written.
const LOOKS_MAX: u8 = 10;

/// `wal/0000000n.seg`.
pub struct Log;

/// `wal/FORMAT`.
pub struct LogFormat;

fn in_log(path: &str) -> Option<&str> {
    path.strip_suffix(last(path)).filter(|folder| folder.ends_with(FOLDER)).map(|_| last(path))
}

impl Format for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn claims(&self, path: &str) -> bool {
        in_log(path).is_some_and(|name| wal::number(name).is_some() || name == wal::UNREADY)
    }

    fn read(&self, file: &Opened<'_>, from: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let bytes = file.bytes()?;
        let Some(number) = wal::number(last(file.name)) else {
            // Made ready and never named: nothing is in it but its header.
            if bytes.get(32..).unwrap_or_default().iter().any(|byte| *byte != 0) {
                to.unexplained(file.name, 32, file.length, "an unready segment with content");
            }
            return Ok(Piece::whole(file.length));
        };
        let format = file.fs.read(&file.beside(wal::FORMAT), 4096);
        let log = match format.map(|bytes| wal::log_of(&bytes)) {
            Ok(Ok(log)) => log,
            Ok(Err(why)) => {
                to.unexplained(file.name, 0, file.length, format!("which log: {why}"));
                return Ok(Piece::whole(file.length));
            }
            Err(error) => return Err(error),
        };
        // Somebody may be writing: what does not read now is looked at again, some turns later.
        let again = file.live && from.part < LOOKS_MAX;
        if again && !wal::segment(log, number, &bytes, |_| Ok(())).is_empty() {
            let next = Cursor { part: from.part + 1, at: 0 };
            return Ok(Piece { bytes: 0, next: Some(next) });
        }
        let (in_force, behind) = (file.place(Stays::InForce), file.place(Stays::Behind));
        let mut replayed = BTreeMap::new();
        let mut records = 0;
        let unread = wal::segment(log, number, &bytes, |record| {
            records += 1;
            let Some(entry) = inspect::log_record(&record)? else { return Ok(()) };
            let group: GroupId = record.group.ok_or("an entry of no group")?;
            let at = || format!("byte {}, {group} entry {}", record.offset, entry.index);
            let from = *replayed.entry(group).or_insert_with(|| replayed_from(file, group));
            let place = if entry.index >= from { &in_force } else { &behind };
            let mut hearing = Hearing { findings: to, place, at: &at };
            says::entry(group, &entry, &mut hearing)
        });
        for wal::Unread { offset, bytes, why } in unread {
            to.unexplained(file.name, offset, bytes, why);
        }
        to.tally(self.name()).records += records;
        Ok(Piece::whole(bytes.len() as u64))
    }
}

/// From which of a group's entries on a start replays the log: its checkpoint says so by its name.
fn replayed_from(file: &Opened<'_>, group: GroupId) -> u64 {
    let node = file.folder().parent().unwrap_or(file.folder());
    let newest = file.newest.get(&node.join("groups").join(group.to_string()));
    newest.and_then(|name| name.strip_suffix(".ckpt")?.parse().ok()).unwrap_or(0)
}

impl Format for LogFormat {
    fn name(&self) -> &'static str {
        "log"
    }

    fn claims(&self, path: &str) -> bool {
        in_log(path) == Some(wal::FORMAT)
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Err(why) = wal::log_of(&file.bytes()?) {
            to.unexplained(file.name, 0, file.length, why);
        }
        Ok(Piece::whole(file.length))
    }
}
