//! How far a group's disk has forgotten: a number.

use std::io;

use hansa_consensus::inspect;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, folder, group_named, last};

/// `groups/<group>/FORGOTTEN`.
pub struct Forgotten;

impl Format for Forgotten {
    fn name(&self) -> &'static str {
        "forgotten"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == inspect::FORGOTTEN && group_named(folder(path)).is_some()
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Err(why) = inspect::forgotten(&file.bytes()?) {
            to.unexplained(file.name, 0, file.length, why);
        }
        Ok(Piece::whole(file.length))
    }
}
