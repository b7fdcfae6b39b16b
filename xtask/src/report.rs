//! What docs/reliability.md says of runs, made from the result files: figures that are not copied
//! cannot drift.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What the campaign has come to, a line for each range of seeds of one commit.
pub const RESULTS: &str = "docs/sim-results.jsonl";
/// The seeds at which mistakes made on purpose are caught.
pub const BUGS: &str = "crates/sim/bugs.jsonl";
pub const PAGE: &str = "docs/reliability.md";
const SIM: (&str, &str) =
    ("<!-- cargo xtask sim-report: begin -->\n", "<!-- cargo xtask sim-report: end -->\n");
const SUITES: (&str, &str) =
    ("<!-- cargo xtask suite-report: begin -->\n", "<!-- cargo xtask suite-report: end -->\n");
/// What the issue asks for in all.
const WANTED: u64 = 20_000;

#[derive(Debug, Deserialize)]
struct Range {
    commit: String,
    from: u64,
    to: u64,
    passed: u64,
    failed: Vec<Failed>,
    unknown: Vec<Failed>,
    operations: u64,
    simulated_s: u64,
    wall_s: u64,
    cpu_s: u64,
    counts: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    seed: u64,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Caught {
    bug: String,
    seed: u64,
    tried: u64,
    by: String,
}

/// The page as the result files make it.
///
/// # Errors
/// A file that cannot be read, or a page without its marks.
pub fn page(root: &Path) -> Result<String> {
    let ranges: Vec<Range> = lines(&root.join(RESULTS))?;
    let bugs: Vec<Caught> = lines(&root.join(BUGS))?;
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let page = between(&page, SIM, &section(&ranges, &bugs))?;
    between(&page, SUITES, &crate::suites::section(root)?)
}

/// The page with another text between two marks.
fn between(page: &str, (begin, end): (&str, &str), text: &str) -> Result<String> {
    let (before, rest) = page.split_once(begin).with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no {end}"))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

pub(crate) fn lines<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(file)?;
    let one = |(n, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", file.display(), n + 1))
    };
    text.lines().enumerate().map(one).collect()
}

fn section(ranges: &[Range], bugs: &[Caught]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, times) in ranges.iter().flat_map(|range| &range.counts) {
        *counts.entry(what).or_default() += times;
    }
    let mut text = String::from("\n");
    totals(&mut text, ranges, &counts);
    table(&mut text, "fault injected", &counts, |what| what.strip_prefix("fault "));
    table(&mut text, "checked", &counts, |what| what.strip_prefix("checked "));
    table(&mut text, "invariant looked at", &counts, |what| what.strip_prefix("invariant "));
    table(&mut text, "came to pass", &counts, |what| {
        let elsewhere = ["fault ", "checked ", "invariant "];
        (!elsewhere.iter().any(|prefix| what.starts_with(prefix))).then_some(what)
    });
    wrong(&mut text, ranges);
    if !bugs.is_empty() {
        text +=
            "| mistake made on purpose | seeds until caught | seed repeated by CI | caught by |\n";
        text += "|---|---|---|---|\n";
        for Caught { bug, seed, tried, by } in bugs {
            put(&mut text, format_args!("| {bug} | {tried} | {seed} | {by} |"));
        }
        text += "\n";
    }
    text
}

pub(crate) fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _infallible = writeln!(text, "{line}");
}

fn totals(text: &mut String, ranges: &[Range], counts: &BTreeMap<&str, u64>) {
    let sum = |of: fn(&Range) -> u64| ranges.iter().map(of).sum::<u64>();
    let runs = sum(|range| range.to - range.from + 1);
    let seeds: BTreeSet<u64> = ranges.iter().flat_map(|range| range.from..=range.to).collect();
    let (simulated, cpu) = (sum(|range| range.simulated_s), sum(|range| range.cpu_s));
    let hours = |seconds: u64| seconds as f64 / 3_600.0;
    let named = |prefix: &str| -> u64 {
        counts.iter().filter(|(what, _)| what.starts_with(prefix)).map(|(_, times)| times).sum()
    };
    put(text, format_args!("| the campaign so far | |\n|---|---|"));
    let commits: Vec<&str> = ranges.iter().map(|range| range.commit.as_str()).collect();
    let distinct = commits.iter().collect::<BTreeSet<_>>().len();
    let seeds = n(seeds.len() as u64);
    put(text, format_args!("| seeds | {seeds} of {}, over {distinct} commits |", n(WANTED)));
    put(text, format_args!("| runs, as some seeds were run on two commits | {} |", n(runs)));
    let (failed, unknown) =
        (sum(|range| range.failed.len() as u64), sum(|range| range.unknown.len() as u64));
    put(
        text,
        format_args!(
            "| verdicts | {} passed, {failed} failed, {unknown} unknown |",
            n(sum(|range| range.passed))
        ),
    );
    put(text, format_args!("| simulated | {:.1} h |", hours(simulated)));
    put(
        text,
        format_args!(
            "| took | {:.1} h of one core ({:.2} s a seed, {:.0} times as fast as the \
             clock), {:.1} h on a shared machine |",
            hours(cpu),
            cpu as f64 / runs.max(1) as f64,
            simulated as f64 / cpu.max(1) as f64,
            hours(sum(|range| range.wall_s)),
        ),
    );
    put(text, format_args!("| calls of clients | {} |", n(sum(|range| range.operations))));
    put(text, format_args!("| faults injected | {} |", n(named("fault "))));
    put(text, format_args!("| checks | {} |\n", n(named("checked "))));
}

fn table<'a>(
    text: &mut String,
    title: &str,
    counts: &BTreeMap<&'a str, u64>,
    named: impl Fn(&'a str) -> Option<&'a str>,
) {
    let rows: Vec<String> = counts
        .iter()
        .filter_map(|(what, times)| Some(format!("{} {}", named(what)?, n(*times))))
        .collect();
    if !rows.is_empty() {
        put(
            text,
            format_args!("{}{}: {}.\n", title[..1].to_uppercase(), &title[1..], rows.join(", ")),
        );
    }
}

fn wrong(text: &mut String, ranges: &[Range]) {
    let all: Vec<(&Range, &Failed, &str)> = ranges
        .iter()
        .flat_map(|range| {
            let failed = range.failed.iter().map(move |one| (range, one, "failed"));
            failed.chain(range.unknown.iter().map(move |one| (range, one, "unknown")))
        })
        .collect();
    if all.is_empty() {
        return;
    }
    text.push_str("| commit | seed | verdict | why |\n|---|---|---|---|\n");
    for (range, one, word) in all {
        let why = one.why.replace('|', "/");
        put(text, format_args!("| {} | {} | {word} | {why} |", range.commit, one.seed));
    }
    text.push('\n');
}

/// A number with its thousands apart.
pub(crate) fn n(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([n(7), n(999), n(1_000), n(1_234_567)], ["7", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_failing_seed_is_named_with_its_commit() {
        let line = r#"{"commit":"abc","from":1,"to":100,"passed":99,"failed":[{"seed":7,"why":"x"}],
            "unknown":[],"operations":5,"simulated_s":7200,"wall_s":90,"cpu_s":80,
            "counts":{"fault kill":3,"checked order":4,"torn tail met":2}}"#;
        let range: Range = serde_json::from_str(line).expect("a range");
        let text = section(&[range], &[]);
        assert!(text.contains("| abc | 7 | failed | x |"), "{text}");
        assert!(text.contains("| simulated | 2.0 h |"), "{text}");
        assert!(text.contains("Fault injected: kill 3."), "{text}");
    }
}
