//! In which order may what happens between two observations be taken, if a measure must not fall
//! below its floor?
//!
//! What raises the measure first, what lowers it last: then the measure is never lower than in any
//! other order. Only an entry that raises *after* one that lowers ([`Entry::after`]) stands against
//! it. Two such cases differ: if the whole life comes to nothing (held and released again), an
//! explanation without it is one as well; any other may be taken in any order.

use super::super::{Entry, Measures, Need};

/// What is known of an entry and of all that hangs together with it, for one measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Nothing raises after something that lowers.
    Clean,
    /// What does so comes to nothing, and none of it need happen.
    Traceless,
    /// What does so comes to nothing, but some of it must happen.
    Passing,
    Mixed,
}

/// The kind of each entry.
pub fn kinds<Op>(
    entries: &[Entry<Op>],
    adds: &[Measures],
    observes: &[bool],
    m: usize,
) -> Vec<Kind> {
    let mut together = Sets::new(entries.len());
    for (n, entry) in entries.iter().enumerate() {
        entry.rests_on().chain(entry.not_with).for_each(|other| together.join(n, other));
    }
    let lives = together.members();
    // Twins stand for each other, so what holds for one is held for all.
    let mut alike = together.clone();
    let mut first = std::collections::HashMap::new();
    for (n, twin) in entries.iter().enumerate().filter_map(|(n, entry)| Some((n, entry.twin?))) {
        alike.join(n, *first.entry(twin.class).or_insert(n));
    }
    let mut worst = vec![Kind::Clean; entries.len()];
    for life in lives.iter().filter(|life| !life.is_empty()) {
        let kind = Life { entries, adds, observes, life, m }.kind();
        let of = alike.first(life[0]);
        worst[of] = worst[of].max(kind);
    }
    (0..entries.len()).map(|n| worst[alike.first(n)]).collect()
}

struct Life<'a, Op> {
    entries: &'a [Entry<Op>],
    adds: &'a [Measures],
    observes: &'a [bool],
    life: &'a [usize],
    m: usize,
}

impl<Op> Life<'_, Op> {
    fn kind(&self) -> Kind {
        // Of twins, one waits for what excludes another: that must not be kept for last.
        let awaited = |n: &usize| {
            let excludes = |other: &usize| self.exclude(*n, *other);
            self.lowers(*n) && self.life.iter().any(excludes)
        };
        if self.life.iter().any(awaited) {
            return Kind::Mixed;
        }
        let late = |n: &usize| self.adds[*n][self.m] > 0 && self.above(*n).any(|n| self.lowers(n));
        let mut late = self.life.iter().copied().filter(late).peekable();
        if late.peek().is_none() {
            return Kind::Clean;
        }
        let optional = self.life.iter().all(|n| self.entries[*n].need != Need::Always);
        match (late.all(|n| self.comes_to_nothing(n)), optional) {
            (true, true) => Kind::Traceless,
            (true, false) => Kind::Passing,
            (false, _) => Kind::Mixed,
        }
    }

    /// Whether all of the life that can have happened with this entry adds up to nothing, and never
    /// stood higher on the way.
    fn comes_to_nothing(&self, last: usize) -> bool {
        let mut path: Vec<usize> = self.above(last).collect();
        path.insert(0, last);
        let mut sum = Measures::default();
        for n in path.iter().rev() {
            sum.iter_mut().zip(&self.adds[*n]).for_each(|(sum, adds)| *sum += adds);
            if sum[self.m] > 0 || self.observes[*n] {
                return false;
            }
        }
        let excluded = |n: usize| path.iter().any(|on| self.exclude(n, *on));
        let rest = self.life.iter().filter(|n| !path.contains(n));
        let alone = rest.copied().all(|n| excluded(n) || self.above(n).any(excluded));
        sum == Measures::default() && alone
    }

    fn lowers(&self, n: usize) -> bool {
        self.adds[n][self.m] < 0
    }

    fn exclude(&self, a: usize, b: usize) -> bool {
        self.entries[a].not_with == Some(b) || self.entries[b].not_with == Some(a)
    }

    /// What must have happened before it, the last first.
    fn above(&self, n: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.entries[n].after, |n| self.entries[*n].after)
    }
}

/// Which belong together.
#[derive(Clone)]
struct Sets(Vec<usize>);

impl Sets {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn first(&self, mut n: usize) -> usize {
        while self.0[n] != n {
            n = self.0[n];
        }
        n
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// By first member.
    fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.0.len()];
        (0..self.0.len()).for_each(|n| members[self.first(n)].push(n));
        members
    }
}
