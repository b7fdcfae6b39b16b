//! `hansa-sim`: built and run by `cargo xtask sim`, which sees to the build that it needs.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hansa_checker::{lines, with_final_reads};
use hansa_sim::batch::results::Wrong;
use hansa_sim::batch::{self, Options, Report, Summary, Took, hunt, results};
use hansa_sim::plan::Plan;
use hansa_sim::run::Done;
use hansa_sim::verdict::Word;
use hansa_sim::{run, trace};
use hansa_types::seeded::Bug;

/// Runs the league in one thread, breaks it by seed, and judges what its clients saw.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// One seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed; by default the one after the last in the result file, or 1.
    #[arg(long)]
    from: Option<u64>,
    /// Adds to this file, every 100 seeds; one line for each range of a commit.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Simulations at once, each in a process.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Makes this mistake on purpose; see `hansa_types::seeded`.
    #[arg(long, value_parser = bug)]
    bug: Option<Bug>,
    /// Looks for seeds at which mistakes made on purpose (`--bug`, or each) are caught, and writes
    /// them to this file.
    #[arg(long)]
    hunt: Option<PathBuf>,
    /// Repeats the seeds in this file: each must fail with its mistake and pass without.
    #[arg(long)]
    prove: Option<PathBuf>,
    /// Runs each seed twice more; its digests must be equal.
    #[arg(long)]
    twice: bool,
    /// Stops at the first seed that does not pass.
    #[arg(long)]
    first: bool,
    /// With one seed: its plan and every line of its trace.
    #[arg(short, long)]
    verbose: bool,
    /// With one seed: writes the history to this file, one operation a line.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Reads seeds and mistakes from stdin and writes reports to stdout.
    #[arg(long, hide = true)]
    worker: bool,
}

fn bug(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if !cfg!(tokio_unstable) || !cfg!(feature = "simulated") {
        // tokio would draw from the system which waiter it wakes: no seed would mean anything.
        anyhow::bail!("not built for simulation: run it as `cargo xtask sim`");
    }
    if args.worker {
        return worker();
    }
    if let Some(file) = &args.hunt {
        return hunt(file, &args);
    }
    if let Some(file) = &args.prove {
        let wrong = hunt::prove(&hunt::read(file)?, args.jobs)?;
        wrong.iter().for_each(|what| println!("{what}"));
        return Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Some(seed) = args.seed {
        return Ok(one(seed, &args));
    }
    many(&args)
}

fn worker() -> anyhow::Result<ExitCode> {
    trace::install();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let seed = words.next().unwrap_or_default().parse()?;
        let bug = words.next().and_then(Bug::named);
        let (done, took) = Took::by(|| run::run(Plan::draw(seed, bug), false));
        println!("{}", serde_json::to_string(&Report::of(done, bug, took))?);
    }
    Ok(ExitCode::SUCCESS)
}

fn hunt(file: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let from = args.from.unwrap_or(1);
    let mut code = ExitCode::SUCCESS;
    for bug in Bug::ALL.into_iter().filter(|bug| args.bug.is_none_or(|only| only == *bug)) {
        match hunt::hunt(bug, from..from + args.seeds, args.jobs)? {
            Some(caught) => {
                println!(
                    "{}: seed {} ({} tried): {}",
                    caught.bug, caught.seed, caught.tried, caught.by
                );
                hunt::write(file, caught)?;
            }
            None => {
                println!("{}: not caught in {} seeds", bug.name(), args.seeds);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn one(seed: u64, args: &Args) -> ExitCode {
    trace::install();
    let plan = Plan::draw(seed, args.bug);
    println!("{plan}");
    let (done, took) = Took::by(|| run::run(plan, args.verbose));
    let wall = took.wall.as_secs_f64();
    if let Some(file) = &args.history
        && let Err(error) = write_history(file, &done)
    {
        eprintln!("{}: {error}", file.display());
    }
    let [simulated, recovered, served] =
        [done.simulated, done.recovered, done.served].map(|took| took.as_secs_f64());
    println!(
        "{:?}: digest {:016x}, {} lines, {} operations, {simulated:.1} s simulated in {wall:.2} s, \
         first order {recovered:.2} s after the heal, of a fresh client {served:.2} s",
        done.judged.word, done.digest, done.lines, done.judged.ops,
    );
    for (what, times) in done.counts.iter() {
        println!("  {what}: {times}");
    }
    done.judged.reasons.iter().for_each(|reason| println!("  {reason}"));
    match done.judged.word {
        Word::Pass => ExitCode::SUCCESS,
        Word::Fail | Word::Unknown => {
            if !args.verbose {
                done.tail.iter().for_each(|line| println!("  … {line}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// As it was judged: what clients did, and the final reads.
fn write_history(file: &Path, done: &Done) -> anyhow::Result<()> {
    let file = std::fs::File::create(file)?;
    let history = with_final_reads(&done.history, done.finals.as_ref());
    Ok(lines::write(&history, std::io::BufWriter::new(file))?)
}

fn many(args: &Args) -> anyhow::Result<ExitCode> {
    let chunks = match &args.results {
        Some(file) => results::read(file)?,
        None => Vec::new(),
    };
    let from = args.from.or_else(|| results::next(&chunks)).unwrap_or(1);
    let options = Options {
        jobs: args.jobs,
        bug: args.bug,
        results: args.results.clone(),
        twice: args.twice,
        first: args.first,
    };
    let summary = batch::run(from..from + args.seeds, &options)?;
    tell(&summary);
    if let Some(file) = &args.results {
        println!("{}", results::total(&results::read(file)?));
    }
    let missing = if args.bug.is_none() { summary.missing() } else { Vec::new() };
    missing.iter().for_each(|what| println!("never happened: {what}"));
    match summary.passed() && missing.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn tell(summary: &Summary) {
    for (what, times) in summary.counts.iter() {
        println!("  {what}: {times}");
    }
    let Summary { seeds, differ, ops, .. } = summary;
    let seeds_of = |wrong: &[Wrong]| wrong.iter().map(|wrong| wrong.seed).collect::<Vec<_>>();
    let (failed, unknown) = (seeds_of(&summary.failed), seeds_of(&summary.unknown));
    println!(
        "{seeds} seeds: {} failed {failed:?}, {} unknown {unknown:?}, {} not repeatable {differ:?}",
        failed.len(),
        unknown.len(),
        differ.len(),
    );
    let (simulated, wall) = (summary.simulated.as_secs_f64(), summary.wall.as_secs_f64());
    println!(
        "{} faults, {ops} operations, {:.2} h simulated in {wall:.0} s ({:.0} times as fast), \
         slowest recovery {:.2} s in seed {}",
        summary.counts.faults(),
        simulated / 3_600.0,
        simulated / wall.max(0.001),
        summary.recovered_max.0.as_secs_f64(),
        summary.recovered_max.1,
    );
    if let Some((median, p99, (slowest, seed))) = summary.served() {
        println!(
            "a fresh client is served {median} ms after the heal (median), {p99} ms (p99), \
             {slowest} ms (slowest, seed {seed})"
        );
    }
}
