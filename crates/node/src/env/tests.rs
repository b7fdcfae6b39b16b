use tokio::sync::mpsc;

use super::test::{ManualClock, SeededEntropy, seeded};
use super::*;

/// Says why it would have ended the process.
struct Says(mpsc::Sender<String>);

impl Exit for Says {
    fn exit(&self, why: &str) {
        drop(self.0.try_send(why.to_owned()));
    }
}

#[tokio::test]
async fn a_loop_runs_on_its_own_named_thread_where_timers_work() {
    let (said, mut heard) = mpsc::channel(1);
    let loops = ThreadLoops::new("n1", Arc::new(Says(said.clone())));
    let work = async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        said.send(thread).await.unwrap();
    };
    loops.start("wal-log".to_owned(), Box::pin(work));
    assert_eq!(heard.recv().await.as_deref(), Some("n1/wal-log"));
}

#[tokio::test]
async fn a_loop_that_panics_ends_the_process() {
    let (said, mut heard) = mpsc::channel(1);
    let loops = ThreadLoops::new("n1", Arc::new(Says(said)));
    loops.start("wal-log".to_owned(), Box::pin(async { panic!("index out of step") }));
    assert_eq!(heard.recv().await.as_deref(), Some("loop wal-log panicked"));
}

#[tokio::test]
async fn in_a_seeded_world_an_exit_is_recorded_and_stops_the_tasks() {
    let (env, exit) = seeded("n1", 7, WallTime(0));
    let died = env.exit.clone();
    env.loops.start("wal-log".to_owned(), Box::pin(async move { died.exit("fsync failed") }));
    env.tasks.stop_token().cancelled().await;
    assert_eq!(exit.whys(), ["fsync failed"]);
}

#[test]
fn seeded_bytes_repeat_by_seed_and_differ_between_seeds() {
    let draw = |seed| {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        (entropy.number(), entropy.number())
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1).0, draw(1).1);
}

#[test]
fn jitter_stays_below_its_bound() {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let bound = Duration::from_millis(3);
    assert!((0..100).all(|_| entropy.jitter(bound) < bound));
    assert_eq!(entropy.jitter(Duration::ZERO), Duration::ZERO);
}

#[test]
fn a_stepped_wall_clock_leaves_the_monotonic_one_alone() {
    let clock = ManualClock::starting_at(WallTime(1_000));
    clock.advance(Duration::from_millis(500));
    clock.set_wall(WallTime(10));
    assert_eq!((clock.monotonic(), clock.wall()), (Duration::from_millis(500), WallTime(10)));
}
