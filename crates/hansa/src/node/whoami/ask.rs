//! Several keepers asked at once.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use hansa_types::id::NodeId;

/// Between two questions to one that failed.
const AGAIN: Duration = Duration::from_millis(50);

/// What those say that answer. Who fails at once, because it is just starting perhaps, is asked
/// again for as long as the first answer of another one is waited for: that takes no longer, and
/// nobody takes itself for alone who could have heard.
pub async fn each<T, F>(keepers: &[NodeId], ask: impl Fn(NodeId) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>>,
{
    let waiting = AtomicUsize::new(keepers.len());
    let (waiting, ask) = (&waiting, &ask);
    let asked = keepers.iter().map(|keeper| async move {
        let mut answer = ask(*keeper).await;
        waiting.fetch_sub(1, Ordering::Relaxed);
        let waited_for = || waiting.load(Ordering::Relaxed) > 0;
        while answer.is_none() && waited_for() {
            tokio::time::sleep(AGAIN).await;
            if waited_for() {
                answer = ask(*keeper).await;
            }
        }
        answer
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::time::{Instant, sleep_until};

    use super::*;

    const KEEPERS: [NodeId; 2] = [NodeId(11), NodeId(12)];
    const DUE: Duration = Duration::from_millis(1_500);

    /// Seed 3673.
    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_is_just_starting_is_heard_while_one_that_is_cut_off_is_waited_for() {
        let begun = Instant::now();
        let told = each(&KEEPERS, |keeper| async move {
            if keeper == KEEPERS[1] {
                sleep_until(begun + DUE).await;
                return None;
            }
            (begun.elapsed() > Duration::from_millis(130)).then_some(keeper)
        });
        assert_eq!((told.await, begun.elapsed()), (vec![KEEPERS[0]], DUE));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_knows_nobody_waits_and_nobody_is_asked_again() {
        let (begun, asked) = (Instant::now(), AtomicUsize::new(0));
        let asked = &asked;
        let told: Vec<NodeId> = each(&KEEPERS, |_| async move {
            asked.fetch_add(1, Ordering::Relaxed);
            None
        })
        .await;
        assert!(told.is_empty() && begun.elapsed() <= AGAIN);
        assert_eq!(asked.load(Ordering::Relaxed), KEEPERS.len());
    }
}
