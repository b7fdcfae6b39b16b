//! Appends without entries, held until there is something to send them with.
//!
//! Of a commit openraft tells every follower at once, in an append that says nothing else, though
//! under load the next entries follow and say it too. A follower answers nobody: it may hear of a
//! commit a moment later.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, timeout_at};

use super::Types;

type Append = AppendEntriesRequest<Types>;

/// How long a follower may not hear of a commit that comes with nothing else.
const HELD_MAX: Duration = Duration::from_millis(5);

/// The same appends in the same order, but for those that the next one makes superfluous.
///
/// openraft counts what an answer says is there, and not answers; reads do not rely on it (`acks`).
pub(super) fn with_entries<S>(appends: S) -> impl Stream<Item = Append>
where
    S: Stream<Item = Append> + Unpin,
{
    stream::unfold((appends.fuse(), None), |(mut appends, mut held)| async move {
        loop {
            let next = match &held {
                None => appends.next().await,
                Some((_, until)) => timeout_at(*until, appends.next()).await.ok().flatten(),
            };
            match next {
                Some(append) if append.entries.is_empty() => {
                    let until = held.map_or_else(|| Instant::now() + HELD_MAX, |(_, until)| until);
                    held = Some((append, until));
                }
                Some(append) => return Some((append, (appends, None))),
                // Nothing came in time, or nothing comes any more.
                None => return held.map(|(append, _)| (append, (appends, None))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::super::{Entry, LogId, Vote, log_id};
    use super::*;

    fn append(prev: u64, entries: usize, commit: u64) -> Append {
        let blank = |n| Entry { log_id: log_id(1, prev + n), payload: EntryPayload::Blank };
        let entries = (1..).take(entries).map(blank);
        Append {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(1, prev)),
            entries: entries.collect(),
            leader_commit: Some(log_id(1, commit)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_travels_with_the_entries_that_follow_or_alone_after_a_moment() {
        let (tx, rx) = mpsc::unbounded_channel();
        let sent = with_entries(UnboundedReceiverStream::new(rx));
        tokio::pin!(sent);
        let began = Instant::now();
        for (prev, entries, commit) in [(1, 2, 1), (3, 0, 2), (3, 0, 3), (3, 1, 3), (4, 0, 4)] {
            tx.send(append(prev, entries, commit)).unwrap();
        }
        let shape = |of: Option<Append>| {
            let of = of.unwrap();
            let index = |id: Option<LogId>| id.unwrap().index();
            (index(of.prev_log_id), of.entries.len(), index(of.leader_commit))
        };
        assert_eq!(shape(sent.next().await), (1, 2, 1));
        assert_eq!(shape(sent.next().await), (3, 1, 3));
        assert_eq!(began.elapsed(), Duration::ZERO, "what has entries waits for nothing");
        assert_eq!(shape(sent.next().await), (4, 0, 4));
        assert_eq!(began.elapsed(), HELD_MAX);
        // However many commits come meanwhile, the first of them is not held for longer.
        tx.send(append(4, 0, 5)).unwrap();
        let late = async {
            tokio::time::sleep(HELD_MAX - Duration::from_millis(1)).await;
            tx.send(append(4, 0, 6)).unwrap();
        };
        let (next, ()) = tokio::join!(sent.next(), late);
        assert_eq!((shape(next), began.elapsed()), ((4, 0, 6), 2 * HELD_MAX));
        tx.send(append(4, 0, 7)).unwrap();
        drop(tx);
        assert_eq!(shape(sent.next().await), (4, 0, 7), "the end lets go of what is held");
        assert!(sent.next().await.is_none() && began.elapsed() == 2 * HELD_MAX);
    }
}
