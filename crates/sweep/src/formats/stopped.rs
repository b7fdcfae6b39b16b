//! Why a group was stopped for good, in words of ours.

use std::io;

use hansa_consensus::inspect;

use super::trace;
use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, folder, group_named, last};

/// `groups/<group>/STOPPED`.
pub struct Stopped;

impl Format for Stopped {
    fn name(&self) -> &'static str {
        "stopped"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == inspect::STOPPED && group_named(folder(path)).is_some()
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Some(text) = file.text(to)? {
            for (line, said) in (1..).zip(text.lines()) {
                trace::words(file.name, line, said, to);
            }
        }
        Ok(Piece::whole(file.length))
    }
}
