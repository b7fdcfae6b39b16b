//! Lines in order of order id, then key: sorted in runs that fit memory, merged from files that
//! have no name and are gone with the process.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use hansa_types::id::OrderId;

use super::fields::{Kind, Line};
use super::{Charge, order_of};

/// Lines kept in memory at once.
pub const RUN_LINES: usize = 200_000;
/// Longer than any line.
const LINE_BYTES_MAX: u32 = 4_096;

/// Lines of foreign keys come last.
type Place = (bool, Option<OrderId>, String, Kind, String, u64);

fn place(line: &Line) -> Place {
    let order = order_of(&line.key);
    let (key, reference) = (line.key.clone(), line.reference.clone());
    (order.is_none(), order, key, line.kind, reference, line.time_ms)
}

pub struct Sorter {
    run: usize,
    lines: Vec<Line>,
    files: Vec<File>,
}

impl Sorter {
    pub fn new(run: usize) -> Self {
        Self { run, lines: Vec::new(), files: Vec::new() }
    }

    pub fn push(&mut self, line: Line) -> io::Result<()> {
        self.lines.push(line);
        if self.lines.len() < self.run {
            return Ok(());
        }
        self.sort();
        let mut to = BufWriter::new(tempfile::tempfile()?);
        for line in self.lines.drain(..) {
            write(&mut to, &line)?;
        }
        let mut file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.files.push(file);
        Ok(())
    }

    fn sort(&mut self) {
        self.lines.sort_by_cached_key(place);
    }

    /// The charges in order.
    pub fn finish(mut self) -> io::Result<Charges> {
        self.sort();
        let mut runs: Vec<Run> = self.files.into_iter().map(Run::file).collect();
        runs.push(Run::Memory(std::mem::take(&mut self.lines).into_iter()));
        let mut heap = BinaryHeap::new();
        for (n, run) in runs.iter_mut().enumerate() {
            if let Some(line) = run.next()? {
                heap.push(Reverse((place(&line), n, Sorted(line))));
            }
        }
        Ok(Charges { runs, heap, last: None, repeated: 0 })
    }
}

enum Run {
    File(BufReader<File>),
    Memory(std::vec::IntoIter<Line>),
}

impl Run {
    fn file(file: File) -> Self {
        Self::File(BufReader::new(file))
    }

    fn next(&mut self) -> io::Result<Option<Line>> {
        match self {
            Self::Memory(lines) => Ok(lines.next()),
            Self::File(file) => read(file),
        }
    }
}

/// A line that takes no part in comparing: its place does.
struct Sorted(Line);

impl PartialEq for Sorted {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Sorted {}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sorted {
    fn cmp(&self, _other: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Charges in order of order id; those with foreign keys last.
pub struct Charges {
    runs: Vec<Run>,
    heap: BinaryHeap<Reverse<(Place, usize, Sorted)>>,
    last: Option<Line>,
    /// Lines that only repeated others, so far.
    pub repeated: u64,
}

impl Charges {
    /// The next charge, summed up.
    ///
    /// # Errors
    /// A run that cannot be read back.
    pub fn next_charge(&mut self) -> io::Result<Option<Charge>> {
        let Some(first) = self.take()? else { return Ok(None) };
        let mut charge = Charge { key: first.key.clone(), ..Charge::default() };
        charge.add(&first);
        let mut before = first;
        while let Some(line) = self.take()? {
            if line.key != charge.key {
                self.last = Some(line);
                break;
            }
            // The same movement said again: a call that was repeated, or a file put together twice.
            let what = |line: &Line| (line.kind, line.amount_minor);
            let same = what(&line) == what(&before)
                && line.reference == before.reference
                && line.currency == before.currency;
            if same && !line.reference.is_empty() {
                self.repeated += 1;
                continue;
            }
            charge.add(&line);
            before = line;
        }
        Ok(Some(charge))
    }

    fn take(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.last.take() {
            return Ok(Some(line));
        }
        let Some(Reverse((_, n, Sorted(line)))) = self.heap.pop() else { return Ok(None) };
        if let Some(next) = self.runs.get_mut(n).map(Run::next).transpose()?.flatten() {
            self.heap.push(Reverse((place(&next), n, Sorted(next))));
        }
        Ok(Some(line))
    }
}

fn write(to: &mut impl Write, line: &Line) -> io::Result<()> {
    let kind = match line.kind {
        Kind::Auth => 0_u8,
        Kind::Capture => 1,
        Kind::Refund => 2,
        Kind::Void => 3,
    };
    to.write_all(&[kind])?;
    to.write_all(&line.amount_minor.to_le_bytes())?;
    to.write_all(&line.time_ms.to_le_bytes())?;
    for text in [&line.key, &line.currency, &line.reference] {
        to.write_all(&(text.len() as u32).to_le_bytes())?;
        to.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn read(from: &mut impl Read) -> io::Result<Option<Line>> {
    let mut kind = [0];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = match kind {
        [0] => Kind::Auth,
        [1] => Kind::Capture,
        [2] => Kind::Refund,
        [3] => Kind::Void,
        _ => return Err(damaged()),
    };
    let (mut amount, mut time) = ([0; 8], [0; 8]);
    from.read_exact(&mut amount)?;
    from.read_exact(&mut time)?;
    let mut text = || {
        let mut len = [0; 4];
        from.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len);
        if len > LINE_BYTES_MAX {
            return Err(damaged());
        }
        let mut bytes = vec![0; len as usize];
        from.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| damaged())
    };
    let (key, currency, reference) = (text()?, text()?, text()?);
    let amount_minor = i64::from_le_bytes(amount);
    let time_ms = u64::from_le_bytes(time);
    Ok(Some(Line { key, kind, amount_minor, currency, time_ms, reference }))
}
