//! Counts the instructions of hot paths (`crates/counts`) and compares them with what is kept.
//!
//! Time drifts by a fifth on a shared machine; instructions hardly do. Each path is run N times and
//! 2N times under callgrind: the difference is N times the path, without what comes before it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::sim::{self, Profile};
use crate::workspace_root;

/// What was counted when somebody last looked.
const KEPT: &str = "crates/counts/counts.toml";
/// In percent. Runs of one program do not differ by an instruction.
const TOLERANCE: f64 = 2.0;
/// With another C library: every sixth instruction of the saga is its own, of `malloc` and
/// `memcpy`, and another way to copy is up to 3 % of a path.
const TOLERANCE_OTHER_LIBC: f64 = 5.0;
const CALLGRIND: &[&str] =
    &["--tool=callgrind", "--cache-sim=no", "--callgrind-out-file=/dev/null"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Kept,
    Differs,
    Skipped,
}

/// What is kept, and of which compiler and C library.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    rustc: String,
    libc: String,
    instructions: BTreeMap<String, u64>,
}

/// One path, as the program lists it.
struct Case {
    name: String,
    times: u64,
    what: String,
}

struct Count {
    case: Case,
    /// For each time.
    instructions: u64,
}

/// Builds, counts and compares; says what came of it.
///
/// # Errors
/// A build that fails, a path that refuses, a file that does not read.
pub fn check() -> Result<Verdict> {
    let kept: Kept = toml::from_str(&std::fs::read_to_string(workspace_root().join(KEPT))?)?;
    let rustc = rustc()?;
    // Another compiler makes other instructions of everything.
    let other = (kept.rustc != rustc).then(|| {
        format!("{KEPT} is of {}, and this is {rustc}: `cargo xtask counts --write`", kept.rustc)
    });
    if let Some(why) = unable().or(other) {
        tell(&format!("SKIPPED: counts: {why}"));
        return Ok(Verdict::Skipped);
    }
    let program = sim::build(Profile::Sim)?.with_file_name(sim::COUNTS);
    let counts = count(&program)?;
    table(&counts, &kept.instructions);
    let tolerance = tolerance(&kept)?;
    let problems = compare(&counts, &kept.instructions, tolerance);
    for problem in &problems {
        tell(problem);
    }
    if problems.is_empty() {
        return Ok(Verdict::Kept);
    }
    tell(&format!(
        "If it is meant so, write it down: `cargo xtask counts --write`. Where it goes: valgrind \
         --tool=callgrind {} CASE TIMES, then callgrind_annotate",
        program.display()
    ));
    Ok(Verdict::Differs)
}

/// Counts, and writes down what came of it.
///
/// # Errors
/// As [`check`]; and where nothing can be counted.
pub fn write() -> Result<()> {
    if let Some(why) = unable() {
        bail!("instructions cannot be counted: {why}");
    }
    let counts = count(&sim::build(Profile::Sim)?.with_file_name(sim::COUNTS))?;
    let path = workspace_root().join(KEPT);
    let kept = std::fs::read_to_string(&path).ok().and_then(|text| toml::from_str(&text).ok());
    table(&counts, &kept.map(|kept: Kept| kept.instructions).unwrap_or_default());
    std::fs::write(path, text(&counts, &rustc()?, &libc()?))?;
    Ok(())
}

/// Counts another build of the program; compares nothing.
///
/// # Errors
/// As [`write`].
pub fn show(program: &Path) -> Result<()> {
    if let Some(why) = unable() {
        bail!("instructions cannot be counted: {why}");
    }
    table(&count(program)?, &BTreeMap::new());
    Ok(())
}

/// Why nothing can be counted here.
fn unable() -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("what is kept is of Linux on x86-64".to_owned());
    }
    // valgrind shows a program the same processor everywhere, but for what the real one cannot do.
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu.split_ascii_whitespace().any(|flag| flag == "avx2") {
        return Some("what is kept is of a processor with AVX2".to_owned());
    }
    match Command::new("valgrind").args(CALLGRIND).arg("true").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(why) => Some(format!("no valgrind: {why}")),
    }
}

fn rustc() -> Result<String> {
    version("rustc", "--version")
}

fn libc() -> Result<String> {
    version("getconf", "GNU_LIBC_VERSION")
}

fn version(program: &str, arg: &str) -> Result<String> {
    let output = Command::new(program).arg(arg).current_dir(workspace_root()).output();
    Ok(String::from_utf8(output.with_context(|| program.to_owned())?.stdout)?.trim().to_owned())
}

fn tolerance(kept: &Kept) -> Result<f64> {
    let libc = libc()?;
    if kept.libc == libc {
        return Ok(TOLERANCE);
    }
    tell(&format!("{KEPT} is of {}, and this is {libc}: {TOLERANCE_OTHER_LIBC} %", kept.libc));
    Ok(TOLERANCE_OTHER_LIBC)
}

