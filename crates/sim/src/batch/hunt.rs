//! The harness proves itself: mistakes made on purpose, and the seeds at which they are caught.

use std::io::BufRead as _;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use hansa_types::seeded::Bug;
use serde::{Deserialize, Serialize};

use super::crew::Crew;
use super::results::{Wrong, replace};
use crate::verdict::Word;

/// When a change of the product moves what a seed does, the mistake must show in one of so many
/// seeds behind the one that was written down.
const MOVED_MAX: u64 = 40;

/// A mistake, and a seed that fails over it and passes without it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Caught {
    pub bug: String,
    pub seed: u64,
    /// How many seeds were run until then.
    pub tried: u64,
    pub by: String,
}

/// Looks for the first seed at which `bug` is caught; `None`: at none of them.
///
/// # Errors
/// Processes that cannot be started.
pub fn hunt(bug: Bug, seeds: Range<u64>, jobs: usize) -> anyhow::Result<Option<Caught>> {
    let mut crew = Crew::new(jobs)?;
    let (mut from, mut tried) = (seeds.start, 0);
    while from < seeds.end {
        let mut found: Option<Wrong> = None;
        let mut last = from;
        crew.run((from..seeds.end).map(|seed| (seed, Some(bug))), |report| {
            (tried, last) = (tried + 1, last.max(report.seed));
            if report.word == Word::Fail {
                found.get_or_insert_with(|| Wrong::of(report));
            }
            found.is_none()
        })?;
        let Some(Wrong { seed, why }) = found else { return Ok(None) };
        if passes(&mut crew, seed)? {
            let bug = bug.name().to_owned();
            return Ok(Some(Caught { bug, seed, tried, by: why }));
        }
        eprintln!("{}: seed {seed} fails without it too", bug.name());
        from = last + 1;
    }
    Ok(None)
}

fn passes(crew: &mut Crew, seed: u64) -> anyhow::Result<bool> {
    let mut passed = false;
    crew.run(std::iter::once((seed, None)), |report| {
        passed = report.word == Word::Pass;
        report.reasons.iter().for_each(|reason| eprintln!("  {reason}"));
        true
    })?;
    Ok(passed)
}

/// Repeats every catching seed, with the mistake and without it; what does not hold.
///
/// # Errors
/// Processes that cannot be started, or a name that is no mistake's.
pub fn prove(all: &[Caught], jobs: usize) -> anyhow::Result<Vec<String>> {
    let mut crew = Crew::new(jobs)?;
    let mut tasks = Vec::new();
    for caught in all {
        let bug = Bug::named(&caught.bug).with_context(|| format!("no mistake {}", caught.bug))?;
        tasks.push((caught.seed, Some(bug)));
        tasks.push((caught.seed, None));
    }
    tasks.sort_unstable();
    tasks.dedup();
    let (mut wrong, mut missed) = (never_caught(all), Vec::new());
    crew.run(tasks.into_iter(), |report| {
        let seed = report.seed;
        match (&report.bug, report.word) {
            (Some(bug), Word::Fail) => eprintln!("{bug}: caught at seed {seed}"),
            (Some(bug), _) => missed.push((bug.clone(), seed)),
            (None, Word::Pass) => {}
            (None, _) => {
                report.reasons.iter().for_each(|reason| eprintln!("  {reason}"));
                wrong.push(format!("seed {seed} does not pass without a mistake"));
            }
        }
        true
    })?;
    for (bug, seed) in missed {
        let seeds = seed + 1..seed + 1 + MOVED_MAX;
        match Bug::named(&bug).map(|bug| hunt(bug, seeds, jobs)).transpose()?.flatten() {
            Some(caught) => eprintln!(
                "{bug}: not caught at seed {seed} any more, but at {}: `cargo xtask sim --hunt` \
                 writes it down",
                caught.seed
            ),
            None => {
                wrong.push(format!("{bug} is caught neither at {seed} nor at {MOVED_MAX} more"))
            }
        }
    }
    Ok(wrong)
}

/// Mistakes of which no seed is written down.
fn never_caught(all: &[Caught]) -> Vec<String> {
    let missing = Bug::ALL.iter().filter(|bug| all.iter().all(|one| one.bug != bug.name()));
    missing
        .map(|bug| {
            let name = bug.name();
            format!("{name}: no seed that catches it is written down: `cargo xtask sim --hunt`")
        })
        .collect()
}

/// What was written down; nothing when there is no file yet.
///
/// # Errors
/// A line that says nothing of the kind.
pub fn read(file: &Path) -> anyhow::Result<Vec<Caught>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let lines = std::io::BufReader::new(std::fs::File::open(file)?).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// Writes down one more, or the same mistake's new seed.
///
/// # Errors
/// The file does not take it.
pub fn write(file: &Path, caught: Caught) -> anyhow::Result<()> {
    let mut all = read(file)?;
    all.retain(|before| before.bug != caught.bug);
    all.push(caught);
    let place = |one: &Caught| Bug::ALL.iter().position(|bug| bug.name() == one.bug);
    all.sort_by_key(place);
    replace(file, &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_has_a_seed_that_catches_it() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs.jsonl");
        assert_eq!(never_caught(&read(&file).unwrap()), Vec::<String>::new());
        assert_eq!(never_caught(&[]).len(), Bug::ALL.len());
        assert!(Bug::ALL.len() >= 12);
    }
}
