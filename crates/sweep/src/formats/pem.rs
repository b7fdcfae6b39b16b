//! Certificates and keys of nodes: names of machines.

use std::io;

use rustls_pki_types::pem::{PemObject as _, SectionKind};

use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `*.crt`, `*.key` and `*.pem`.
pub struct Pem;

impl Format for Pem {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn claims(&self, path: &str) -> bool {
        [".crt", ".key", ".pem"].iter().any(|end| last(path).ends_with(end))
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let Some(text) = file.text(to)? else { return Ok(Piece::whole(file.length)) };
        let sections: Result<Vec<(SectionKind, Vec<u8>)>, _> =
            <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).collect();
        let count = sections.map_err(|error| error.to_string());
        match count {
            Ok(sections) if !sections.is_empty() => {
                to.tally(self.name()).records += sections.len() as u64;
                outside(file, &text, to);
            }
            Ok(_) => to.unexplained(file.name, 0, file.length, "no PEM in it"),
            Err(why) => to.unexplained(file.name, 0, file.length, why),
        }
        Ok(Piece::whole(file.length))
    }
}

/// Text between sections is read by nobody: there is none.
fn outside(file: &Opened<'_>, text: &str, to: &mut Findings) {
    let (mut within, mut offset) = (false, 0);
    for line in text.split_inclusive('\n') {
        within |= line.starts_with("-----BEGIN ");
        if !within && !line.trim().is_empty() {
            to.unexplained(file.name, offset, line.len() as u64, "text outside of PEM sections");
        }
        within &= !line.starts_with("-----END ");
        offset += line.len() as u64;
    }
}
