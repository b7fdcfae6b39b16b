//! One sitting: where it keeps its data, what it has measured so far.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context as _;
use hansa_node::tasks::Tasks;
use hansa_tests::figures;
use serde::Serialize;
use tokio::time::sleep_until;

use crate::cli::Common;
use crate::disk;
use crate::load::{self, Drive, Work};
use crate::record::{Figures, PerSecond};
use crate::watch::{Cost, Look, Watched};

/// What all runs of one call of the program share.
pub struct Bench {
    pub common: Common,
    pub tasks: Tasks,
    numbers: Arc<AtomicU64>,
    folder: Folder,
}

/// What came of one load.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// What was varied: `64 clients`.
    pub name: String,
    /// What is counted: `orders`.
    pub unit: &'static str,
    pub phases: Vec<Figures>,
    pub cost: Cost,
    /// A sync of 4 KiB before and after, in microseconds.
    pub fdatasync_us: [u64; 2],
    pub load_average: String,
    pub seconds: Vec<PerSecond>,
}

impl Run {
    /// Everything that was done in it.
    pub fn done(&self) -> u64 {
        self.phases.iter().map(|phase| phase.done).sum()
    }
}

impl Bench {
    /// # Errors
    /// A folder that cannot be made.
    pub fn new(common: Common) -> anyhow::Result<Self> {
        let folder = Folder::new(common.dir.as_deref())?;
        Ok(Self { common, tasks: Tasks::new("bench"), numbers: Arc::default(), folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Puts a load on these connections and tells what came of it and what it cost.
    pub async fn measure<W: Work>(
        &self,
        (name, unit): (&str, &'static str),
        workers: &[Arc<W>],
        drive: &Drive,
        times: (Duration, Duration),
        watched: &[Watched],
    ) -> Run {
        eprintln!("{name}: {:.0} s", (times.0 + times.1).as_secs_f64());
        let before = disk::typical(self.folder());
        let running = load::start(&self.tasks, &self.numbers, workers, drive, times);
        sleep_until(running.began).await;
        let first = Look::at(watched).await;
        sleep_until(running.ends).await;
        let cost = Look::at(watched).await.since(&first);
        let record = running.over().await;
        let record = record.lock();
        Run {
            name: name.to_owned(),
            unit,
            phases: record.figures(),
            cost,
            fdatasync_us: [before, disk::typical(self.folder())],
            load_average: load_average(),
            seconds: record.seconds(),
        }
    }
}

fn load_average() -> String {
    let machine = figures::machine();
    machine["load_average"].as_str().unwrap_or_default().to_owned()
}

/// Where the data lies; goes with its owner unless it was named.
struct Folder {
    path: PathBuf,
    goes: bool,
}

impl Folder {
    fn new(named: Option<&Path>) -> anyhow::Result<Self> {
        let fresh = || std::env::temp_dir().join(format!("hansa-bench-{}", std::process::id()));
        let path = named.map_or_else(fresh, Path::to_owned);
        let path = std::path::absolute(path).context("the data folder")?;
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, goes: named.is_none() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.goes
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("left behind: {}: {error}", self.path.display());
        }
    }
}
