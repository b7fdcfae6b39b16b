//! Checkpoints, whole, through their machines; those that were set aside too.

use std::io;

use hansa_consensus::{FileError, ThawError, inspect};

use crate::findings::{Findings, Stays};
use crate::format::{Cursor, Format, Opened, Piece, folder, group_named, last};
use crate::says::{self, Hearing};

/// `groups/<group>/<index>.ckpt`, or `.damaged` once it was found to be.
pub struct Checkpoint;

impl Format for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn claims(&self, path: &str) -> bool {
        let name = last(path);
        let under_way = name == "writing.tmp" || name == "incoming.tmp" || name.starts_with("cut-");
        let whole = name.ends_with(".ckpt") || is_damaged(name);
        group_named(folder(path)).is_some() && (whole || under_way)
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if file.live && file.name.ends_with(".tmp") {
            // Not whole yet, and gone or renamed soon.
            return Err(io::Error::other("it is being written: sweep again"));
        }
        let opened = file.fs.open(file.path)?;
        let Some(group) = file.group() else {
            to.unexplained(file.name, 0, file.length, "a checkpoint of no group");
            return Ok(Piece::whole(file.length));
        };
        let newest = file.newest.get(file.folder());
        let in_force = newest.is_some_and(|name| name == last(file.name));
        let place = file.place(if in_force { Stays::InForce } else { Stays::Behind });
        let at = || format!("{group} state");
        let mut hearing = Hearing { findings: to, place: &place, at: &at };
        let read = inspect::checkpoint(&opened, file.path, group).map_err(said);
        let read = read.and_then(|(_, mut state)| {
            let records = says::state(group, &mut state, &mut hearing).map_err(thaw_said)?;
            Ok((records, state.end().map_err(|error| error.to_string())?))
        });
        match read {
            Ok((records, end)) => {
                to.tally(self.name()).records += records;
                if end < file.length {
                    let why = "bytes behind the checkpoint";
                    to.unexplained(file.name, end, file.length - end, why);
                }
            }
            Err(why) if is_damaged(file.name) => {
                let why = format!("set aside until a person or the next law deletes it: {why}");
                to.unexplained(file.name, 0, file.length, why);
            }
            Err(why) => to.unexplained(file.name, 0, file.length, why),
        }
        Ok(Piece::whole(file.length))
    }
}

fn is_damaged(name: &str) -> bool {
    name.strip_suffix(inspect::DAMAGED).is_some_and(|stem| stem.ends_with('.'))
}

fn said(error: FileError) -> String {
    error.to_string()
}

fn thaw_said(error: ThawError) -> String {
    error.to_string()
}
