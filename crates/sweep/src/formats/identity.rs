//! Who a node is, and whom it has met: nobody's data.

use std::io;

use hansa_consensus::inspect;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `identity`.
pub struct Identity;

impl Format for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == inspect::IDENTITY
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Err(why) = inspect::identity(&file.bytes()?) {
            to.unexplained(file.name, 0, file.length, why);
        }
        Ok(Piece::whole(file.length))
    }
}
