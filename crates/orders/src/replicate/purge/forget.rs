//! Has this replica's disk forget what was purged: a start would load it again from an older
//! checkpoint and the log. On each replica, whoever purged, and beside the purger: what there is to
//! purge meanwhile waits for no checkpoint.
//!
//! Not only what was purged: what a narrower view replaced, or what went otherwise while it was
//! lawful still, no purge counts, and the disk has it all the same. So each replica forgets once
//! behind each law, too.
//!
//! The state counts its purges and says by which law each origin's copies are held; the disk notes
//! last of all which of both it has forgotten behind. So nothing is forgotten twice, and nothing is
//! left by a replica that did not see it happen.

use std::sync::Arc;
use std::time::Duration;

use hansa_region_router::book::Book;
use tokio::time::timeout;

use super::{AGAIN, Limits, excess};
use crate::core::state::State;
use crate::shell::{Hosted, Shell};

/// A checkpoint of a large state takes minutes. One that takes longer is begun again.
const FORGET_MAX: Duration = Duration::from_secs(600);

pub async fn run(shell: Arc<Shell>, hosted: Arc<Hosted>, book: Book) {
    let stop = shell.env.tasks.stop_token();
    let Some(mut forgotten) = stop.run_until_cancelled(hosted.group.forgotten()).await else {
        return;
    };
    let mut changes = book.changes();
    loop {
        changes.borrow_and_update();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = forget(&shell, &hosted, &mut forgotten) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Once nothing exceeds the law any more: each purge is forgotten with those that go with it.
async fn forget(shell: &Shell, hosted: &Hosted, forgotten: &mut u64) {
    let Some(limits) = Limits::now(shell, hosted) else { return };
    let (mark, excess) = hosted.group.peek(|machine| {
        let state = &machine.state;
        (mark(state, limits.own.terms.version), excess(&state.remote, &limits))
    });
    if mark == *forgotten || excess > 0 {
        return;
    }
    // One that does not get done in time is wanted again at the next turn.
    if timeout(FORGET_MAX, hosted.group.forget(mark)).await == Ok(true) {
        *forgotten = mark;
    }
}

/// Grows with each purge, and with each law of ours or of an origin's behind which nothing comes
/// that was made by an older one. The first law took nothing from anybody.
pub(crate) fn mark(state: &State, own: u64) -> u64 {
    let held = state.remote.views.iter().map(|(_, views)| views.held.version);
    let laws = held.chain([own]).map(|version| version.saturating_sub(1));
    state.meta.purges + laws.sum::<u64>()
}
