//! The archive of a group: every entry and record that its store holds, and every page of it, in
//! use or not.

use std::io;

use hansa_consensus::inspect::{self, ArchiveReader, Pages};
use hansa_types::id::GroupId;

use crate::carve;
use crate::findings::{Findings, Stays};
use crate::format::{Cursor, Format, Opened, PIECE_BYTES, Piece, folder, group_named, last};
use crate::says::{self, Hearing, orders};

/// `groups/<group>/archive.redb`.
pub struct Archive;

const STRAYS: u8 = 0;
const ENTRIES: u8 = 1;
const RECORDS: u8 = 2;
const PAGES: u8 = 3;

/// Pages that are searched with the end of the piece before, so that no view lies across two.
const OVERLAP_PAGES: u64 = 64;
const PAGE_BYTES: u64 = 4096;

impl Format for Archive {
    fn name(&self) -> &'static str {
        "archive"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == inspect::ARCHIVE && group_named(folder(path)).is_some()
    }

    fn read(&self, file: &Opened<'_>, from: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let Some(group) = file.group() else { return Ok(Piece::whole(0)) };
        if from.part == PAGES {
            return pages(file, from.at, to);
        }
        // Opened anew for each piece: between two of them it may be written.
        let read = ArchiveReader::open(file.fs, file.path).map_err(|error| error.to_string());
        let read = read.and_then(|archive| chunks(&archive, file, group, from, to));
        match read {
            Ok(next) => Ok(Piece { bytes: 0, next: Some(next) }),
            Err(why) => {
                to.unexplained(file.name, 0, file.length, why);
                Ok(Piece { bytes: 0, next: Some(Cursor { part: PAGES, at: 1 }) })
            }
        }
    }
}

/// Reads chunks until the piece is full; answers where the next one begins.
fn chunks(
    archive: &ArchiveReader,
    file: &Opened<'_>,
    group: GroupId,
    from: Cursor,
    to: &mut Findings,
) -> Result<Cursor, String> {
    let (entries, records) = archive.chunks();
    if from.part == STRAYS {
        for stray in archive.strays().map_err(|error| error.to_string())? {
            to.unexplained(file.name, 0, 0, stray);
        }
        return Ok(Cursor { part: ENTRIES, at: 0 });
    }
    let (end, after) = match from.part {
        ENTRIES => (entries, Cursor { part: RECORDS, at: 0 }),
        _ => (records, Cursor { part: PAGES, at: 1 }),
    };
    let place = file.place(Stays::Kept);
    let mut read = 0;
    for chunk in from.at..end {
        if read >= PIECE_BYTES {
            return Ok(Cursor { at: chunk, ..from });
        }
        let told = match from.part {
            ENTRIES => entries_of(archive, group, chunk, &place, to),
            _ => records_of(archive, group, chunk, &place, to),
        };
        match told {
            Ok((bytes, items)) => {
                read += bytes;
                to.tally("archive").records += items;
            }
            Err(why) => to.unexplained(file.name, 0, 0, format!("chunk {chunk}: {why}")),
        }
    }
    Ok(after)
}

type Told = Result<(u64, u64), String>;

fn entries_of(
    archive: &ArchiveReader,
    group: GroupId,
    chunk: u64,
    place: &crate::findings::Place,
    to: &mut Findings,
) -> Told {
    let bytes = archive.entries(chunk).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("it is missing")?;
    let entries = inspect::entries(&bytes)?;
    for entry in &entries {
        let at = || format!("{group} entry {}", entry.index);
        let mut hearing = Hearing { findings: to, place, at: &at };
        says::entry(group, entry, &mut hearing)
            .map_err(|why| format!("entry {}: {why}", entry.index))?;
    }
    Ok((bytes.len() as u64, entries.len() as u64))
}

fn records_of(
    archive: &ArchiveReader,
    group: GroupId,
    chunk: u64,
    place: &crate::findings::Place,
    to: &mut Findings,
) -> Told {
    let read = archive.records(chunk).map_err(|error| error.to_string())?;
    let (bytes, first) = read.ok_or("it is missing")?;
    let records = inspect::records(&bytes, first)?;
    for record in &records {
        let at = || format!("{group} record {}", record.number);
        let mut hearing = Hearing { findings: to, place, at: &at };
        says::record(group, record, &mut hearing)
            .map_err(|why| format!("record {}: {why}", record.number))?;
    }
    Ok((bytes.len() as u64, records.len() as u64))
}

/// Every page under its checksum, and copies of orders in what the store has let go of.
fn pages(file: &Opened<'_>, first: u64, to: &mut Findings) -> io::Result<Piece> {
    let pages = match Pages::open(file.fs, file.path) {
        Ok(pages) => pages,
        Err(error) => {
            to.unexplained(file.name, 0, file.length, error.to_string());
            return Ok(Piece::whole(file.length));
        }
    };
    let from = first.saturating_sub(OVERLAP_PAGES).max(1);
    let count = PIECE_BYTES / PAGE_BYTES + (first - from);
    let (content, damaged) = pages.read(from, count)?;
    damaged_pages(file, damaged.into_iter().filter(|page| *page >= first).collect(), to);
    let place = file.place(Stays::Kept);
    carved(&content, &place, to);
    let next = from + content.len() as u64 / PAGE_BYTES;
    match next > pages.count() {
        true => Ok(Piece::whole(file.length)),
        false => Ok(Piece { bytes: 0, next: Some(Cursor { part: PAGES, at: next }) }),
    }
}

/// One that the store does not use was half written when the power went, and is searched like all
/// others; one in use is damage.
fn damaged_pages(file: &Opened<'_>, damaged: Vec<u64>, to: &mut Findings) {
    if damaged.is_empty() {
        return;
    }
    let in_use = inspect::pages_in_use(file.fs, file.path).ok().flatten();
    for page in damaged {
        if in_use.as_ref().is_some_and(|in_use| !in_use.contains(&page)) {
            to.tally("archive").unused += PAGE_BYTES + 8;
            continue;
        }
        let offset = 512 + (page - 1) * (PAGE_BYTES + 8);
        to.unexplained(file.name, offset, PAGE_BYTES + 8, "a page's checksum");
    }
}

/// Takes in whatever copies of orders lie in `bytes`.
pub fn carved(bytes: &[u8], place: &crate::findings::Place, to: &mut Findings) {
    carved_if(bytes, place, to, |_| true);
}

/// The same of those orders only.
pub fn carved_if(
    bytes: &[u8],
    place: &crate::findings::Place,
    to: &mut Findings,
    wanted: impl Fn(&hansa_api::pb::order::Order) -> bool,
) {
    for (offset, view) in carve::views(bytes) {
        if !view.order.as_ref().is_some_and(&wanted) {
            continue;
        }
        let named = view.order.as_ref().map(|order| order.name.parse());
        let Some(Ok(name)) = named else { continue };
        let name: hansa_types::id::OrderName = name;
        let at = || format!("about byte {offset} of a piece");
        let mut hearing = Hearing { findings: to, place, at: &at };
        orders::shown(name.id, view, None, &mut hearing);
    }
}
