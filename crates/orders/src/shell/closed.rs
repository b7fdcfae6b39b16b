//! Former homes that say by now that they are none: of one that has not said so every unknown
//! request is asked for.

use std::collections::BTreeMap;

use hansa_types::region::{RegionNumber, Slot};
use parking_lot::Mutex;

/// A former home of a slot's customers, by the policy in force here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Closed {
    pub version: u64,
    pub birth: RegionNumber,
    pub asked: RegionNumber,
    /// In which it owns these births.
    pub epoch: u64,
    pub slot: Slot,
}

/// Who has said so, and since when that is so. A node that begins anew asks anew.
#[derive(Default)]
pub struct Answered(Mutex<BTreeMap<Closed, u64>>);

impl Answered {
    pub fn since(&self, of: Closed) -> Option<u64> {
        self.0.lock().get(&of).copied()
    }

    /// The first answer is what counts: from then on nothing was taken there. What was said under
    /// an older policy counts no more.
    pub fn say(&self, of: Closed, since_ms: u64) {
        let mut known = self.0.lock();
        known.retain(|other, _| other.version >= of.version);
        known.entry(of).or_insert(since_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_under_the_newest_policy_is_what_counts() {
        let number = |n: u16| RegionNumber::try_from(n).unwrap();
        let of = |version, epoch| {
            let (birth, asked, slot) = (number(1), number(2), Slot::of(b"x"));
            Closed { version, birth, asked, epoch, slot }
        };
        let known = Answered::default();
        assert_eq!(known.since(of(1, 1)), None);
        known.say(of(1, 1), 50);
        known.say(of(1, 1), 90);
        assert_eq!((known.since(of(1, 1)), known.since(of(1, 2))), (Some(50), None));
        known.say(of(2, 1), 70);
        assert_eq!((known.since(of(1, 1)), known.since(of(2, 1))), (None, Some(70)));
    }
}