fn count(program: &Path) -> Result<Vec<Count>> {
    cases(program)?
        .into_iter()
        .map(|case| {
            let once = run(program, &case.name, case.times)?;
            let twice = run(program, &case.name, 2 * case.times)?;
            let more = twice.checked_sub(once).context("more times take fewer instructions")?;
            Ok(Count { instructions: more / case.times, case })
        })
        .collect()
}

fn cases(program: &Path) -> Result<Vec<Case>> {
    let output = Command::new(program).output().context("the program does not start")?;
    let case = |line: &str| {
        let [name, times, what] = line.split('\t').collect::<Vec<_>>()[..] else {
            bail!("no case: {line}");
        };
        let times = times.parse()?;
        ensure!(times > 0, "no times: {line}");
        Ok(Case { name: name.to_owned(), times, what: what.to_owned() })
    };
    String::from_utf8(output.stdout)?.lines().map(case).collect()
}

/// All instructions of one run.
fn run(program: &Path, name: &str, times: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(CALLGRIND).arg(program).arg(name).arg(times.to_string());
    // Nothing of ours may change it; valgrind itself is found by its path.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.output().context("valgrind does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.with_context(|| format!("no count in: {said}"))?;
    Ok(collected.trim().parse()?)
}

fn compare(counts: &[Count], kept: &BTreeMap<String, u64>, tolerance: f64) -> Vec<String> {
    let mut problems: Vec<String> = counts
        .iter()
        .filter_map(|Count { case, instructions }| match kept.get(&case.name) {
            None => Some(format!("{} is not kept yet", case.name)),
            Some(kept) => {
                let change = change(*instructions, *kept);
                let word = if change > 0.0 { "worse" } else { "better" };
                let off = change.abs() > tolerance;
                off.then(|| format!("{} is {word} by {:.1} %", case.name, change.abs()))
            }
        })
        .collect();
    let gone = kept.keys().filter(|name| counts.iter().all(|count| count.case.name != **name));
    problems.extend(gone.map(|name| format!("{name} is kept, and not there any more")));
    problems
}

/// In percent.
fn change(now: u64, kept: u64) -> f64 {
    (now as f64 / kept as f64 - 1.0) * 100.0
}

fn table(counts: &[Count], kept: &BTreeMap<String, u64>) {
    tell(&format!("{:<28} {:>12} {:>12} {:>9}", "instructions of", "now", "kept", "change"));
    for Count { case, instructions } in counts {
        let (before, change) = match kept.get(&case.name) {
            Some(kept) => (kept.to_string(), format!("{:+.2} %", change(*instructions, *kept))),
            None => ("-".to_owned(), String::new()),
        };
        let Case { name, what, .. } = case;
        tell(&format!("{name:<28} {instructions:>12} {before:>12} {change:>9}  {what}"));
    }
}

/// To stderr as it is, which a test that passes does not capture.
fn tell(line: &str) {
    // Nobody to tell is no reason to fail.
    let _unheard = writeln!(std::io::stderr(), "{line}");
}

fn text(counts: &[Count], rustc: &str, libc: &str) -> String {
    let mut text = format!(
        "# Instructions of the paths in crates/counts, one time of each (docs/performance.md).\n\
         # Written by `cargo xtask counts --write`.\nrustc = \"{rustc}\"\n\
         libc = \"{libc}\"\n\n[instructions]\n"
    );
    for Count { case, instructions } in counts {
        text.push_str(&format!("\"{}\" = {instructions} # {}\n", case.name, case.what));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, instructions: u64) -> Count {
        let case = Case { name: name.to_owned(), times: 1, what: "a thing".to_owned() };
        Count { case, instructions }
    }

    fn check(now: &[Count], kept: &[(&str, u64)]) -> usize {
        let kept = kept.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        compare(now, &kept, TOLERANCE).len()
    }

    #[test]
    fn worse_and_better_are_both_written_down() {
        for (now, problems) in [(979, 1), (981, 0), (1_000, 0), (1_019, 0), (1_021, 1)] {
            assert_eq!(check(&[counted("a", now)], &[("a", 1_000)]), problems, "{now}");
        }
    }

    #[test]
    fn a_path_that_is_new_or_gone_is_written_down() {
        assert_eq!(check(&[counted("a", 5), counted("b", 5)], &[("a", 5)]), 1);
        assert_eq!(check(&[counted("a", 5)], &[("a", 5), ("b", 5)]), 1);
    }

    #[test]
    fn what_is_written_reads_back() {
        let rustc = "rustc 1.95.0 (59807616e 2026-04-14)";
        let written = text(&[counted("a.b+c", 5)], rustc, "glibc 2.36");
        let kept: Kept = toml::from_str(&written).unwrap();
        assert_eq!((kept.rustc.as_str(), kept.libc.as_str()), (rustc, "glibc 2.36"));
        assert_eq!(check(&[counted("a.b+c", 5)], &[("a.b+c", 5)]), 0);
        assert_eq!(kept.instructions.get("a.b+c"), Some(&5));
    }
}
