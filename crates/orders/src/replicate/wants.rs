//! Finds copies whose key is missing, and has them asked for again.
//!
//! A want is kept in memory only, and a comparison does not see keys: so whoever takes office, and
//! whenever an origin begins to speak, looks at what there is.

use std::sync::Arc;
use std::time::Duration;

use hansa_node::tasks::Tasks;
use hansa_types::id::OrderId;

use super::purge::key_of;
use crate::core::remote::Place;
use crate::core::subjects::{KeyOf, KeyState};
use crate::shell::{Hosted, Shell};

/// Copies looked at in one go, and the pause after that: a million take minutes, and hardly any
/// time from orders.
const LOOKED_MAX: usize = 256;
const BREATH: Duration = Duration::from_millis(25);
/// After a look that found more than can be asked for at once.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks through one group's copies whenever this node leads it.
pub async fn run(shell: Arc<Shell>, hosted: Arc<Hosted>) {
    let stop = shell.env.tasks.stop_token();
    let mut heard = shell.heard.changes();
    let mut leadership = hosted.group.leadership();
    let mut whole = true;
    loop {
        heard.borrow_and_update();
        if leadership.borrow_and_update().mine {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                all = look(&shell, &hosted) => whole = all,
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() { return },
            changed = heard.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !whole => {}
        }
    }
}

/// Whether everything that is missing could be asked for.
async fn look(shell: &Shell, hosted: &Hosted) -> bool {
    // A view that later writes do not change: the look holds nobody up.
    let copies = hosted.group.peek(|machine| machine.state.remote.copies.freeze());
    let mut whole = true;
    let mut part: Vec<(OrderId, Place, KeyOf)> = Vec::new();
    for (n, (order, copy)) in copies.iter().enumerate() {
        if n % LOOKED_MAX == LOOKED_MAX - 1 {
            whole &= want(shell, hosted, std::mem::take(&mut part));
            tokio::time::sleep(BREATH).await;
        }
        // Only a home shares its keys.
        let place = copy.origin.place();
        let of = key_of(&copy.view).filter(|of| of.subject.home == copy.origin.region);
        part.extend(of.map(|of| (*order, place, of)));
    }
    whole & want(shell, hosted, part)
}

fn want(shell: &Shell, hosted: &Hosted, part: Vec<(OrderId, Place, KeyOf)>) -> bool {
    let lacks: Vec<(OrderId, Place, KeyOf)> = hosted.group.peek(|machine| {
        let state = &machine.state;
        // One that was dropped or adopted meanwhile is nobody's to ask for.
        let lacks = |(order, _, of): &(OrderId, Place, KeyOf)| {
            state.remote.copies.contains(order) && state.subjects.key(*of) == KeyState::Unknown
        };
        part.into_iter().filter(lacks).collect()
    });
    lacks.into_iter().fold(true, |all, (order, place, _)| shell.heard.want(place, order) && all)
}

/// Starts it for a group.
pub fn start(tasks: &Tasks, shell: Arc<Shell>, hosted: Arc<Hosted>) {
    let name = format!("{}-wants", hosted.group.id());
    tasks.spawn(name, hansa_node::tasks::OnError::StopNode, run(shell, hosted));
}
