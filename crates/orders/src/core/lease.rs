//! For how long an epoch is renewed, by who renewed it and when it was asked for.
//!
//! # Source
//! docs/adr/0016-region-loss.md: the holder counts from before it asked, less 1 % for drift.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_types::region::RegionNumber;

/// What the regions of a league granted of one birth in one epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grants {
    pub epoch: u64,
    /// When each was asked, on the holder's monotonic clock.
    asked: BTreeMap<RegionNumber, Duration>,
}

/// The rule by which grants add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Regions of the league.
    pub regions: usize,
    /// How long one grant counts.
    pub lease: Duration,
    /// Whose own grant there must be, whoever else gives one.
    pub here: RegionNumber,
}

impl Rule {
    /// The stricter of two, of which one may be older.
    #[must_use]
    pub fn strict(self, other: Self) -> Self {
        let regions = self.regions.max(other.regions);
        Self { regions, lease: self.lease.min(other.lease), ..self }
    }

    /// A clock that runs 1 % slow still ends its lease in time.
    fn counted(self) -> Duration {
        self.lease - self.lease / 100
    }
}

impl Grants {
    pub fn new(epoch: u64) -> Self {
        Self { epoch, asked: BTreeMap::new() }
    }

    /// Takes in that a region renewed what it was asked for at `asked`; an answer that was
    /// overtaken by a newer one counts for nothing.
    pub fn granted(&mut self, by: RegionNumber, asked: Duration) {
        let known = self.asked.entry(by).or_insert(asked);
        *known = (*known).max(asked);
    }

    /// A region says that it renews no longer.
    pub fn refused(&mut self, by: RegionNumber) {
        self.asked.remove(&by);
    }

    /// Until when a majority's grants count, the holder's own among them; `None` without one.
    pub fn until(&self, rule: Rule) -> Option<Duration> {
        let own = self.asked.get(&rule.here)?;
        let mut asked: Vec<Duration> = self.asked.values().copied().collect();
        asked.sort_unstable_by(|a, b| b.cmp(a));
        // The one of the majority that was asked first ends it.
        let oldest = asked.get(rule.regions / 2)?;
        Some(oldest.min(own).saturating_add(rule.counted()))
    }

    /// Whose grants count at a moment.
    pub fn by(&self, now: Duration, rule: Rule) -> impl Iterator<Item = RegionNumber> + '_ {
        let counts = move |asked: &Duration| asked.saturating_add(rule.counted()) > now;
        self.asked.iter().filter(move |(_, asked)| counts(asked)).map(|(region, _)| *region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(n: u16) -> RegionNumber {
        n.try_into().unwrap()
    }

    fn rule(regions: usize) -> Rule {
        Rule { regions, lease: Duration::from_secs(10), here: region(1) }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_is_held_from_before_a_majority_was_asked_less_one_percent() {
        let mut grants = Grants::new(1);
        assert_eq!(grants.until(rule(4)), None);
        grants.granted(region(1), at(100));
        grants.granted(region(2), at(300));
        assert_eq!(grants.until(rule(4)), None, "half is no majority");
        assert_eq!(grants.until(rule(3)), Some(at(10_000)), "two of three: asked at 100");
        grants.granted(region(3), at(200));
        assert_eq!(grants.until(rule(4)), Some(at(10_000)));
        grants.granted(region(1), at(5_000));
        assert_eq!(grants.until(rule(4)), Some(at(10_100)), "the one of 200 ends it now");
        assert_eq!(grants.until(Rule { here: region(4), ..rule(3) }), None, "without our own");
        grants.granted(region(4), at(9_000));
        assert_eq!(grants.until(rule(4)), Some(at(10_200)), "a minority's age does not matter");
        let own = Rule { here: region(2), ..rule(1) };
        assert_eq!(grants.until(own), Some(at(10_200)), "but our own does");
    }

    #[test]
    fn of_two_rules_the_stricter_counts() {
        let longer = Rule { lease: Duration::from_secs(20), ..rule(5) };
        let strict = Rule { lease: Duration::from_secs(10), ..rule(5) };
        assert_eq!((rule(3).strict(longer), longer.strict(rule(3))), (strict, strict));
    }

    #[test]
    fn an_answer_that_was_overtaken_does_not_shorten_the_lease() {
        let mut grants = Grants::new(1);
        grants.granted(region(1), at(700));
        grants.granted(region(1), at(500));
        assert_eq!(grants.until(rule(1)), Some(at(10_600)));
    }

    #[test]
    fn who_refuses_counts_no_longer() {
        let mut grants = Grants::new(1);
        grants.granted(region(1), at(0));
        grants.granted(region(2), at(0));
        assert!(grants.until(rule(3)).is_some());
        grants.refused(region(2));
        assert_eq!(grants.until(rule(3)), None);
        assert_eq!(grants.by(at(9_899), rule(3)).collect::<Vec<_>>(), [region(1)]);
        assert_eq!(grants.by(at(9_900), rule(3)).count(), 0);
    }

    proptest::proptest! {
        /// Whatever order answers come in, and whoever gives them: no majority of regions that has
        /// promised not to renew leaves a lease that ends later than what was granted before.
        #[test]
        fn a_fenced_majority_ends_every_lease(
            asked in proptest::collection::vec((1u16..=5, 0u64..20_000), 0..40),
            fenced_at in 0u64..20_000,
        ) {
            let mut grants = Grants::new(1);
            // Regions 3, 4 and 5 of five promise at `fenced_at` and grant nothing asked later.
            for (by, ms) in asked.into_iter().filter(|(by, ms)| *by < 3 || *ms <= fenced_at) {
                grants.granted(region(by), at(ms));
            }
            if let Some(until) = grants.until(rule(5)) {
                proptest::prop_assert!(until <= at(fenced_at) + Duration::from_secs(10));
            }
        }
    }
}
