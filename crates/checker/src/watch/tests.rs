use super::*;
use crate::testing::order;

fn event(sequence: u64) -> Item {
    let (order, kind) = (Box::new(order("o", sequence)), format!("K{sequence}"));
    Item::Event { sequence, kind, order }
}

fn stream(after: u64, items: Vec<Item>) -> Stream {
    Stream { order: "o".to_owned(), client: 1, after, items }
}

#[track_caller]
fn check_items(after: u64, items: Vec<Item>, passes: bool) {
    let verdict = check(&[stream(after, items)], &History::default());
    assert_eq!(verdict.passed(), passes, "{verdict}");
}

#[test]
fn events_come_in_order_once_and_without_gaps() {
    check_items(0, vec![event(1), event(2), event(3)], true);
    check_items(0, vec![event(1), event(3)], false);
    check_items(0, vec![event(2), event(1)], false);
    check_items(0, vec![event(1), event(1)], false);
    check_items(0, vec![event(1), Item::Bookmark { sequence: 1 }, event(2)], true);
    check_items(0, vec![event(1), Item::Bookmark { sequence: 2 }], false);
}

#[test]
fn a_stream_goes_on_where_its_cursor_stands_or_from_a_snapshot() {
    check_items(2, vec![event(3)], true);
    check_items(2, vec![event(2)], false);
    check_items(2, vec![event(4)], false);
    let snapshot = || Item::Compacted { sequence: 5, order: Box::new(order("o", 5)) };
    check_items(2, vec![snapshot(), event(6)], true);
    check_items(5, vec![snapshot()], false);
}

#[test]
fn two_streams_tell_one_story() {
    let mut other = order("o", 1);
    other.state = crate::seen::OrderState::Parked;
    let differs = Item::Event { sequence: 1, kind: "K1".to_owned(), order: Box::new(other) };
    let streams = [stream(0, vec![event(1)]), stream(0, vec![differs])];
    assert!(check(&streams, &History::default()).failed());
    let streams = [stream(0, vec![event(1)]), stream(0, vec![event(1), event(2)])];
    assert!(check(&streams, &History::default()).passed());
}
