//! Which step may start: at most so many at once, each after the steps it waits for.

use std::collections::BTreeSet;

/// The order of things. Plain bookkeeping: the driver owns the steps and the calls.
#[derive(Debug)]
pub struct Schedule {
    /// How many steps each one still waits for.
    waits: Vec<usize>,
    /// Who waits for each one.
    followers: Vec<Vec<usize>>,
    /// The earliest in the file goes first.
    ready: BTreeSet<usize>,
    unfinished: usize,
}

impl Schedule {
    /// `after[n]` lists what step `n` waits for: smaller numbers only, so there is no circle.
    #[must_use]
    pub fn new<'a>(after: impl ExactSizeIterator<Item = &'a [usize]>) -> Self {
        let count = after.len();
        let mut schedule = Self {
            waits: vec![0; count],
            followers: vec![Vec::new(); count],
            ready: BTreeSet::new(),
            unfinished: count,
        };
        for (step, before) in after.enumerate() {
            assert!(before.iter().all(|earlier| *earlier < step), "a step waits for a later one");
            schedule.waits[step] = before.len();
            if before.is_empty() {
                schedule.ready.insert(step);
            }
            for earlier in before {
                schedule.followers[*earlier].push(step);
            }
        }
        schedule
    }

    /// The next step that may start; `None` when all that are left wait for one under way.
    pub fn start(&mut self) -> Option<usize> {
        self.ready.pop_first()
    }

    /// Marks a started step as done, whatever came of it.
    pub fn done(&mut self, step: usize) {
        self.unfinished -= 1;
        for follower in std::mem::take(&mut self.followers[step]) {
            self.waits[follower] -= 1;
            if self.waits[follower] == 0 {
                self.ready.insert(follower);
            }
        }
    }

    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.unfinished == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_starts_when_all_that_it_waits_for_are_done() {
        let after: [&[usize]; 4] = [&[], &[0], &[], &[1, 2]];
        let mut schedule = Schedule::new(after.into_iter());
        assert_eq!(
            (schedule.start(), schedule.start(), schedule.start()),
            (Some(0), Some(2), None)
        );
        schedule.done(2);
        assert_eq!(schedule.start(), None);
        schedule.done(0);
        assert_eq!(schedule.start(), Some(1));
        schedule.done(1);
        assert_eq!(schedule.start(), Some(3));
        assert!(!schedule.is_finished());
        schedule.done(3);
        assert!(schedule.is_finished());
    }
}
