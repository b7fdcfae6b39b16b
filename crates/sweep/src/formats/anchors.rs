//! Heads of other regions' chains: hashes, nobody's data.

use std::io;

use hansa_consensus::inspect;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `anchors`, or `anchors.damaged` once they were found to be.
pub struct Anchors;

fn is_damaged(name: &str) -> bool {
    let stem = last(name).strip_suffix(inspect::DAMAGED).and_then(|stem| stem.strip_suffix('.'));
    stem == Some(inspect::ANCHORS)
}

impl Format for Anchors {
    fn name(&self) -> &'static str {
        "anchors"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == inspect::ANCHORS || is_damaged(path)
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        match inspect::anchors(&file.bytes()?) {
            Ok(regions) => to.tally(self.name()).records += regions.len() as u64,
            Err(why) => {
                let aside =
                    is_damaged(file.name).then_some("set aside until a person deletes it: ");
                let why = format!("{}{why}", aside.unwrap_or_default());
                to.unexplained(file.name, 0, file.length, why);
            }
        }
        Ok(Piece::whole(file.length))
    }
}
