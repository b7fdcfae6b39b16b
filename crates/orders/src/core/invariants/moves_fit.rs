//! Who lives here has left nothing to be deleted; what is kept of other regions' orders is under
//! a key of a customer of this one who lives here, has left it to be deleted, or is on his way.

use crate::core::moves::Carry;
use crate::core::state::State;

pub fn check(state: &State) -> Result<(), String> {
    let here = state.meta.settings.region;
    for (subject, row) in state.moves.rows.iter() {
        if subject.home != here || (row.lives == here && row.left.is_some()) {
            return Err(format!("{subject:?} moved, and did not"));
        }
    }
    for (id, kept) in state.moves.kept.iter() {
        let row = state.subjects.table.get(&kept.of.subject);
        let had = row.is_some_and(|row| row.generation >= kept.of.generation);
        if kept.of.subject.home != here || !had {
            return Err(format!("{id}: kept under a key that never was"));
        }
        let row = state.moves.get(kept.of.subject);
        let his = row.is_some_and(|row| {
            row.lives == here || row.left.as_ref().is_some_and(|left| !left.deleted)
        });
        let comes = state.moves.carries.get(&kept.of.subject);
        if !his && !matches!(comes, Some(Carry::Coming { .. })) {
            return Err(format!("{id}: kept of somebody who neither lives here nor comes"));
        }
    }
    Ok(())
}
