//! Random lives of a log, each ended by a crash: after every one the log holds what a naive model
//! says it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use hansa_types::id::GroupId;
use hansa_wal::fs::{Op, SimFs};
use hansa_wal::{Config, OpenError, Wal};

use crate::model::{History, Model, Step};
use crate::rig::*;

const GROUPS: u64 = 5;

/// Seeded chance.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// What happened in all lives together.
#[derive(Default, Debug)]
pub struct Seen {
    pub cuts: u64,
    pub crashes: u64,
    pub failed_opens: u64,
    pub copied: u64,
    pub removed: u64,
    pub steps: u64,
    pub unacked_kept: u64,
}

struct Run {
    fs: SimFs,
    dice: Dice,
    history: History,
    acked: Arc<AtomicU64>,
    seen: Seen,
    round: u64,
}

/// Runs `lives` lives; an error says what was lost or altered.
pub fn run(seed: u64, lives: u64, ignore_syncs: bool) -> Result<Seen, String> {
    let fs = SimFs::new(seed);
    fs.ignore_syncs(ignore_syncs);
    let mut run = Run {
        fs,
        dice: Dice::new(seed),
        history: History::default(),
        acked: Arc::default(),
        seen: Seen::default(),
        round: 0,
    };
    for n in 0..lives {
        run.life(seed ^ n << 32).map_err(|why| format!("seed {seed} life {n}: {why}"))?;
    }
    Ok(run.seen)
}

impl Run {
    fn life(&mut self, seed: u64) -> Result<(), String> {
        for op in [Op::Write, Op::Sync] {
            let slow = [0, 300, 5_000, 30_000][self.dice.below(4) as usize];
            self.fs.set_latency(op, Duration::from_micros(slow));
        }
        if self.dice.below(3) == 0 {
            self.fs.cut_power_after(self.dice.below(60));
        }
        let kill = self.dice.below(4) == 0;
        let result = life(seed, async |world| {
            let (wal, recovery) = match open_with(&self.fs, &world, self.config()) {
                Ok(opened) => opened,
                Err(OpenError::Io { .. }) => {
                    self.seen.failed_opens += 1;
                    return Ok(());
                }
                Err(other) => return Err(format!("does not open: {other}")),
            };
            self.seen.cuts += u64::from(recovery.cut.is_some());
            let acked = self.acked.load(SeqCst);
            let found = Model::of(&wal);
            self.history.resume(acked, &found)?;
            self.seen.unacked_kept += self.history.len() - acked;
            self.acked.store(self.history.len(), SeqCst);
            let steps = 1 + self.dice.below(80);
            self.work(&wal, &world, steps).await?;
            let stats = wal.stats();
            self.seen.copied += stats.copied;
            self.seen.removed += stats.segments_removed;
            self.seen.steps += steps;
            Ok(())
        });
        if kill {
            self.fs.kill()
        } else {
            self.fs.crash()
        }
        self.seen.crashes += 1;
        result
    }

    fn config(&self) -> Config {
        small()
    }

