//! Worlds for tests and simulation: clocks moved by hand, seeded bytes, loops as tasks, exits
//! recorded.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hansa_types::time::WallTime;
use parking_lot::Mutex;

use super::{Clock, Entropy, Env, Exit, Loop, Loops};
use crate::tasks::{OnError, Tasks};

/// An address of this machine at which nobody else asks for a port, and from which nobody connects:
/// what a test listens at there stays free while it is down.
///
/// Linux gives all of 127/8 to loopback; elsewhere it is the one that everybody has.
pub fn own_address() -> Ipv4Addr {
    static GIVEN: AtomicU8 = AtomicU8::new(0);
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + GIVEN.fetch_add(1, Ordering::Relaxed) % 254, high, low)
}

/// A clock that stands still until a test moves it.
pub struct ManualClock {
    now: Mutex<(Duration, WallTime)>,
}

impl ManualClock {
    pub fn starting_at(wall: WallTime) -> Self {
        Self { now: Mutex::new((Duration::ZERO, wall)) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        now.0 += by;
        now.1 = later(now.1, by);
    }

    /// Steps the wall clock alone, as an operator or NTP might.
    pub fn set_wall(&self, wall: WallTime) {
        self.now.lock().1 = wall;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.now.lock().0
    }

    fn wall(&self) -> WallTime {
        self.now.lock().1
    }
}

/// A clock that follows tokio's, so that paused and simulated time move it.
pub struct TokioClock {
    origin: tokio::time::Instant,
    wall: WallTime,
}

impl TokioClock {
    pub fn starting_at(wall: WallTime) -> Self {
        Self { origin: tokio::time::Instant::now(), wall }
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> WallTime {
        later(self.wall, self.origin.elapsed())
    }
}

fn later(wall: WallTime, by: Duration) -> WallTime {
    WallTime(wall.ms().saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

/// Bytes that repeat by seed (splitmix64). Never for keys.
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.state.lock();
        for chunk in out.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Loops as tasks of the current runtime: what a single-threaded simulation needs.
pub struct TaskLoops {
    tasks: Tasks,
}

impl TaskLoops {
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks }
    }
}

impl Loops for TaskLoops {
    fn start(&self, name: String, f: Loop) {
        self.tasks.spawn(name, OnError::StopNode, f);
    }
}

/// Remembers what would have ended the process, and stops the node's tasks instead.
pub struct RecordedExit {
    tasks: Tasks,
    whys: Mutex<Vec<String>>,
}

impl RecordedExit {
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, whys: Mutex::new(Vec::new()) }
    }

    /// Why the node would have ended, oldest first.
    pub fn whys(&self) -> Vec<String> {
        self.whys.lock().clone()
    }
}

impl Exit for RecordedExit {
    fn exit(&self, why: &str) {
        self.whys.lock().push(why.to_owned());
        self.tasks.stop_token().cancel();
    }
}

/// A world that repeats by seed: tokio's clock, seeded bytes, loops as tasks, exits recorded.
pub fn seeded(node: &str, seed: u64, wall: WallTime) -> (Env, Arc<RecordedExit>) {
    let tasks = Tasks::new(node);
    let exit = Arc::new(RecordedExit::new(tasks.clone()));
    let env = Env {
        clock: Arc::new(TokioClock::starting_at(wall)),
        entropy: Arc::new(SeededEntropy::new(seed)),
        loops: Arc::new(TaskLoops::new(tasks.clone())),
        exit: exit.clone(),
        tasks,
    };
    (env, exit)
}
