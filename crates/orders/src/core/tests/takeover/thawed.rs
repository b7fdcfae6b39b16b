//! A state that went through a checkpoint.

use crate::core::state::State;

/// As another replica reads it from a checkpoint.
pub fn thawed(state: &State) -> State {
    use crate::machine::OrdersMachine;
    use hansa_consensus::{Frozen as _, Machine as _};
    let mut bytes = Vec::new();
    OrdersMachine::of(copy_of(state)).freeze().write(&mut bytes).unwrap();
    let thawed = OrdersMachine::thaw(&mut bytes.as_slice()).unwrap().state;
    assert_eq!(thawed.digest(), state.digest());
    thawed
}

/// The same tables.
pub fn copy_of(state: &State) -> State {
    use crate::core::moves::Moves;
    use crate::core::repair::Repairs;
    use crate::core::takeover::Births;
    use crate::core::{keys::Keys, remote::Remote};
    use hansa_pages::Table;
    macro_rules! again {
        ($tag:literal, $table:expr) => {{
            let mut bytes = Vec::new();
            $table.freeze().write(&mut bytes).unwrap();
            Table::read($tag, &mut bytes.as_slice()).unwrap()
        }};
    }
    let remote = Remote::rebuild(
        again!("cursors", state.remote.cursors),
        again!("copies", state.remote.copies),
        again!("views", state.remote.views),
        again!("parked", state.remote.parked),
    );
    let copy = State::rebuild(
        state.meta.clone(),
        again!("contents", state.contents),
        again!("orders", state.orders),
        Keys::rebuild(again!("keys", state.keys.table)),
        remote,
        again!("subjects", state.subjects.table),
    );
    let mut copy = copy.with_births(Births::rebuild(
        again!("births", state.births.rows),
        again!("not-adopted", state.births.failed),
        again!("tail", state.births.tail),
    ));
    let plans = again!("plans", state.repairs.plans);
    copy.repairs = Repairs::rebuild(plans, again!("repairs", state.repairs.rows));
    let moves = &state.moves;
    let carries = (again!("carries", moves.carries), again!("called-off", moves.called_off));
    copy.moves = Moves::rebuild(again!("moves", moves.rows), again!("kept", moves.kept), carries);
    copy.owed = again!("owed", state.owed);
    copy.restored = state.restored.clone();
    let mut shelf = Vec::new();
    state.shelf.freeze().write(&mut shelf).unwrap();
    copy.shelf = crate::core::shelf::OrderShelf::read(&mut shelf.as_slice()).unwrap();
    copy
}
