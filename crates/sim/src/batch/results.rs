//! The cumulative result file: one JSON line for each hundred seeds or less.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Summary;
use crate::coverage::Counts;

/// Some seeds in a row, and what they came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chunk {
    pub commit: String,
    pub from: u64,
    /// The last seed.
    pub to: u64,
    pub passed: u64,
    pub failed: Vec<u64>,
    pub unknown: Vec<u64>,
    pub operations: u64,
    pub faults: u64,
    pub simulated_s: u64,
    pub wall_s: u64,
    pub counts: Counts,
}

impl Chunk {
    #[must_use]
    pub fn of(seeds: Range<u64>, summary: &Summary) -> Self {
        let wrong = (summary.failed.len() + summary.unknown.len()) as u64;
        Self {
            commit: commit(),
            from: seeds.start,
            to: seeds.end - 1,
            passed: summary.seeds - wrong,
            failed: summary.failed.clone(),
            unknown: summary.unknown.clone(),
            operations: summary.ops,
            faults: summary.counts.faults(),
            simulated_s: summary.simulated.as_secs(),
            wall_s: summary.wall.as_secs(),
            counts: summary.counts.clone(),
        }
    }
}

fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// # Errors
/// The file does not take it.
pub fn append(file: &Path, chunk: &Chunk) -> anyhow::Result<()> {
    let mut out = OpenOptions::new().create(true).append(true).open(file)?;
    writeln!(out, "{}", serde_json::to_string(chunk)?)?;
    Ok(out.sync_data()?)
}

/// Every chunk so far; none when there is no file yet.
///
/// # Errors
/// A line that is no chunk.
pub fn read(file: &Path) -> anyhow::Result<Vec<Chunk>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let lines = BufReader::new(std::fs::File::open(file)?).lines();
    let chunk = |(number, line): (usize, std::io::Result<String>)| {
        serde_json::from_str(&line?).with_context(|| format!("line {}", number + 1))
    };
    lines.enumerate().map(chunk).collect()
}

/// The seed after the last one that the file has.
#[must_use]
pub fn next(chunks: &[Chunk]) -> Option<u64> {
    chunks.iter().map(|chunk| chunk.to + 1).max()
}

/// Everything that the file has, as one text.
#[must_use]
pub fn total(chunks: &[Chunk]) -> String {
    let sum = |of: fn(&Chunk) -> u64| chunks.iter().map(of).sum::<u64>();
    let mut counts = Counts::default();
    chunks.iter().for_each(|chunk| counts.merge(&chunk.counts));
    let seeds = sum(|chunk| chunk.to - chunk.from + 1);
    let hours = sum(|chunk| chunk.simulated_s) as f64 / 3_600.0;
    let mut text = format!(
        "{seeds} seeds in all, {} passed, {} faults, {} operations, {hours:.1} h simulated in \
         {:.1} h\n",
        sum(|chunk| chunk.passed),
        sum(|chunk| chunk.faults),
        sum(|chunk| chunk.operations),
        sum(|chunk| chunk.wall_s) as f64 / 3_600.0,
    );
    for (what, times) in counts.iter() {
        text += &format!("  {what}: {times}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_file_says_where_to_go_on() {
        let chunk = Chunk::of(1..101, &Summary { seeds: 100, ..Summary::default() });
        let text = serde_json::to_string(&chunk).expect("text");
        let again: Chunk = serde_json::from_str(&text).expect("a chunk");
        assert_eq!((again.from, again.to, again.passed), (1, 100, 100));
        assert_eq!(next(&[again]), Some(101));
        assert_eq!(next(&[]), None);
    }
}
