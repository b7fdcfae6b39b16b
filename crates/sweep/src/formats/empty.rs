//! Files that hold nothing: locks.

use std::io;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `LOCK`, and the vault's.
pub struct Empty;

impl Format for Empty {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn claims(&self, path: &str) -> bool {
        let name = last(path);
        name == "LOCK" || name.ends_with(".lock")
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if file.length > 0 {
            to.unexplained(file.name, 0, file.length, "a lock with content");
        }
        Ok(Piece::whole(file.length))
    }
}
