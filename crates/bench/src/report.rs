//! What was measured, for people (tables), programs (JSON) and papers (SVG).

use std::path::Path;

use anyhow::Context as _;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use hansa_tests::figures;
use serde_json::{Value, json};

use crate::bench::Run;
use crate::cli::{Common, Output};
use crate::record::Figures;
use crate::scenario::Outcome;
use crate::svg::Chart;

/// Prints the runs of a scenario, and draws them where a folder for it is named.
///
/// # Errors
/// A folder that cannot be written.
pub fn show(common: &Common, scenario: &str, outcome: &Outcome) -> anyhow::Result<()> {
    match common.output {
        Output::Json => println!("{:#}", json(scenario, outcome)),
        Output::Table => println!("{}\n{}", text(&outcome.runs), outcome.notes.join("\n")),
    }
    match &common.svg {
        Some(folder) => draw(folder, scenario, &outcome.runs),
        None => Ok(()),
    }
}

fn json(scenario: &str, outcome: &Outcome) -> Value {
    let Outcome { runs, more, .. } = outcome;
    json!({ "scenario": scenario, "runs": runs, "more": more, "machine": figures::machine() })
}

/// A table of right-aligned cells; the first column names the row.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        let cells = row.into_iter().enumerate().map(|(place, text)| match place {
            0 => Cell::new(text),
            _ => Cell::new(text).set_alignment(CellAlignment::Right),
        });
        table.add_row(cells);
    }
    table.to_string()
}

fn text(runs: &[Run]) -> String {
    let header = ["run", "phase", "per second", "p50 ms", "p95", "p99", "p99.9", "max", "refused"];
    let rows = runs.iter().flat_map(|run| run.phases.iter().map(|phase| row(run, phase)));
    let latencies = table(&header, rows);
    let header = [
        "per unit",
        "CPU us",
        "client",
        "nodes",
        "log syncs",
        "log bytes",
        "disk bytes",
        "entries",
    ];
    let costs = table(&header, runs.iter().map(cost));
    let notes: Vec<String> = runs.iter().flat_map(notes).collect();
    format!("{latencies}\n{costs}\n{}", notes.join("\n"))
}

fn row(run: &Run, phase: &Figures) -> Vec<String> {
    let latency = &phase.latency;
    let refused: u64 = phase.refused.values().sum();
    let rate = format!("{} {}", round(phase.rate), run.unit);
    let mut row = vec![run.name.clone(), phase.phase.to_owned(), rate];
    let times = [latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.p999_ms, latency.max_ms];
    row.extend(times.map(|ms| format!("{ms:.2}")));
    row.push(refused.to_string());
    row
}

fn cost(run: &Run) -> Vec<String> {
    let (cost, done) = (&run.cost, (run.done() as f64).max(1.0));
    let cpu: Vec<f64> = cost.processes.iter().map(|used| used.cpu_seconds * 1e6 / done).collect();
    let nodes: Vec<String> = cpu.iter().skip(1).map(|us| round(*us)).collect();
    let disk: u64 = cost.processes.iter().map(|used| used.disk_bytes).sum();
    let entries = cost.groups.values().fold(0.0, |sum, group| sum + group.entries);
    vec![
        run.name.clone(),
        round(cpu.iter().sum()),
        round(cpu.first().copied().unwrap_or_default()),
        nodes.join(" + "),
        format!("{:.2}", cost.log_syncs / done),
        round(cost.log_bytes / done),
        round(disk as f64 / done),
        format!("{:.2}", entries / done),
    ]
}

/// What a table has no room for.
fn notes(run: &Run) -> Vec<String> {
    let (name, [before, after]) = (&run.name, run.fdatasync_us);
    let memory = run
        .cost
        .processes
        .iter()
        .map(|used| format!("{} {} MiB", used.name, used.memory_max_bytes >> 20));
    let memory: Vec<String> = memory.collect();
    let load = &run.load_average;
    let mut notes = vec![format!(
        "{name}: fdatasync {before} us before, {after} us after; load {load}; peak memory {}",
        memory.join(", ")
    )];
    if !run.cost.silent.is_empty() {
        notes.push(format!("{name}: no metrics from {}", run.cost.silent.join(", ")));
    }
    let batches = run.cost.groups.iter().filter(|(_, group)| group.entries > 0.0);
    let batches: Vec<String> =
        batches.map(|(kind, of)| format!("{kind} {:.1}", of.commands / of.entries)).collect();
    if !batches.is_empty() {
        notes.push(format!("{name}: commands in an entry: {}", batches.join(", ")));
    }
    let threads = threads(run);
    if !threads.is_empty() {
        notes.push(format!("{name}: CPU us by thread of all nodes: {threads}"));
    }
    for phase in &run.phases {
        if !phase.refused.is_empty() {
            let refused = phase.refused.iter().map(|(why, count)| format!("{why} {count}"));
            let refused: Vec<String> = refused.collect();
            let (of, invited) = (phase.phase, phase.refused_with_retry_info);
            let all = refused.join(", ");
            notes.push(format!("{name}, {of}: refused: {all}; {invited} with RetryInfo"));
        }
    }
    notes
}

