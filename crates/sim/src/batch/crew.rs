//! Processes that run seeds: each has one simulation at a time, as tokio's and turmoil's counters
//! are the process's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hansa_types::seeded::Bug;

use super::{Report, cpu};

/// A seed takes seconds of its process's own time, however busy the machine; one that takes this
/// much hangs.
const CPU_MAX: Duration = Duration::from_secs(180);
/// What waits for something that never comes uses no time of its own.
const WALL_MAX: Duration = Duration::from_secs(1_200);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A process ends after so many seeds: what a simulation leaves behind in it, some 30 MB, nobody
/// gives back.
const SEEDS_MAX: u32 = 20;

/// A seed, and the mistake that is made in its run.
pub type Task = (u64, Option<Bug>);

pub struct Crew {
    workers: Vec<Worker>,
}

struct Worker {
    child: Child,
    seeds: ChildStdin,
    lines: Receiver<String>,
    asked: u32,
}

impl Crew {
    pub fn new(jobs: usize) -> anyhow::Result<Self> {
        let workers = (0..jobs.max(1)).map(|_| Worker::start()).collect::<Result<_, _>>()?;
        Ok(Self { workers })
    }

    /// Runs the seeds; `each` hears of every one as it ends, and says whether to go on.
    pub fn run(
        &mut self,
        seeds: impl Iterator<Item = Task> + Send,
        each: impl FnMut(&Report) -> bool + Send,
    ) -> anyhow::Result<()> {
        let (seeds, each) = (std::sync::Mutex::new(seeds), std::sync::Mutex::new((each, true)));
        // Threads of the tool that waits, not of anything simulated.
        std::thread::scope(|scope| {
            let (seeds, each) = (&seeds, &each);
            let work = |worker| scope.spawn(move || serve(worker, seeds, each));
            let running: Vec<_> = self.workers.iter_mut().map(work).collect();
            let mut ended = running.into_iter().map(|thread| thread.join());
            ended.try_for_each(|end| end.unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
        })
    }
}

fn serve<S, E>(
    worker: &mut Worker,
    seeds: &std::sync::Mutex<S>,
    each: &std::sync::Mutex<(E, bool)>,
) -> anyhow::Result<()>
where
    S: Iterator<Item = Task>,
    E: FnMut(&Report) -> bool,
{
    let lock = |_| anyhow::anyhow!("a thread panicked");
    loop {
        if !each.lock().map_err(lock_each)?.1 {
            return Ok(());
        }
        let Some(task) = seeds.lock().map_err(|_| lock(()))?.next() else { return Ok(()) };
        if worker.asked == SEEDS_MAX {
            *worker = Worker::start()?;
        }
        let report = match worker.ask(task) {
            Ok(report) => report,
            Err(why) => {
                // The next seed gets a fresh process.
                *worker = Worker::start()?;
                Report::lost(task, format!("{why:#}"))
            }
        };
        let mut each = each.lock().map_err(lock_each)?;
        let on = (each.0)(&report);
        each.1 &= on;
    }
}

fn lock_each<T>(_: T) -> anyhow::Error {
    anyhow::anyhow!("a thread panicked")
}

impl Worker {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("a worker")?;
        let seeds = child.stdin.take().context("its stdin")?;
        let out = BufReader::new(child.stdout.take().context("its stdout")?);
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, seeds, lines, asked: 0 })
    }

    fn ask(&mut self, (seed, bug): Task) -> anyhow::Result<Report> {
        let bug = bug.map_or("", Bug::name);
        self.asked += 1;
        writeln!(self.seeds, "{seed} {bug}").context("its process has ended")?;
        self.seeds.flush()?;
        let process = self.child.id().to_string();
        let (began, before) = (Instant::now(), cpu(&process));
        loop {
            match self.lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => return Ok(serde_json::from_str(&line)?),
                Err(RecvTimeoutError::Timeout) => {
                    let (wall, cpu) = (began.elapsed(), cpu(&process).saturating_sub(before));
                    if wall > WALL_MAX || cpu > CPU_MAX {
                        drop(self.child.kill());
                        anyhow::bail!("no end after {wall:?}, {cpu:?} of them its own")
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait();
                    anyhow::bail!("its process died: {status:?}")
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
