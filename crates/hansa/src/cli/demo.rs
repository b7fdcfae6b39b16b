//! `hansa demo`: the whole way once, with an honest end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use hansa_node::shutdown;
use hansa_node::tasks::Tasks;
use hansa_node::telemetry::Telemetry;

use super::replay::{self, MadeUp, Pace};
use super::{Exit, Format};
use crate::invariants;
use crate::league::League;
use crate::league::layout::Layout;
use crate::replay::doors::Doors;
use crate::replay::run;

/// The shipped sample: 350 real invoices. Source and licence: `data/ATTRIBUTION.md`.
const SAMPLE: &[u8] = include_bytes!("../../../../data/online-retail-sample.csv");
const READY_MAX: Duration = Duration::from_secs(60);
/// Invariants across groups are settled this long after the last order at most (domain.md §7).
const SETTLE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the league keeps its data; a fresh folder that is removed afterwards when not given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Another file than the shipped sample.
    #[arg(long)]
    file: Option<PathBuf>,
    /// What the nodes log to stderr, as tracing directives.
    #[arg(long, default_value = "warn,openraft=error,hansa_node::peers=error", env = "HANSA_LOG")]
    log: String,
    /// Each region's orders group keeps stock and money in its own log (groups.joint).
    #[arg(long)]
    joint: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    made_up: MadeUp,
    #[arg(short, long, default_value = "table")]
    output: Format,
}

/// Starts a league, replays, reports, checks, stops.
///
/// # Errors
/// What kept the league from starting or the file from being read.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let file = match &args.file {
        Some(path) => run::read_file(path)?,
        None => SAMPLE.to_vec(),
    };
    let mut layout = Layout::anywhere()?;
    layout.telemetry.log_filter.clone_from(&args.log);
    layout.groups.joint = args.joint;
    let telemetry = Telemetry::start(&layout.telemetry, "hansa-demo")?;
    let (data, kept) = match &args.data {
        Some(data) => (data.clone(), None),
        None => {
            let folder = Folder::fresh()?;
            (folder.0.clone(), Some(folder))
        }
    };
    let asked = shutdown::on_signals(&Tasks::new("demo"))?;
    let begun = Instant::now();
    eprintln!("starting 4 regions of 3 nodes in {}", data.display());
    let league = League::start(&data, &layout).await?;
    let done = tokio::select! {
        biased;
        done = drive(&league, &file, &args, begun) => done,
        () = asked.cancelled() => {
            eprintln!("interrupted; stopping the league");
            Ok(Exit::Interrupted)
        }
    };
    let failure = league.failure();
    league.stop().await;
    telemetry.stop(Duration::from_secs(1)).await;
    drop(kept);
    match (done, failure) {
        (_, Some(failure)) => anyhow::bail!("a node failed: {failure}"),
        (done, None) => done,
    }
}

async fn drive(league: &League, file: &[u8], args: &Args, begun: Instant) -> anyhow::Result<Exit> {
    league.ready(READY_MAX).await?;
    eprintln!("ready after {:.1} s", begun.elapsed().as_secs_f64());
    let doors = Doors::of(league.profile())?;
    let shares = args.made_up.shares();
    let options = args.pace.options(shares.seed);
    let report = run::run(file, &doors, &shares, &options).await?;
    replay::print(&report, args.output);
    let settled = invariants::settle(&doors, SETTLE_MAX).await;
    for line in settled.lines() {
        eprintln!("{line}");
    }
    eprintln!("done after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(match replay::exit(&report) {
        _ if !settled.all_held() => Exit::Violated,
        // The shipped sample has none; a file of the user's own may.
        Exit::NotRead => Exit::Done,
        exit => exit,
    })
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn fresh() -> anyhow::Result<Self> {
        let name = format!("hansa-demo-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // A leftover of an earlier process with our number is not ours to trust.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}