    async fn work(&mut self, wal: &Wal, world: &World, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            within(wal.admit()).await;
            if !world.exit.whys().is_empty() {
                // The power is gone, and the log takes nothing more.
                return Ok(());
            }
            let group = group(self.dice.below(GROUPS) as u16);
            self.act(wal, group);
            match self.dice.below(8) {
                0 => idle(self.dice.below(900)).await,
                1..=3 => tokio::task::yield_now().await,
                4 => idle(1).await,
                _ => {}
            }
            if self.dice.below(10) == 0 && world.exit.whys().is_empty() {
                self.check_reads(wal, group)?;
            }
            self.history.fix(self.acked.load(SeqCst));
        }
        // The end is to meet the log in the middle of what it does.
        for _ in 0..self.dice.below(5) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn act(&mut self, wal: &Wal, id: GroupId) {
        self.round += 1;
        let round = self.round;
        let group = self.history.now.group(id).clone();
        let first = group.entries.keys().next().copied();
        let last = group.entries.keys().next_back().copied();
        // One group lags: it keeps what it has for long.
        let patience = if id == crate::rig::group(0) { 60 } else { 12 };
        match self.dice.below(12) {
            0 => {
                let vote = Bytes::from(format!("v{round}"));
                self.history.take(Step::Vote(id, vote.clone()));
                wal.save_vote(id, vote, self.ack());
            }
            1 | 2 => {
                let log_id = Bytes::from(format!("c{round}"));
                self.history.take(Step::Committed(id, log_id.clone()));
                wal.save_committed(id, log_id);
            }
            3 => {
                let Some((first, last)) = first.zip(last) else { return };
                let from = last + 1 - self.dice.below((last - first + 2).min(5));
                self.history.take(Step::Truncate(id, from));
                wal.truncate_after(id, from.checked_sub(1));
            }
            // Every group leaves now and then, and comes back new.
            6 if self.dice.below(12) == 0 => {
                self.history.take(Step::Forget(id));
                wal.forget(id);
            }
            7 if self.dice.below(6) == 0 => wal.roll(),
            4 | 5 if group.entries.len() > patience => {
                let Some((first, last)) = first.zip(last) else { return };
                let upto = first + self.dice.below(last - first + 3);
                let log_id = Bytes::from(format!("p{round}"));
                self.history.take(Step::Purge(id, upto, log_id.clone()));
                wal.purge(id, upto, log_id);
            }
            _ => {
                let next = last.map(|last| last + 1);
                let next = next.or(group.purged.map(|(upto, _)| upto + 1));
                let mut next = next.unwrap_or(self.dice.below(2));
                if last.is_some_and(|last| Some(last) != first) && self.dice.below(12) == 0 {
                    // Over the last one: the log truncates by itself.
                    next -= 1;
                    self.history.take(Step::Truncate(id, next));
                }
                let mut entries = Vec::new();
                for n in 0..=self.dice.below(4) {
                    let len = self.dice.below(400) as usize;
                    entries.push(entry(id, next + n, round, len));
                }
                for entry in &entries {
                    self.history.take(Step::Entry(id, entry.clone()));
                }
                wal.append(id, entries, self.ack());
            }
        }
    }

    fn ack(&self) -> hansa_wal::Done {
        let (acked, upto) = (self.acked.clone(), self.history.len());
        Box::new(move |result| {
            if result.is_ok() {
                let before = acked.swap(upto, SeqCst);
                assert!(before <= upto, "acknowledged {upto} after {before}");
            }
        })
    }

    fn check_reads(&mut self, wal: &Wal, id: GroupId) -> Result<(), String> {
        let expected: Vec<_> = self.history.now.group(id).entries.values().cloned().collect();
        let found = all(wal, id);
        if found == expected {
            return Ok(());
        }
        Err(format!("group {id} reads {} entries, not {}", found.len(), expected.len()))
    }
}

/// How many seeds are tried: `HANSA_WAL_SEEDS=20000` for a long night.
fn seeds() -> u64 {
    std::env::var("HANSA_WAL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}

#[test]
fn nothing_acknowledged_is_lost_or_altered_over_many_crashes() {
    let mut all = Seen::default();
    for seed in 0..seeds() {
        let seen = run(seed, 40, false).unwrap_or_else(|why| panic!("{why}"));
        all.cuts += seen.cuts;
        all.crashes += seen.crashes;
        all.failed_opens += seen.failed_opens;
        all.copied += seen.copied;
        all.removed += seen.removed;
        all.steps += seen.steps;
        all.unacked_kept += seen.unacked_kept;
    }
    println!("{all:?}");
    // A run in which the wanted things did not happen proves nothing.
    assert!(all.cuts > 15, "{all:?}");
    assert!(all.copied > 500 && all.removed > 200, "{all:?}");
    assert!(all.failed_opens > 10 && all.unacked_kept > 50, "{all:?}");
}

#[test]
fn without_syncs_the_same_test_finds_loss() {
    let found = (0..20).filter(|seed| run(*seed, 40, true).is_err()).count();
    assert!(found > 15, "only {found} of 20 seeds noticed that nothing was synced");
}

#[test]
fn a_seed_repeats() {
    let twice = [run(7, 20, false), run(7, 20, false)];
    let [one, two] = twice.map(|seen| format!("{:?}", seen.expect("holds")));
    assert_eq!(one, two);
}
