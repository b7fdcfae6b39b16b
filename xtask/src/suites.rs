//! The process suites' part of docs/reliability.md, made from what the suites themselves counted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::report::{lines, n, put};

/// The last run of each suite and scale, a line each.
pub const RESULTS: &str = "docs/suite-results.jsonl";

/// What a run of a suite came to, and where.
#[derive(Debug, Deserialize, Serialize)]
struct Run {
    suite: String,
    commit: String,
    /// `ci` or `full`: docs/reliability.md.
    scale: String,
    build: String,
    load_average: String,
    faults: BTreeMap<String, u64>,
    calls: u64,
    /// Calls that a client with the published policy saw fail.
    failed: u64,
    checks: BTreeMap<String, u64>,
}

/// Takes `suite-*.json` of a folder in, in place of earlier runs of the same suites.
///
/// # Errors
/// Files that cannot be read or written, or none.
pub fn take(root: &Path, folder: &Path) -> Result<()> {
    let runs: Vec<Run> = lines(&root.join(RESULTS))?;
    let mut runs: BTreeMap<_, Run> = runs.into_iter().map(|run| (key(&run), run)).collect();
    let mut found = 0;
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("suite-") && name.ends_with(".json") {
            let run = read(&path).with_context(|| path.display().to_string())?;
            runs.insert(key(&run), run);
            found += 1;
        }
    }
    ensure!(found > 0, "no suite-*.json in {}", folder.display());
    let mut text = String::new();
    for run in runs.values() {
        text += &serde_json::to_string(run)?;
        text.push('\n');
    }
    Ok(std::fs::write(root.join(RESULTS), text)?)
}

/// A suite's newest run of each scale is kept: a short one says nothing of what a full one did.
fn key(run: &Run) -> (String, String) {
    (run.suite.clone(), run.scale.clone())
}

/// One file as `hansa_tests::suite` writes it, after its last check has passed.
fn read(file: &Path) -> Result<Run> {
    let whole: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let mut run = whole["figures"].clone();
    for of_machine in ["commit", "build", "load_average"] {
        run[of_machine] = whole["machine"][of_machine].clone();
    }
    Ok(serde_json::from_value(run)?)
}

/// # Errors
/// Results that cannot be read.
pub fn section(root: &Path) -> Result<String> {
    Ok(render(&lines(&root.join(RESULTS))?))
}

fn render(runs: &[Run]) -> String {
    let mut text = String::from("\n| suite | run | faults injected | calls | checks |\n");
    text += "|---|---|---|---|---|\n";
    for run in runs {
        let Run { suite, commit, scale, build, load_average, calls, failed, .. } = run;
        let (faults, checks) = (classes(&run.faults), classes(&run.checks));
        put(
            &mut text,
            format_args!(
                "| `{suite}` | {scale}, {build}, {commit}, load {load_average} | {faults} | \
                 {}, {} failed | {checks} |",
                n(*calls),
                n(*failed),
            ),
        );
    }
    let sum = |of: fn(&Run) -> &BTreeMap<String, u64>| -> u64 {
        runs.iter().flat_map(|run| of(run).values()).sum()
    };
    let calls = runs.iter().map(|run| run.calls).sum();
    let (faults, checks) = (sum(|run| &run.faults), sum(|run| &run.checks));
    put(&mut text, format_args!("| all | | {} | {} | {} |\n", n(faults), n(calls), n(checks)));
    text
}

fn classes(counts: &BTreeMap<String, u64>) -> String {
    let one = |(class, times): (&String, &u64)| format!("{class} {}", n(*times));
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_row_and_all_runs_are_summed() {
        let line = r#"{"suite":"faults","commit":"abc","scale":"ci","build":"debug",
            "load_average":"1.5","faults":{"kill":3,"stop":1},"calls":1200,"failed":2,
            "checks":{"orders":40}}"#;
        let run: Run = serde_json::from_str(line).expect("a run");
        let text = render(&[run]);
        let row = "| `faults` | ci, debug, abc, load 1.5 | kill 3, stop 1 | 1,200, 2 failed | \
                   orders 40 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| all | | 4 | 1,200 | 40 |"), "{text}");
    }
}
