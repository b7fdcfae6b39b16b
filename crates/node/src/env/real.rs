//! The production world: system clocks, system randomness, threads, process exit.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hansa_types::time::WallTime;
use ring::rand::{SecureRandom, SystemRandom};

use super::{Clock, Entropy, Exit, Loop, Loops};

/// `EX_SOFTWARE`: supervisors restart the process and people can tell it from a bad config.
const EXIT_CODE: i32 = 70;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    #[expect(clippy::new_without_default, reason = "reads the clock, so it is not a default")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> WallTime {
        // A clock before 1970 is a broken clock; zero makes this node visibly the odd one out.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug)]
pub struct SystemEntropy {
    source: SystemRandom,
}

impl SystemEntropy {
    #[expect(clippy::new_without_default, reason = "one way to make it is enough")]
    pub fn new() -> Self {
        Self { source: SystemRandom::new() }
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        assert!(self.source.fill(out).is_ok(), "the operating system gives no randomness");
    }
}

/// One named thread per loop, each with its own small runtime so that timers work on it.
pub struct ThreadLoops {
    node: Arc<str>,
    exit: Arc<dyn Exit>,
}

impl ThreadLoops {
    pub fn new(node: &str, exit: Arc<dyn Exit>) -> Self {
        Self { node: node.into(), exit }
    }
}

impl Loops for ThreadLoops {
    fn start(&self, name: String, f: Loop) {
        let exit = self.exit.clone();
        let run = {
            let (exit, name) = (exit.clone(), name.clone());
            move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => {
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(f)));
                    if ended.is_err() {
                        exit.exit(&format!("loop {name} panicked"));
                    }
                }
                Err(error) => exit.exit(&format!("loop {name}: no runtime: {error}")),
            }
        };
        let thread = std::thread::Builder::new().name(format!("{}/{name}", self.node));
        if let Err(error) = thread.spawn(run) {
            exit.exit(&format!("loop {name}: no thread: {error}"));
        }
    }
}

/// Ends the whole process with code 70.
pub struct ProcessExit {
    node: Arc<str>,
}

impl ProcessExit {
    pub fn new(node: &str) -> Self {
        Self { node: node.into() }
    }
}

impl Exit for ProcessExit {
    fn exit(&self, why: &str) {
        tracing::error!(node = %self.node, why, "node ends");
        // The log may be asynchronous or filtered; the last word goes to stderr in any case.
        eprintln!("hansa: node {} ends: {why}", self.node);
        std::process::exit(EXIT_CODE);
    }
}
