//! A history as JSON lines: one op a line, so that a run that dies leaves what it had.

use std::io::{BufRead, Write};

use crate::history::{History, Op};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("history is not readable")]
    Io(#[from] std::io::Error),
    #[error("line {line} is no operation")]
    Malformed { line: usize, source: serde_json::Error },
}

/// # Errors
/// The sink does not take it.
pub fn write(history: &History, mut to: impl Write) -> Result<(), Error> {
    for op in &history.ops {
        let line = serde_json::to_string(op).map_err(std::io::Error::from)?;
        writeln!(to, "{line}")?;
    }
    Ok(to.flush()?)
}

/// # Errors
/// The source breaks, or holds a line that is no operation. A last line without its end is a cut
/// one and is left out.
pub fn read(from: impl BufRead) -> Result<History, Error> {
    let mut ops: Vec<Op> = Vec::new();
    let mut from = from;
    let mut line = String::new();
    while from.read_line(&mut line)? > 0 && line.ends_with('\n') {
        let malformed = |source| Error::Malformed { line: ops.len() + 1, source };
        ops.push(serde_json::from_str(&line).map_err(malformed)?);
        line.clear();
    }
    Ok(History { ops })
}
