//! Many seeds: several processes, one simulation each at a time, and what all of it came to.

mod crew;
pub mod hunt;
pub mod results;

use std::ops::Range;
use std::time::{Duration, Instant};

use hansa_types::seeded::Bug;
use serde::{Deserialize, Serialize};

use self::crew::Crew;
pub use self::crew::Task;
use self::results::{Chunk, Wrong};
use crate::coverage::{self, Counts};
use crate::run::Done;
use crate::verdict::Word;

/// Seeds between two entries of the result file: what an interruption may lose.
const CHUNK: u64 = 100;

/// What came of one seed, as one process tells another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    pub word: Word,
    pub reasons: Vec<String>,
    pub digest: u64,
    pub ops: usize,
    pub counts: Counts,
    pub simulated_ms: u64,
    pub recovered_ms: u64,
    pub served_ms: u64,
    pub wall_ms: u64,
    pub cpu_ms: u64,
    /// The mistake that was made on purpose.
    pub bug: Option<String>,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Took {
    /// What `work` takes, and what comes of it. Its CPU time is this thread's, which runs all of a
    /// simulation; 0 where the system does not say.
    pub fn by<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (began, cpu) = (Instant::now(), cpu("thread-self"));
        let done = work();
        (done, Self { wall: began.elapsed(), cpu: self::cpu("thread-self").saturating_sub(cpu) })
    }
}

/// CPU time of a process's first thread, or of `thread-self`.
fn cpu(of: &str) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{of}/schedstat")).unwrap_or_default();
    let ran = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ran.unwrap_or_default())
}

impl Report {
    #[must_use]
    pub fn of(done: Done, bug: Option<Bug>, took: Took) -> Self {
        Self {
            seed: done.seed,
            word: done.judged.word,
            reasons: done.judged.reasons,
            digest: done.digest,
            ops: done.judged.ops,
            counts: done.counts,
            simulated_ms: done.simulated.as_millis() as u64,
            recovered_ms: done.recovered.as_millis() as u64,
            served_ms: done.served.as_millis() as u64,
            wall_ms: took.wall.as_millis() as u64,
            cpu_ms: took.cpu.as_millis() as u64,
            bug: bug.map(|bug| bug.name().to_owned()),
        }
    }

    /// A seed whose process died or hung.
    #[must_use]
    pub fn lost((seed, bug): Task, why: String) -> Self {
        Self {
            seed,
            word: Word::Fail,
            reasons: vec![why],
            digest: 0,
            ops: 0,
            counts: Counts::default(),
            simulated_ms: 0,
            recovered_ms: 0,
            served_ms: 0,
            wall_ms: 0,
            cpu_ms: 0,
            bug: bug.map(|bug| bug.name().to_owned()),
        }
    }
}

/// How a batch is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    pub jobs: usize,
    pub bug: Option<Bug>,
    pub results: Option<std::path::PathBuf>,
    /// Run each seed twice: the digests must be equal.
    pub twice: bool,
    /// Stop at the first seed that does not pass.
    pub first: bool,
}

/// What a batch came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    pub failed: Vec<Wrong>,
    pub unknown: Vec<Wrong>,
    /// Seeds whose two runs differ.
    pub differ: Vec<u64>,
    pub counts: Counts,
    pub simulated: Duration,
    pub wall: Duration,
    pub cpu: Duration,
    /// The slowest recovery, and its seed.
    pub recovered_max: (Duration, u64),
    /// From the heal to the first order of a client that was not there before, of each seed.
    pub served_ms: Vec<(u64, u64)>,
    pub ops: u64,
}

