//! Whether a group could take births over: it is not asked to own what it cannot go on with.

use hansa_api::pb::node as pb;
use hansa_api::pb::replication::OrderView;
use hansa_pages::FrozenTable;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use prost::Message as _;

use super::read::{EVERY_CLASS, key_of};
use crate::core::remote::Copy;
use crate::core::subjects::{KeyOf, KeyState};
use crate::shell::{Hosted, Shell};

/// Copies read in one go.
const READ_MAX: usize = 256;
/// Orders named.
const NAMED_MAX: usize = 8;

/// Copies of these births that may be gone on with here and cannot be opened. Their home is asked
/// for them once more.
pub async fn unopened(shell: &Shell, hosted: &Hosted, birth: RegionNumber) -> (u64, Vec<String>) {
    let copies: FrozenTable<OrderId, Copy> =
        hosted.group.peek(|machine| machine.state.remote.copies.freeze());
    let mut found = Vec::new();
    let mut part = Vec::new();
    for slot in 0..copies.slots() {
        let at = copies.at(slot).filter(|(id, _)| id.region() == birth);
        part.extend(at.and_then(|(id, copy)| Some((*id, copy.origin.place(), sealed_with(copy)?))));
        if (slot + 1) % READ_MAX != 0 && slot + 1 != copies.slots() {
            continue;
        }
        hosted.group.peek(|machine| {
            let key = |of| machine.state.subjects.key(of);
            part.retain(|(_, _, of)| key(*of) == KeyState::Unknown);
        });
        for (id, place, _) in part.drain(..) {
            shell.heard.want(place, id);
            found.push(id);
        }
        tokio::task::yield_now().await;
    }
    found.sort_unstable();
    let named = found.iter().take(NAMED_MAX).map(|id| shell.map.name_of(*id)).collect();
    (found.len() as u64, named)
}

/// What opens a copy, where there is something to open.
fn sealed_with(copy: &Copy) -> Option<KeyOf> {
    if copy.shown.classes & EVERY_CLASS != EVERY_CLASS {
        return None;
    }
    let block = OrderView::decode(copy.view.clone()).ok()?.sealed?;
    key_of(block.home, &block.subject, block.generation)
}

/// What a group's own state says; the rest is for who can wait for it.
pub fn standing(shell: &Shell, hosted: &Hosted, birth: RegionNumber) -> pb::HeirGroup {
    let (phase, tail) = hosted.group.peek(|machine| {
        let state = &machine.state;
        let own = state.meta.settings.region == birth;
        match state.births.get(birth) {
            Some(row) => (super::progress::phase(row), super::progress::undecided(state, birth)),
            None if own => (pb::BirthPhase::Owned, 0),
            None => (pb::BirthPhase::Unspecified, 0),
        }
    });
    pb::HeirGroup {
        group: hosted.group.id().number(),
        name: hosted.group.id().to_string(),
        phase: phase.into(),
        tail,
        tail_final: shell.tail_is_final(hosted, birth),
        ..pb::HeirGroup::default()
    }
}
