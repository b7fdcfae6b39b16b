//! Has this replica's disk forget what was purged: a start would load it again from an older
//! checkpoint and the log. On each replica, whoever purged, and beside the purger: what there is to
//! purge meanwhile waits for no checkpoint.
//!
//! The group's state counts its purges, and the disk notes up to which one it has forgotten. So
//! nothing is forgotten twice, and nothing is left by a replica that did not see a purge happen.

use std::sync::Arc;
use std::time::Duration;

use hansa_region_router::book::Book;
use tokio::time::timeout;

use super::{AGAIN, Limits, excess};
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
    let (purges, excess) = hosted.group.peek(|machine| {
        let state = &machine.state;
        (state.meta.purges, excess(&state.remote, &limits))
    });
    if purges == *forgotten || excess > 0 {
        return;
    }
    // One that does not get done in time is wanted again at the next turn.
    if timeout(FORGET_MAX, hosted.group.forget(purges)).await == Ok(true) {
        *forgotten = purges;
    }
}
