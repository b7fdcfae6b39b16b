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

/// Entries that hang together beyond which it is not worth asking whether they can fall.
const LIFE_MAX: usize = 12;

/// Whether a measure may fall below what it was at first: not where in each life whatever lowers it
/// comes after something that raised it by as much.
pub fn falls<Op>(entries: &[Entry<Op>], adds: &[Measures], m: usize) -> bool {
    lives(entries).members().iter().any(|life| {
        let lowers = life.iter().any(|n| adds[*n][m] < 0);
        lowers && (life.len() > LIFE_MAX || life_falls(entries, adds, m, life))
    })
}

/// Whether some of a life that can have happened by itself lowers the measure.
fn life_falls<Op>(entries: &[Entry<Op>], adds: &[Measures], m: usize, life: &[usize]) -> bool {
    (0_u32..1 << life.len()).any(|some| {
        let done =
            |n: usize| life.iter().position(|on| *on == n).is_some_and(|i| some >> i & 1 == 1);
        let mut happened = life.iter().filter(|n| done(**n));
        let sum: i64 = happened.clone().map(|n| adds[*n][m]).sum();
        sum < 0
            && happened.all(|n| {
                let Entry { after, not_with, .. } = entries[*n];
                after.is_none_or(done) && !not_with.is_some_and(done)
            })
    })
}

/// What rests on each other.
fn lives<Op>(entries: &[Entry<Op>]) -> Sets {
    let mut together = Sets::new(entries.len());
    for (n, entry) in entries.iter().enumerate() {
        entry.rests_on().chain(entry.not_with).for_each(|other| together.join(n, other));
    }
    together
}

/// The kind of each entry.
pub fn kinds<Op>(
    entries: &[Entry<Op>],
    adds: &[Measures],
    observes: &[bool],
    m: usize,
) -> Vec<Kind> {
    let together = lives(entries);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits 3 after a hold; then what follows, each after the commit.
    fn falls_with(rest: impl IntoIterator<Item = (i64, Option<usize>)>) -> bool {
        let open = |op| Entry::open(op, 0);
        let mut entries = vec![open(0), open(3).after(0)];
        let rest = rest.into_iter().map(|(op, not_with)| Entry { not_with, ..open(op).after(1) });
        entries.extend(rest);
        let adds: Vec<Measures> = entries.iter().map(|entry| [entry.op, 0, 0, 0, 0]).collect();
        falls(&entries, &adds, 0)
    }

    #[test]
    fn what_takes_no_more_than_what_it_rests_on_brought_does_not_fall() {
        assert!(!falls_with([(-1, None), (-2, None)]));
        assert!(falls_with([(-1, None), (-3, None)]));
        assert!(!falls_with([(-3, None), (-1, Some(2)), (-2, Some(2))]), "either is done");
        assert!(falls_with([(-3, None), (-1, None), (-2, Some(2))]));
    }

    #[test]
    fn what_rests_on_nothing_falls() {
        let entries = [Entry::open(3, 0), Entry::open(-1, 0)];
        assert!(falls(&entries, &[[3, 0, 0, 0, 0], [-1, 0, 0, 0, 0]], 0));
    }
}
