//! A provider's statement: a CSV file, read strictly and line by line, sorted by order outside of
//! memory, summed up per charge.
//!
//! What cannot be read is never skipped: the file is refused with its line. A field that could be
//! a card number is refused too, and never echoed.

mod fields;
mod mapping;
mod sorted;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use hansa_types::id::OrderId;

pub use fields::{HEADER, Kind, Line};
pub use mapping::{BadMapping, Mapping};
pub use sorted::Charges;

/// What an order's key at the provider begins with.
const KEY: &str = "pay-";

/// Why a statement could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("{0}")]
    Whole(String),
}

/// What the provider did for one key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Charge {
    pub key: String,
    pub reference: String,
    pub currency: String,
    pub authorized: i64,
    pub captured: i64,
    pub refunded: i64,
    pub void: bool,
    /// Lines of several currencies: no sum of them means anything.
    pub mixed: bool,
}

impl Charge {
    fn add(&mut self, line: &Line) {
        self.mixed |= !self.currency.is_empty() && self.currency != line.currency;
        self.currency.clone_from(&line.currency);
        let sum = match line.kind {
            Kind::Auth => &mut self.authorized,
            Kind::Capture => &mut self.captured,
            Kind::Refund => &mut self.refunded,
            Kind::Void => {
                self.void = true;
                return;
            }
        };
        *sum = sum.saturating_add(line.amount_minor);
        if line.kind != Kind::Refund {
            self.reference.clone_from(&line.reference);
        }
    }

    /// What the provider has taken and not given back. A void gives back whatever was taken.
    pub fn net(&self) -> i64 {
        if self.void { 0 } else { self.captured.saturating_sub(self.refunded) }
    }

    /// What it holds and has not taken.
    pub fn open(&self) -> i64 {
        if self.void || self.captured > 0 { 0 } else { self.authorized }
    }

    pub fn says(&self) -> String {
        let Self { authorized, captured, refunded, .. } = self;
        let void = if self.void { ", void" } else { "" };
        format!("authorized {authorized}, captured {captured}, refunded {refunded}{void}")
    }

    /// The key with what the provider calls it.
    pub fn subject(&self) -> String {
        self.key.clone()
    }

    /// The order that the key names.
    pub fn order(&self) -> Option<OrderId> {
        order_of(&self.key)
    }
}

fn order_of(key: &str) -> Option<OrderId> {
    key.strip_prefix(KEY)?.parse().ok()
}

/// A statement that was read to its end.
pub struct Statement {
    pub lines: u64,
    /// Times of its first and last line; Unix ms.
    pub from_ms: u64,
    pub until_ms: u64,
    pub charges: Charges,
}

/// Reads a whole statement; `progress` hears how many bytes were read.
///
/// # Errors
/// The first line that is not one.
pub fn read(path: &Path, mapping: &Mapping, progress: impl FnMut(u64)) -> Result<Statement, Error> {
    let mut file = File::open(path)?;
    if mapping.final_newline && file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            return Err(Error::Whole("the last line is cut short".to_owned()));
        }
        file.rewind()?;
    }
    from_reader(file, mapping, sorted::RUN_LINES, progress)
}

fn from_reader(
    from: impl Read,
    mapping: &Mapping,
    run: usize,
    mut progress: impl FnMut(u64),
) -> Result<Statement, Error> {
    let mut reader = csv::ReaderBuilder::new().delimiter(mapping.delimiter as u8).from_reader(from);
    let header = reader.headers().map_err(|error| bad(&error))?.clone();
    let columns = mapping.columns(&header).map_err(Error::Whole)?;
    let mut sorter = sorted::Sorter::new(run);
    let (mut lines, mut from_ms, mut until_ms) = (0, u64::MAX, 0);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| bad(&error))? {
        let at = record.position().map_or(0, csv::Position::line);
        let parsed = fields::parse(&record, &columns, mapping);
        let line = parsed.map_err(|what| Error::Line { line: at, what })?;
        lines += 1;
        let Some(line) = line else { continue };
        from_ms = from_ms.min(line.time_ms);
        until_ms = until_ms.max(line.time_ms);
        sorter.push(line)?;
        if lines % 4_096 == 0 {
            progress(reader.position().byte());
        }
    }
    let charges = sorter.finish()?;
    Ok(Statement { lines, from_ms: from_ms.min(until_ms), until_ms, charges })
}

/// What the reader says, without a word of the line.
fn bad(error: &csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Io(error) => format!("not read: {error}"),
        _ => "not CSV".to_owned(),
    };
    Error::Line { line, what }
}

#[cfg(test)]
mod tests;
