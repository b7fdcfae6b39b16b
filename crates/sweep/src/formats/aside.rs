//! What a small file is called until it is whole: a crash leaves it so.

use std::io;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece};

/// `<name>.tmp`, of a file that is replaced whole.
pub struct Aside<F>(pub F);

impl<F: Format> Format for Aside<F> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn claims(&self, path: &str) -> bool {
        path.strip_suffix(".tmp").is_some_and(|path| self.0.claims(path))
    }

    fn read(&self, file: &Opened<'_>, from: Cursor, to: &mut Findings) -> io::Result<Piece> {
        // The power went before any of it was there.
        match file.bytes()?.iter().all(|byte| *byte == 0) {
            true => Ok(Piece::whole(file.length)),
            false => self.0.read(file, from, to),
        }
    }
}
