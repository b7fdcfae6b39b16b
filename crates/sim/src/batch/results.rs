//! The cumulative result file: one JSON line for each range of seeds of one commit.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Report, Summary};
use crate::coverage::Counts;

/// Characters of a reason that the file keeps.
const WHY_MAX: usize = 120;

/// A seed that did not pass, and the first reason in short.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wrong {
    pub seed: u64,
    pub why: String,
}

impl Wrong {
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let first = report.reasons.first().and_then(|reason| reason.lines().next());
        let why = first.unwrap_or_default().chars().take(WHY_MAX).collect();
        Self { seed: report.seed, why }
    }
}

/// Some seeds in a row, and what they came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chunk {
    pub commit: String,
    pub from: u64,
    /// The last seed.
    pub to: u64,
    pub passed: u64,
    pub failed: Vec<Wrong>,
    pub unknown: Vec<Wrong>,
    pub operations: u64,
    pub simulated_s: u64,
    pub wall_s: u64,
    pub cpu_s: u64,
    /// The slowest first order after the heal, and its seed.
    pub recovered_max_ms: (u64, u64),
    pub counts: Counts,
}

impl Chunk {
    #[must_use]
    pub fn of(seeds: Range<u64>, summary: &Summary) -> Self {
        let wrong = (summary.failed.len() + summary.unknown.len()) as u64;
        let (slowest, seed) = summary.recovered_max;
        Self {
            commit: commit(),
            from: seeds.start,
            to: seeds.end - 1,
            passed: summary.seeds - wrong,
            failed: summary.failed.clone(),
            unknown: summary.unknown.clone(),
            operations: summary.ops,
            simulated_s: summary.simulated.as_secs(),
            wall_s: summary.wall.as_secs(),
            cpu_s: summary.cpu.as_secs(),
            recovered_max_ms: (slowest.as_millis() as u64, seed),
            counts: summary.counts.clone(),
        }
    }

    /// Takes in the next seeds of the same commit.
    fn grow(&mut self, next: Self) {
        self.to = next.to;
        self.passed += next.passed;
        self.failed.extend(next.failed);
        self.unknown.extend(next.unknown);
        self.operations += next.operations;
        self.simulated_s += next.simulated_s;
        self.wall_s += next.wall_s;
        self.cpu_s += next.cpu_s;
        self.recovered_max_ms = self.recovered_max_ms.max(next.recovered_max_ms);
        self.counts.merge(&next.counts);
    }
}

/// The commit that was built: `HANSA_SIM_COMMIT` where the program was copied aside.
fn commit() -> String {
    if let Ok(commit) = std::env::var("HANSA_SIM_COMMIT") {
        return commit;
    }
    let asked = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// Adds to the file: to its last line when that is of the same commit and ends where this begins.
///
/// # Errors
/// The file does not take it.
pub fn append(file: &Path, chunk: Chunk) -> anyhow::Result<()> {
    let mut all = read(file)?;
    match all.last_mut() {
        Some(last) if last.commit == chunk.commit && last.to + 1 == chunk.from => last.grow(chunk),
        _ => all.push(chunk),
    }
    replace(file, &all)
}

/// Puts these lines in the file's place, whole or not at all.
pub(super) fn replace(file: &Path, lines: &[impl Serialize]) -> anyhow::Result<()> {
    let aside = file.with_extension("tmp");
    let mut out = std::fs::File::create(&aside)?;
    for line in lines {
        writeln!(out, "{}", serde_json::to_string(line)?)?;
    }
    out.sync_all()?;
    Ok(std::fs::rename(&aside, file)?)
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
    let hours = |seconds: u64| seconds as f64 / 3_600.0;
    let mut text = format!(
        "{seeds} seeds in all, {} passed, {} faults, {} operations, {:.1} h simulated in {:.1} h \
         of one core\n",
        sum(|chunk| chunk.passed),
        counts.faults(),
        sum(|chunk| chunk.operations),
        hours(sum(|chunk| chunk.simulated_s)),
        hours(sum(|chunk| chunk.cpu_s)),
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
    fn a_result_file_says_where_to_go_on_and_a_commit_is_one_line() {
        let file = std::env::temp_dir().join(format!("hansa-sim-{}.jsonl", std::process::id()));
        let chunk = |seeds: Range<u64>, commit: &str| {
            let summary = Summary { seeds: seeds.end - seeds.start, ..Summary::default() };
            Chunk { commit: commit.to_owned(), ..Chunk::of(seeds, &summary) }
        };
        assert_eq!(next(&[]), None);
        for (seeds, commit) in [(1..101, "a"), (101..201, "a"), (201..301, "b"), (401..501, "b")] {
            append(&file, chunk(seeds, commit)).expect("written");
        }
        let all = read(&file).expect("readable");
        std::fs::remove_file(&file).expect("removed");
        let ranges: Vec<_> = all.iter().map(|chunk| (chunk.from, chunk.to, chunk.passed)).collect();
        assert_eq!(ranges, [(1, 200, 200), (201, 300, 100), (401, 500, 100)]);
        assert_eq!(next(&all), Some(501));
    }
}
