//! Listings: newest first, page by page, of one customer or of all.

use super::{START, accept, contents, key, key_of, order_id, settings};
use crate::core::command::{Accept, Command};
use crate::core::state::State;
use crate::core::state::listing::{Listed, Of};

/// Orders 1 to 9, in a shuffled order; every third is customer 77's.
fn nine() -> State {
    let mut state = State::new(settings());
    state.advance(START);
    for n in [4, 9, 1, 7, 2, 8, 3, 6, 5] {
        let command = match n % 3 {
            0 => {
                let mut contents = contents();
                contents.sealed_with = key_of(77);
                let mint = (n == 9).then(|| super::wrapped(super::FIRST, 1));
                let (order, key) = (order_id(n), key(u128::from(n)));
                Command::Accept(Box::new(Accept { order, key, epoch: 1, contents, mint }))
            }
            _ => accept(n, contents()),
        };
        state.apply(START, command);
    }
    assert!(state.orders.len() == 9 && state.indexes_agree());
    state
}

#[test]
fn pages_follow_one_another_without_gap_or_repeat() {
    let state = nine();
    for (of, count) in [(Of::Everybody, 9), (Of::Customer(key_of(77).subject), 3)] {
        let whole: Vec<_> = state.listed(of, None, 100).iter().map(|(row, _)| *row).collect();
        assert!(whole.len() == count && whole.is_sorted_by(|a, b| a > b), "{whole:?}");
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = state.listed(of, before, 2);
            let Some((last, _)) = page.last() else { break };
            before = Listed::from_bytes(&last.to_bytes());
            paged.extend(page.iter().map(|(row, _)| *row));
        }
        assert_eq!(paged, whole);
    }
    assert_eq!(state.listed(Of::Customer(key_of(78).subject), None, 100), []);
}