impl Summary {
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed.is_empty() && self.unknown.is_empty() && self.differ.is_empty()
    }

    /// Wanted faults that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        coverage::missing(&self.counts, self.seeds)
    }

    /// What the servers took to serve again after the heal: the median, the slowest hundredth, the
    /// slowest and its seed.
    #[must_use]
    pub fn served(&self) -> Option<(u64, u64, (u64, u64))> {
        let mut all = self.served_ms.clone();
        all.sort_unstable();
        let last = all.len().checked_sub(1)?;
        let at = |percent: usize| all.get((all.len() * percent / 100).min(last));
        Some((at(50)?.0, at(99)?.0, *all.last()?))
    }

    fn take(&mut self, report: &Report) {
        self.seeds += 1;
        match report.word {
            Word::Pass => {}
            Word::Fail => self.failed.push(Wrong::of(report)),
            Word::Unknown => self.unknown.push(Wrong::of(report)),
        }
        self.counts.merge(&report.counts);
        self.simulated += Duration::from_millis(report.simulated_ms);
        self.cpu += Duration::from_millis(report.cpu_ms);
        let recovered = Duration::from_millis(report.recovered_ms);
        self.recovered_max = self.recovered_max.max((recovered, report.seed));
        if report.served_ms > 0 {
            self.served_ms.push((report.served_ms, report.seed));
        }
        self.ops += report.ops as u64;
    }
}

/// Runs the seeds, tells about them on stderr as they end, and appends to the result file.
///
/// # Errors
/// Processes that cannot be started, a result file that cannot be written.
pub fn run(seeds: Range<u64>, options: &Options) -> anyhow::Result<Summary> {
    let mut all = Summary::default();
    let began = Instant::now();
    let mut crew = Crew::new(options.jobs)?;
    let mut from = seeds.start;
    while from < seeds.end {
        let to = (from + CHUNK).min(seeds.end);
        let (chunk_began, mut chunk) = (Instant::now(), Summary::default());
        crew.run((from..to).map(|seed| (seed, options.bug)), |report| {
            all.take(report);
            chunk.take(report);
            tell(report, &all, began.elapsed());
            !(options.first && report.word != Word::Pass)
        })?;
        if options.twice {
            differ(&mut crew, from..to, options.bug, &mut all)?;
        }
        chunk.wall = chunk_began.elapsed();
        if let Some(file) = &options.results {
            results::append(file, Chunk::of(from..to, &chunk))?;
        }
        if options.first && !all.passed() {
            break;
        }
        from = to;
    }
    all.wall = began.elapsed();
    Ok(all)
}

/// Runs each seed again in the opposite order: what ran before must not matter either.
fn differ(
    crew: &mut Crew,
    seeds: Range<u64>,
    bug: Option<Bug>,
    all: &mut Summary,
) -> anyhow::Result<()> {
    let mut digests = std::collections::BTreeMap::new();
    for round in 0..2 {
        let order: Vec<u64> = match round {
            0 => seeds.clone().collect(),
            _ => seeds.clone().rev().collect(),
        };
        crew.run(order.into_iter().map(|seed| (seed, bug)), |report| {
            let first = *digests.entry(report.seed).or_insert(report.digest);
            if first != report.digest {
                eprintln!("seed {}: {first:016x} and {:016x}", report.seed, report.digest);
                all.differ.push(report.seed);
            }
            true
        })?;
    }
    Ok(())
}

fn tell(report: &Report, all: &Summary, wall: Duration) {
    if report.word != Word::Pass {
        let bug = report.bug.as_ref().map_or_else(String::new, |bug| format!(" --bug {bug}"));
        eprintln!("seed {}: {:?}", report.seed, report.word);
        report.reasons.iter().for_each(|reason| eprintln!("  {reason}"));
        eprintln!("  repeat: cargo xtask sim --seed {}{bug} -v", report.seed);
    }
    if all.seeds.is_multiple_of(20) {
        let (failed, unknown) = (all.failed.len(), all.unknown.len());
        let (simulated, wall) = (all.simulated.as_secs_f64(), wall.as_secs_f64());
        eprintln!(
            "{} seeds, {failed} failed, {unknown} unknown, {} faults, {:.2} h simulated, {:.2} s \
             a seed",
            all.seeds,
            all.counts.faults(),
            simulated / 3_600.0,
            wall / all.seeds as f64,
        );
    }
}
