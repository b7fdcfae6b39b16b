//! `hansa verify-residency`: the sweep that `hansactl residency verify` has nodes make, over files
//! that no node is running on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use hansa_api::pb::admin as pb;
use hansa_backup::verify::{self, Folder};
use hansa_region_router::core::policy::Policy;
use hansa_sweep::disk::ReadOnly;
use hansa_sweep::formats::{backup, metrics::Metrics, trace::Trace, view};
use hansa_sweep::{Findings, Law, Root, Sweep};
use hansa_types::region::{RegionName, RegionNumber};
use hansa_views::View;
use hansa_views::sled_view::{self, SledView};
use hansa_wal::fs::Fs;

use super::Exit;
use crate::config::Config;
use crate::sweep;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing foreign and every byte explained; 1 foreign data, or bytes that nobody
explains; 2 usage; 3 something could not be read, so nothing is known of it.

Examples:
  hansa verify-residency --data /var/lib/hansa --policy residency.toml
  hansa verify-residency --data backups/eu-west-2026-11-21 --policy residency.toml
  hansa verify-residency --region eu-west --number 1 --policy residency.toml --trace node.log")]
pub struct Args {
    /// A node's data folder, a region's, or a backup's; nothing in it is changed.
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// The residency policy in force.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The region that the files are of; a node.toml or a backup's manifest in them says it too.
    #[arg(long, requires = "number")]
    region: Option<RegionName>,
    /// Its number in the league.
    #[arg(long, requires = "region")]
    number: Option<u16>,
    /// A log or an export of traces.
    #[arg(long, value_name = "FILE")]
    trace: Vec<PathBuf>,
    /// What /metrics answered.
    #[arg(long, value_name = "FILE")]
    metrics: Vec<PathBuf>,
    /// A folder with room for the read views; thrown away after.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// # Errors
/// What is wrong with the command line or the policy; what was found is no error.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let text = std::fs::read_to_string(&args.policy);
    let text = text.with_context(|| args.policy.display().to_string())?;
    let policy = Policy::parse(&text).with_context(|| args.policy.display().to_string())?;
    let (region, number) = whose(args)?;
    let mut findings = Findings::new(Law::new(region, number, Arc::new(policy)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    findings.now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let fs: Arc<dyn Fs> = Arc::new(ReadOnly);
    let mut roots: Vec<Root> =
        args.data.iter().map(|dir| Root::of(&fs, dir.clone(), "", false)).collect();
    let named = |path: &PathBuf| Root::of(&fs, path.clone(), path.display().to_string(), false);
    roots.extend(args.trace.iter().map(|path| named(path).as_a(Trace)));
    roots.extend(args.metrics.iter().map(|path| named(path).as_a(Metrics)));
    let own = || std::env::temp_dir().join(format!("hansa-views-{}", std::process::id()));
    let scratch = args.scratch.clone().unwrap_or_else(own);
    let views = views(&args.data, &scratch)?;
    let begun = Instant::now();
    let mut sweep = Sweep::new(roots, sweep::formats(), views, findings);
    while !sweep.step().finished {}
    let elapsed = begun.elapsed();
    let report = sweep::report(&sweep);
    // Views are closed before their copies go.
    drop(sweep);
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    }
    print(&report, elapsed);
    Ok(verdict(&report))
}

/// Which region the files are of.
fn whose(args: &Args) -> anyhow::Result<(RegionName, RegionNumber)> {
    if let (Some(region), Some(number)) = (&args.region, args.number) {
        return Ok((region.clone(), number.try_into()?));
    }
    let fs: Arc<dyn Fs> = Arc::new(ReadOnly);
    for dir in &args.data {
        if backup::is_backup(&fs, dir) {
            let manifest = verify::manifest(&Folder(dir.clone()))?;
            return Ok((manifest.region.parse()?, manifest.number.try_into()?));
        }
        if let Some(config) = config_in(dir, 2)? {
            let number = config.own_region().context("a config of no region")?.number;
            return Ok((config.region, number));
        }
    }
    bail!("whose files are these? give --region and --number")
}

/// A node's config in the folder or a little below it.
fn config_in(dir: &Path, depth: usize) -> anyhow::Result<Option<Config>> {
    let file = dir.join("node.toml");
    if file.is_file() {
        let text = std::fs::read_to_string(&file)?;
        return Ok(Some(hansa_node::config::parse(&file, &text)?));
    }
    if depth == 0 {
        return Ok(None);
    }
    let mut below: Vec<PathBuf> =
        std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    below.sort();
    for dir in below.into_iter().filter(|path| path.is_dir()) {
        if let Some(found) = config_in(&dir, depth - 1)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Copies of the read views, opened: an engine changes what it opens.
fn views(data: &[PathBuf], scratch: &Path) -> anyhow::Result<Vec<view::Source>> {
    let mut found = Vec::new();
    for dir in data {
        engines(dir, &mut found)?;
    }
    let mut sources = Vec::new();
    for (number, folder) in found.into_iter().enumerate() {
        let copy = scratch.join(number.to_string());
        copy_all(&folder, &copy)?;
        let schema = hansa_ledger::ENTRY_SCHEMA;
        let cache_bytes = sled_view::CACHE_BYTES_DEFAULT;
        let opened = SledView::open(sled_view::Config { folder: copy, schema, cache_bytes });
        let opened = opened.with_context(|| folder.display().to_string())?;
        let (view, folder): (Arc<dyn View>, _) = (Arc::new(opened), folder.display().to_string());
        sources.push(view::Source { folder, view });
    }
    Ok(sources)
}

fn engines(dir: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if dir.join("conf").is_file() && dir.join("db").is_file() {
        found.push(dir.to_owned());
        return Ok(());
    }
    let mut below: Vec<PathBuf> =
        std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    below.sort();
    below.into_iter().filter(|path| path.is_dir()).try_for_each(|dir| engines(&dir, found))
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let below = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_all(&entry.path(), &below)?,
            false => std::fs::copy(entry.path(), below).map(drop)?,
        }
    }
    Ok(())
}

fn print(report: &pb::NodeSweep, elapsed: Duration) {
    let (mut bytes, mut files) = (0, 0);
    for format in &report.formats {
        let pb::SweptFormat { name, files: of, bytes: read, searched_bytes, records } = format;
        println!("{name}: {of} files, {read} bytes ({searched_bytes} searched), {records} records");
        (bytes, files) = (bytes + read, files + of);
    }
    for found in &report.findings {
        let verdict = found.verdict().as_str_name().trim_start_matches("RESIDENCY_VERDICT_");
        let class = found.class().as_str_name().trim_start_matches("DATA_CLASS_");
        let country = match found.residence_country.as_str() {
            "" => "an unknown country",
            country => country,
        };
        let pb::ResidencyFinding { file, what, count, first, goes, goes_ms, .. } = found;
        println!(
            "{verdict}: {file}: {count} × {what}, {class} of {country}; {first}; {goes} {goes_ms}"
        );
    }
    for found in &report.unexplained {
        let pb::UnexplainedBytes { file, offset, bytes, why } = found;
        println!("UNEXPLAINED: {file}: {bytes} bytes at {offset}: {why}");
    }
    for pb::UnreadFile { file, why } in &report.unread {
        println!("NOT READ: {file}: {why}");
    }
    let rate = bytes as f64 / f64::from(1 << 20) / elapsed.as_secs_f64().max(0.001);
    println!(
        "{files} files of {}, {bytes} bytes in {:.1} s ({rate:.0} MiB/s), by policy {}; {} records \
         of its own of no known country",
        report.region,
        elapsed.as_secs_f64(),
        report.policy_version,
        report.unplaced
    );
}

fn verdict(report: &pb::NodeSweep) -> Exit {
    let foreign =
        report.findings.iter().any(|found| found.verdict() == pb::ResidencyVerdict::Foreign);
    if foreign || !report.unexplained.is_empty() {
        Exit::Failed
    } else if !report.unread.is_empty() || report.formats.is_empty() {
        Exit::NotRead
    } else {
        Exit::Done
    }
}
