//! Heads of other regions' chains: hashes, nobody's data.

use std::io;

use hansa_consensus::inspect;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `anchors`.
pub struct Anchors;

impl Format for Anchors {
    fn name(&self) -> &'static str {
        "anchors"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == inspect::ANCHORS
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        match inspect::anchors(&file.bytes()?) {
            Ok(regions) => to.tally(self.name()).records += regions.len() as u64,
            Err(why) => to.unexplained(file.name, 0, file.length, why),
        }
        Ok(Piece::whole(file.length))
    }
}