/// The nodes' threads by name, those that do the most first.
fn threads(run: &Run) -> String {
    let done = (run.done() as f64).max(1.0);
    let mut by_name = std::collections::BTreeMap::<&str, f64>::new();
    for (name, seconds) in run.cost.processes.iter().skip(1).flat_map(|used| &used.threads) {
        *by_name.entry(name).or_default() += seconds * 1e6 / done;
    }
    let mut sorted: Vec<_> = by_name.into_iter().filter(|(_, us)| *us >= 0.05).collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown: Vec<String> = sorted.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
    shown.join(", ")
}

pub fn round(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

fn draw(folder: &Path, scenario: &str, runs: &[Run]) -> anyhow::Result<()> {
    let write = |name: String, chart: &Chart| {
        let file = folder.join(name);
        std::fs::write(&file, chart.svg()).with_context(|| file.display().to_string())
    };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    write(format!("{scenario}-latency.svg"), &over_load(scenario, runs))?;
    for run in runs {
        let name = run.name.replace([' ', '/'], "-");
        write(format!("{scenario}-{name}.svg"), &over_time(scenario, run))?;
    }
    Ok(())
}

/// Latency over load: each run is a point.
fn over_load(scenario: &str, runs: &[Run]) -> Chart {
    let line = |name: &str, of: fn(&Figures) -> f64| {
        let mut points: Vec<(f64, f64)> =
            runs.iter().flat_map(|run| &run.phases).map(|phase| (phase.rate, of(phase))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (name.to_owned(), points)
    };
    Chart {
        title: format!("{scenario}: latency over load"),
        x: "done per second",
        y: "ms",
        log: true,
        lines: vec![
            line("p50", |phase| phase.latency.p50_ms),
            line("p99", |phase| phase.latency.p99_ms),
            line("p99.9", |phase| phase.latency.p999_ms),
        ],
    }
}

fn over_time(scenario: &str, run: &Run) -> Chart {
    let line = |name: &str, of: fn(&crate::record::PerSecond) -> u64| {
        let points = run.seconds.iter().enumerate();
        let points = points.map(|(second, figures)| (second as f64 + 0.5, of(figures) as f64));
        (name.to_owned(), points.collect())
    };
    Chart {
        title: format!("{scenario}, {}: throughput over time", run.name),
        x: "seconds",
        y: "per second",
        log: false,
        lines: vec![
            line("calls due", |second| second.due),
            line("done", |second| second.done),
            line("refused", |second| second.refused),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latency;
    use crate::watch::{Cost, Group, Used};

    fn run() -> Run {
        let used = |name: &str, cpu_seconds| Used {
            name: name.to_owned(),
            cpu_seconds,
            threads: [("wal-log".to_owned(), cpu_seconds)].into(),
            ..Used::default()
        };
        let refused = [("OVERLOADED".to_owned(), 3)].into();
        let latency = Latency { p50_ms: 1.5, ..Latency::default() };
        let phase = Figures { done: 100, rate: 50.0, latency, refused, ..Figures::default() };
        Run {
            name: "4 clients".to_owned(),
            unit: "orders",
            phases: vec![phase],
            cost: Cost {
                processes: vec![used("client", 0.002), used("n1", 0.01), used("n2", 0.02)],
                log_syncs: 250.0,
                groups: [("orders".to_owned(), Group { entries: 10.0, commands: 80.0 })].into(),
                ..Cost::default()
            },
            fdatasync_us: [130, 140],
            load_average: "1.00".to_owned(),
            seconds: Vec::new(),
        }
    }

    #[test]
    fn what_was_used_is_told_per_unit() {
        let text = text(&[run()]);
        for told in [
            "50.0 orders",
            "100 + 200",
            "2.50",
            "0.10",
            "orders 8.0",
            "OVERLOADED 3",
            "wal-log 300.0",
            "130 us before",
        ] {
            assert!(text.contains(told), "no {told} in\n{text}");
        }
    }

    #[test]
    fn programs_read_the_same() {
        let outcome = Outcome { runs: vec![run()], ..Outcome::default() };
        let told = json("orders", &outcome);
        assert_eq!(told["runs"][0]["phases"][0]["p50_ms"], 1.5);
        assert_eq!(told["runs"][0]["cost"]["groups"]["orders"]["entries"], 10.0);
    }
}
