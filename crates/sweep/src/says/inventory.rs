//! Stock says what is where, and for which order: nobody's data.

use std::io::Read;

use hansa_consensus::ThawError;
use hansa_consensus::inspect::{self, Archived};
use hansa_ledger::core::inventory::{Command, Inventory, Note};
use hansa_ledger::core::kernel::Posting;
use hansa_ledger::machine::{FORMAT, NOTES, POSTINGS};

pub fn command(bytes: &[u8]) -> Result<(), String> {
    let none = || "not a batch of stock commands".to_owned();
    let (format, mut rest) = bytes.split_first().ok_or_else(none)?;
    if *format != FORMAT {
        return Err(none());
    }
    while !rest.is_empty() {
        let (command, after) =
            postcard::take_from_bytes::<Command<'_>>(rest).map_err(|_| none())?;
        let again = postcard::to_allocvec(&command).map_err(|_| none())?;
        // Text that a person wrote, reasons and documents, is OPERATIONAL as proto says.
        if again != rest[..rest.len() - after.len()] {
            return Err(none());
        }
        rest = after;
    }
    Ok(())
}

pub fn record(record: &Archived) -> Result<(), String> {
    match record.table {
        POSTINGS => postings(record).map(drop),
        NOTES => {
            let note: Option<Note> = postcard::from_bytes(&record.value).ok();
            let same = note.as_ref().is_some_and(|note| {
                postcard::to_allocvec(note).is_ok_and(|again| again == record.value)
                    && record.key == note.id.to_bytes().as_slice()
            });
            super::whole(note, same, "a note").map(drop)
        }
        other => Err(format!("table {other} is none of ours")),
    }
}

/// The postings of a record of either book.
pub fn postings(record: &Archived) -> Result<Vec<Posting>, String> {
    let read: Option<Vec<Posting>> = postcard::from_bytes(&record.value).ok();
    let same = record.key.len() == 8
        && read.as_ref().is_some_and(|read| {
            postcard::to_allocvec(read).is_ok_and(|again| again == record.value)
        });
    super::whole(read, same, "postings")
}

pub fn state(from: &mut dyn Read) -> Result<u64, ThawError> {
    inspect::machine::<Inventory>(from).map(|books| facts(&books))
}

/// Nothing is said; the books count as one record.
pub fn facts(_: &Inventory) -> u64 {
    1
}
