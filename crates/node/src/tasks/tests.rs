use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_vital_task_that_fails_stops_the_node_and_says_why() {
    let tasks = Tasks::new("n1");
    tasks.spawn("log", OnError::Log, async { Err::<(), _>("harmless") });
    tasks.spawn("writer", OnError::StopNode, async { Err::<(), _>("disk is gone") });
    tasks.stop_token().cancelled().await;
    assert_eq!(tasks.failure().as_deref(), Some("writer: disk is gone"));
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let tasks = Tasks::new("n1");
    tasks.spawn("writer", OnError::StopNode, async { boom() });
    tasks.stop_token().cancelled().await;
    assert_eq!(tasks.failure().as_deref(), Some("writer: panicked: impossible"));
}

#[tokio::test]
async fn a_harmless_failure_stops_nothing() {
    let tasks = Tasks::new("n1");
    tasks.spawn("probe", OnError::Log, async { Err::<(), _>("no answer") });
    while !tasks.running().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!tasks.stop_token().is_cancelled());
    assert_eq!(tasks.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_kept_task_starts_again_with_growing_waits_until_it_ends_well() {
    let tasks = Tasks::new("n1");
    let runs = Arc::new(AtomicU32::new(0));
    let seen = runs.clone();
    let started = tokio::time::Instant::now();
    tasks.keep("shipper", Backoff { first: SECOND, max: 2 * SECOND }, move || {
        let run = seen.fetch_add(1, Ordering::SeqCst);
        async move { if run < 3 { Err("peer is away") } else { Ok(()) } }
    });
    tasks.inner.tracker.close();
    tasks.inner.tracker.wait().await;
    assert_eq!(runs.load(Ordering::SeqCst), 4);
    assert_eq!(started.elapsed().as_secs(), 1 + 2 + 2);
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_those_who_listen_and_ends_those_who_do_not() {
    let tasks = Tasks::new("n1");
    let stop = tasks.stop_token();
    tasks.spawn("polite", OnError::Log, async move {
        stop.cancelled().await;
        tokio::time::sleep(SECOND).await;
    });
    tasks.spawn("deaf", OnError::Log, std::future::pending::<()>());
    let started = tokio::time::Instant::now();
    assert_eq!(tasks.drain(3 * SECOND).await, ["deaf"]);
    assert_eq!(started.elapsed(), 3 * SECOND);
    while !tasks.running().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn drain_ends_as_soon_as_the_last_task_does() {
    let tasks = Tasks::new("n1");
    let stop = tasks.stop_token();
    tasks.spawn("polite", OnError::Log, async move { stop.cancelled().await });
    let started = tokio::time::Instant::now();
    assert_eq!(tasks.drain(60 * SECOND).await, Vec::<String>::new());
    assert_eq!(started.elapsed(), Duration::ZERO);
}

fn boom() {
    panic!("impossible")
}

#[tokio::test]
async fn local_tasks_are_dropped_in_the_order_in_which_they_started() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let set = tokio::task::LocalSet::new();
    let started = order.clone();
    set.run_until(async move {
        // Ids are the process's: what ran before must not change the order.
        for n in 0..20 {
            tokio::task::yield_now().await;
            let (tasks, dropped) = (Tasks::local("n1"), Says(n, started.clone()));
            let spawn = move || {
                tasks.spawn("waits", OnError::Log, async move {
                    let _dropped = dropped;
                    std::future::pending::<()>().await;
                });
            };
            // Also from a task of the runtime, which is not on the set.
            match n % 2 {
                0 => spawn(),
                _ => Tasks::new("n1").spawn("starts one", OnError::Log, async move { spawn() }),
            }
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(set);
    let order = order.lock().clone();
    let forwards = order.is_sorted();
    assert!(order.len() == 20 && (forwards || order.iter().rev().is_sorted()), "{order:?}");
}

struct Says(u32, Arc<Mutex<Vec<u32>>>);

impl Drop for Says {
    fn drop(&mut self) {
        self.1.lock().push(self.0);
    }
}
