//! The vault file: keys and pseudonyms, which name nobody without the vault that they are.

use std::io;

use hansa_orders::vault::inspect;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `vault.key`, as the config names it.
pub struct VaultFile;

impl Format for VaultFile {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn claims(&self, path: &str) -> bool {
        // With what a crash leaves beside it.
        last(path).starts_with("vault.")
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let Some(text) = file.text(to)? else { return Ok(Piece::whole(file.length)) };
        match inspect(&text) {
            Ok(keys) => {
                to.tally(self.name()).records += keys.len() as u64;
                to.vault(keys);
            }
            Err(why) => to.unexplained(file.name, 0, file.length, why),
        }
        Ok(Piece::whole(file.length))
    }
}
