//! When the group's events were made: what the age of a peer's lag is read from.
//!
//! Of memory alone, made anew from what orders remember of their own events: no two replicas need
//! have the same marks, and nothing that is decided hangs on them.

use std::collections::BTreeMap;

use hansa_types::time::LogTime;

use crate::core::order::Order;

/// Events within this time count as made at its beginning.
const SLOT_MS: u64 = 100;
/// And those within this part of their age.
const PARTS: u64 = 256;
/// Marks kept: a year of events leaves half as many.
const MARKS_MAX: usize = 8_192;

/// Events up to `last`, the first of which was made `at` this time.
struct Mark {
    last: u64,
    at: LogTime,
    /// When the last was.
    end: LogTime,
}

/// Marks by their first events. Later events are never older ones.
#[derive(Default)]
pub struct Times {
    marks: BTreeMap<u64, Mark>,
}

impl Times {
    /// As far as orders remember. Events after all of those, up to `last`, count as made `now`.
    pub(super) fn rebuild<'a>(
        orders: impl Iterator<Item = &'a Order>,
        (last, now): (u64, LogTime),
    ) -> Self {
        let mut times = Self::default();
        for change in orders.flat_map(|order| &order.history) {
            times.put(change.seq, Mark::of(change.seq, change.at), now);
        }
        times.note(last, now);
        times
    }

    /// Events up to `seq` were made until `now`.
    pub(super) fn note(&mut self, seq: u64, now: LogTime) {
        let before = self.marks.last_key_value().map_or(0, |(_, mark)| mark.last);
        if seq > before {
            self.put(before + 1, Mark::of(seq, now), now);
        }
    }

    /// When an event was made; where that is forgotten, the one after it. `None` of none.
    pub fn of(&self, seq: u64) -> Option<LogTime> {
        let within = self.marks.range(..=seq).next_back().filter(|(_, mark)| seq <= mark.last);
        within.or_else(|| self.marks.range(seq..).next()).map(|(_, mark)| mark.at)
    }

    fn put(&mut self, first: u64, mark: Mark, now: LogTime) {
        match self.marks.range_mut(..=first).next_back() {
            Some((_, before)) if first <= before.last => {}
            Some((_, before)) if before.close(&mark, now) => before.extend(&mark),
            _ => {
                self.marks.insert(first, mark);
            }
        }
        if self.marks.len() > MARKS_MAX {
            self.thin(now);
        }
    }

    /// Those that are close by now become one.
    fn thin(&mut self, now: LogTime) {
        let mut kept: BTreeMap<u64, Mark> = BTreeMap::new();
        for (first, mark) in std::mem::take(&mut self.marks) {
            match kept.last_entry() {
                Some(mut last) if last.get().close(&mark, now) => last.get_mut().extend(&mark),
                _ => {
                    kept.insert(first, mark);
                }
            }
        }
        self.marks = kept;
    }
}

impl Mark {
    fn of(last: u64, at: LogTime) -> Self {
        Self { last, at, end: at }
    }

    /// Whether the next one may count as this, for its age.
    fn close(&self, next: &Self, now: LogTime) -> bool {
        let far_ms = SLOT_MS.max(now.ms().saturating_sub(next.end.ms()) / PARTS);
        next.end.ms() < self.at.ms().saturating_add(far_ms)
    }

    fn extend(&mut self, next: &Self) {
        (self.last, self.end) = (next.last, next.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn an_event_is_as_old_as_it_is() {
        let mut times = Times::default();
        assert_eq!(times.of(1), None);
        times.note(1, LogTime(1_000));
        times.note(1, LogTime(5_000));
        times.note(3, LogTime(9_000));
        times.note(4, LogTime(9_050));
        let of = |seq| times.of(seq).map(LogTime::ms);
        assert_eq!(
            [1, 2, 3, 4, 5].map(of),
            [Some(1_000), Some(9_000), Some(9_000), Some(9_000), None]
        );
    }

    #[test]
    fn what_no_order_remembers_is_as_old_as_the_restart_and_not_without_an_age() {
        // Two erasures and nothing since.
        let mut times = Times::rebuild(std::iter::empty(), (2, LogTime(1_000)));
        times.note(3, LogTime(9_000));
        let of = |seq| times.of(seq).map(LogTime::ms);
        assert_eq!([1, 2, 3].map(of), [Some(1_000), Some(1_000), Some(9_000)]);
        assert_eq!(Times::rebuild(std::iter::empty(), (0, LogTime(1_000))).of(1), None);
    }

    /// An event a second for thirty days, noted as they are made, and put together from what
    /// orders remember, newest first.
    #[test]
    fn a_month_of_events_is_kept_in_few_marks_each_right_for_its_age() {
        let (count, at) = (30 * DAY_MS / 1_000, |seq: u64| LogTime(seq * 1_000));
        let (mut noted, mut made) = (Times::default(), Times::default());
        let now = at(count);
        for seq in 1..=count {
            noted.note(seq, at(seq));
            let back = count + 1 - seq;
            made.put(back, Mark::of(back, at(back)), now);
        }
        for times in [noted, made] {
            assert!(times.marks.len() <= MARKS_MAX);
            for seq in (1..=count).step_by(997) {
                let (told, right) = (times.of(seq).unwrap(), at(seq));
                let age = now.ms() - right.ms();
                let off = right.ms().abs_diff(told.ms());
                assert!(off <= SLOT_MS.max(age / 100), "event {seq}, {age} ms old: {off} ms off");
            }
        }
    }
}
