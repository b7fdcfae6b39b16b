//! The world as a node sees it: time, randomness, threads and the end of the process, all injected.
//!
//! Nothing else in the server crates reads a clock, draws a random byte, starts a thread or exits,
//! so one process can hold nine nodes, and a simulation can run a node by seed.

mod real;
pub mod test;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hansa_types::time::WallTime;

pub use self::real::{ProcessExit, SystemClock, SystemEntropy, ThreadLoops};
use crate::tasks::Tasks;

/// A loop's whole life as one future.
pub type Loop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Two clocks: one that only moves forward, one that people agree on.
pub trait Clock: Send + Sync + 'static {
    /// Time since an origin fixed for this clock's life; never goes back.
    fn monotonic(&self) -> Duration;
    /// The wall clock; may step either way, so never subtract two readings.
    fn wall(&self) -> WallTime;
}

/// A source of random bytes fit for keys and ids.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out`. A system without randomness ends the process: an id must never repeat.
    fn fill(&self, out: &mut [u8]);
}

impl dyn Entropy {
    /// A random number, for jitter and ids.
    pub fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A duration in `[0, bound)`.
    pub fn jitter(&self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.number().checked_rem(nanos).unwrap_or(0))
    }
}

/// Starts loops that block on disks: a thread each in production, a task in simulation.
pub trait Loops: Send + Sync + 'static {
    /// Starts `f` under `name`. A loop that panics ends the process.
    ///
    /// `f` may block, may await channels and tokio timers, and may not use tokio sockets.
    fn start(&self, name: String, f: Loop);
}

/// Ends the process when going on would be worse: a failed fsync, a damaged state machine.
pub trait Exit: Send + Sync + 'static {
    /// Ends this node and says why. Returns in simulation only; the caller then does nothing more.
    fn exit(&self, why: &str);
}

/// Everything that a part of a node is given instead of reaching for it.
#[derive(Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub loops: Arc<dyn Loops>,
    pub exit: Arc<dyn Exit>,
    pub tasks: Tasks,
}

impl Env {
    /// The real world, for the node called `node` (the name appears in logs and thread names).
    ///
    /// Must be called inside a tokio runtime, which the tasks then run on.
    pub fn real(node: &str) -> Self {
        let exit = Arc::new(ProcessExit::new(node));
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            loops: Arc::new(ThreadLoops::new(node, exit.clone())),
            exit,
            tasks: Tasks::new(node),
        }
    }
}
