//! The residency policy's file: countries and laws.

use std::io;

use hansa_region_router::core::policy::Policy;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `residency.toml`.
pub struct PolicyFile;

impl Format for PolicyFile {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == "residency.toml"
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let Some(text) = file.text(to)? else { return Ok(Piece::whole(file.length)) };
        // Comments are a person's: not the law's, and not looked into.
        if let Err(refused) = Policy::trusted(&text) {
            to.unexplained(file.name, 0, file.length, refused.to_string());
        }
        Ok(Piece::whole(file.length))
    }
}
