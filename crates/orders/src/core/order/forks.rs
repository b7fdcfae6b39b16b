//! Where an order's owners went on from one another's versions: what tells each of them what it did
//! alone.

use hansa_types::region::RegionNumber;
use serde::{Deserialize, Serialize};

use super::Order;

/// Kept of one order. Of more the two oldest count as one: who owned it before then sees a longer
/// tail, never a shorter one.
pub const FORKS_MAX: usize = 64;

/// An owner went on with what others had written up to a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fork {
    /// In which it came to own the order: with its name, which of all forks this is.
    pub epoch: u64,
    pub owner: RegionNumber,
    /// The last version that is not its own.
    pub version: u64,
    /// Its own as well: it came back from a backup, and does not know what it told after that.
    pub restored: bool,
}

impl Fork {
    fn is(&self, other: &Self) -> bool {
        (self.epoch, self.owner) == (other.epoch, other.owner)
    }
}

/// The forks of an order that goes on with another one.
pub fn forked(mut before: Vec<Fork>, fork: Fork) -> Vec<Fork> {
    before.push(fork);
    while before.len() > FORKS_MAX {
        let oldest = before.remove(0);
        before[0].version = before[0].version.min(oldest.version);
        before[0].restored &= oldest.restored;
    }
    before
}

/// The last version that both have of an order which one side wrote and another went on with: what
/// comes after the newest fork that both know of is either's own from the next one on.
pub fn parted(ours: &[Fork], theirs: &[Fork]) -> u64 {
    // Where two have one name, the first of ours is the first of theirs.
    let known = |n: usize| {
        let before = ours[..n].iter().filter(|of| of.is(&ours[n])).count();
        let named = theirs.iter().enumerate().filter(|(_, of)| of.is(&ours[n]));
        named.map(|(at, _)| at).nth(before)
    };
    let both = (0..ours.len()).rev().find_map(|n| Some((n + 1, known(n)? + 1)));
    let (own, other) = both.unwrap_or((0, 0));
    let next = ours.get(own).into_iter().chain(theirs.get(other));
    let next = next.map(|fork| fork.version).min();
    // Nobody says how far it is the same: all that was written here counts as alone.
    next.unwrap_or_else(|| ours.last().map_or(0, |fork| fork.version))
}

impl Order {
    /// The last version that another owner may have gone on from.
    pub fn since(&self) -> u64 {
        self.forks.last().map_or(0, |fork| fork.version)
    }

    /// Whether another region had it before, and may have done what nobody here heard of.
    pub fn came(&self) -> bool {
        self.forks.iter().any(|fork| !fork.restored)
    }

    /// Goes on as it stands in a newer epoch of `owner`.
    pub fn fork(&mut self, epoch: u64, owner: RegionNumber) {
        let fork = Fork { epoch, owner, version: self.version, restored: false };
        self.forks = forked(std::mem::take(&mut self.forks), fork);
    }

    /// `owner` came back from a backup that had this version, and goes on from it in `epoch`.
    pub fn fork_again(&mut self, epoch: u64, owner: RegionNumber, version: u64) {
        let fork = Fork { epoch, owner, version, restored: true };
        self.forks = forked(std::mem::take(&mut self.forks), fork);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork((epoch, owner, version): (u64, u16, u64)) -> Fork {
        Fork { epoch, owner: owner.try_into().unwrap(), version, restored: false }
    }

    fn line(forks: &[(u64, u16, u64)]) -> Vec<Fork> {
        forks.iter().copied().map(fork).collect()
    }

    #[test]
    fn two_lines_part_at_the_first_fork_that_is_not_of_both() {
        let check = |ours: &[_], theirs: &[_], at| {
            assert_eq!(parted(&line(ours), &line(theirs)), at, "{ours:?} {theirs:?}");
        };
        // Went on from by one, by two, and from less by the second.
        check(&[], &[(2, 2, 4)], 4);
        check(&[], &[(2, 2, 4), (3, 3, 9), (4, 2, 12)], 4);
        check(&[(2, 2, 4)], &[(3, 3, 3)], 3);
        check(&[(2, 2, 4)], &[(2, 2, 4), (3, 3, 9)], 9);
        check(&[(2, 2, 4), (3, 3, 9)], &[(2, 2, 4), (4, 2, 7), (5, 1, 8)], 7);
        // Its writer never heard of us: what we went on with is the last of both.
        check(&[(2, 2, 4)], &[], 4);
        // Came back from a backup and was lost: another went on from what it had told before.
        check(&[(2, 1, 6)], &[(3, 2, 9)], 6);
        check(&[(2, 1, 6)], &[(2, 1, 6), (3, 2, 7)], 7);
        // Came back from a backup in an epoch that it owned in already: two have one name.
        check(&[(3, 1, 4), (3, 1, 6)], &[(3, 1, 4), (4, 2, 9)], 6);
        check(&[(3, 1, 4), (3, 1, 6)], &[(3, 1, 4), (3, 1, 6), (4, 2, 9)], 9);
        check(&[(3, 1, 4)], &[(3, 1, 4), (3, 1, 6), (4, 2, 9)], 6);
        // Two in one epoch are two.
        check(&[(3, 1, 9)], &[(3, 3, 9), (5, 3, 14)], 9);
        // Nobody says.
        check(&[], &[], 0);
        check(&[(2, 2, 4)], &[(2, 2, 4)], 4);
    }

    #[test]
    fn of_more_forks_than_are_kept_the_oldest_count_as_one() {
        let region = |n: u64| 1 + (n % 2) as u16;
        let all: Vec<_> = (2..100).map(|n| fork((n, region(n), 3 * n))).collect();
        let kept = all.iter().fold(Vec::new(), |kept, fork| forked(kept, *fork));
        assert_eq!(kept.len(), FORKS_MAX);
        assert_eq!((kept[0].epoch, kept[0].version), (36, 6));
        // Whoever owned it lately is told exactly, and who did long ago more than it did alone.
        for (n, owned) in all.iter().enumerate() {
            let told = parted(&all[..=n], &kept);
            let right = all.get(n + 1).map_or(owned.version, |next| next.version);
            assert!(if n < 34 { told <= right } else { told == right }, "{n}: {told} {right}");
        }
    }
}
