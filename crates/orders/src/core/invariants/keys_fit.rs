//! Each order's subject has had the key that seals it, and no living key is under a newer region
//! key than the group uses.

use crate::core::state::State;

pub fn check(state: &State) -> Result<(), String> {
    for (id, contents) in state.contents.iter() {
        let of = contents.sealed_with;
        // What was taken over of somebody who was forgotten there has nothing to open.
        if contents.personal.is_none() && of.subject.home != state.meta.settings.region {
            continue;
        }
        let row = state.subjects.table.get(&of.subject);
        if row.is_none_or(|row| row.generation < of.generation) {
            return Err(format!("{id}: sealed with a key that never was"));
        }
    }
    let newest = state.subjects.counts().last().map(|(key, _)| *key);
    match newest > state.meta.wraps {
        true => Err("a living key is under a region key that is not in use yet".to_owned()),
        false => Ok(()),
    }
}
