//! A page of metrics: figures, under labels from closed sets.

use std::io;

use super::trace;
use crate::findings::Findings;
use crate::format::{Cursor, Format, Opened, Piece};

/// The text that `/metrics` answers.
pub struct Metrics;

impl Format for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    /// No node keeps any: such files are named by whoever has them.
    fn claims(&self, _: &str) -> bool {
        false
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Some(text) = file.text(to)? {
            page(file.name, &text, to);
        }
        Ok(Piece::whole(file.length))
    }
}

/// What our metrics' names begin with: our own, and the one that OpenTelemetry names.
const OURS: [&str; 2] = ["hansa_", "rpc_server_call_duration_seconds"];

/// Looks at every line of a page.
pub fn page(file: &str, text: &str, to: &mut Findings) {
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let said = line.trim_end();
        if said.is_empty() || said.starts_with("# HELP ") || said.starts_with("# TYPE ") {
            trace::words(file, number, said, to);
        } else if sample(file, number, said, to).is_none() {
            to.unexplained(file, offset, line.len() as u64, "no sample of a metric");
        } else {
            to.tally("metrics").records += 1;
        }
        offset += line.len() as u64;
    }
}

/// `hansa_name{label="value",…} 1.5`
fn sample(file: &str, line: u64, text: &str, to: &mut Findings) -> Option<()> {
    let (series, value) = text.rsplit_once(' ')?;
    value.parse::<f64>().ok()?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !OURS.iter().any(|ours| name.starts_with(ours)) || !name.chars().all(plain) {
        return None;
    }
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let end = after.find('"')?;
        trace::field(file, line, label.trim_start_matches(','), to);
        trace::words(file, line, &after[..end], to);
        rest = &after[end + 1..];
    }
    Some(())
}
