//! What a read finds while births change hands.

use bytes::Bytes;
use hansa_types::region::Slot;
use hansa_types::time::LogTime;

use super::*;
use crate::core::remote::{Batch, Origin, RemoteEvent, Shown};
use crate::core::settings::Settings;
use crate::core::takeover::{Step, TakeOver};

#[test]
fn an_order_that_waits_to_be_adopted_is_not_called_unknown() {
    let region = |n: u16| RegionNumber::try_from(n).unwrap();
    let settings = crate::core::tests::settings();
    let mut state = State::new(Settings { region: region(2), ..settings });
    let order = OrderId::new(LogTime(1), region(1), Slot::of(b"c"), 5);
    let view = Bytes::from_static(b"view");
    let shown = Shown::default();
    let event =
        RemoteEvent { sequence: 1, order, version: 1, view, shown, forks: Vec::new(), fault: None };
    let origin = Origin { region: region(1), group: 0, epoch: 1 };
    let events = vec![event];
    let batch = Batch { origin, after: 0, upto: 1, current_as_of_ms: None, events };
    state.apply(LogTime(5), Command::ApplyRemote(Box::new(batch)));
    let look = |state: &State| found(state, order, |_, _| ()).unwrap_err().reason();
    assert_eq!(look(&state), Reason::HomeMoving, "a directory that is ahead sent who asks here");
    let own = OrderId::new(LogTime(1), region(2), Slot::of(b"c"), 5);
    assert_eq!(found(&state, own, |_, _| ()).unwrap_err().reason(), Reason::OrderNotFound);
    let take = TakeOver {
        birth: region(1),
        epoch: 2,
        from: region(1),
        record: 7,
        record_ms: 5,
        skew_ms: 1,
        complete: true,
        unheard: false,
        heard: Vec::new(),
    };
    let done = state.apply(LogTime(6), Command::Takeover(Step::TakeOver(Box::new(take))));
    assert_eq!((done, look(&state)), (Outcome::Noted, Reason::HomeMoving));
}
