//! Mistakes made on purpose: each is one line in the code that it breaks, and the simulator must
//! catch it.
//!
//! In a shipped binary [`on`] is `const false`: the feature `seeded-bugs` is enabled by the
//! simulator and by tests only, and even then nothing but [`plant`], on the same thread, can switch
//! a mistake on: no environment variable, no config key, no message.

/// One mistake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bug {
    /// The log answers its writers before the sync.
    AckBeforeSync,
    /// A request id that was seen is taken for a new one.
    SkipDedup,
    /// A hold's release gives its units back twice.
    DoubleRelease,
    /// A read is answered from this node's state without asking a quorum whether it still leads.
    StaleRead,
    /// A node whose volume was wiped rejoins under its old id.
    ReuseNodeId,
    /// An order that was cancelled comes back once the last of it is given back.
    LostTombstone,
    /// Events leave for other regions out of their order.
    ReorderedOutbox,
    /// The first entry behind a loaded checkpoint is left out of the audit chain.
    HashChainSkip,
    /// A payment that the provider has voided is taken for captured.
    CaptureAfterVoid,
    /// A new leader takes for given back what its predecessor only began to give back.
    HoldLeakedBetweenSteps,
    /// A snapshot is installed without the archive range that it stands on.
    SnapshotWithoutArchiveRange,
    /// Apply reads the node's own clock.
    ClockInApply,
    /// A truncation of the log is acknowledged and not written.
    TruncateIgnored,
    /// The log is purged up to its end, not to what a checkpoint holds.
    PurgeTooFar,
    /// A vote is acknowledged and not written.
    ForgetVote,
    /// A hold runs out before its time.
    ExpireEarly,
    /// What is booked near is booked once more, under an id of its own.
    NearBooksAgain,
    /// What near books refused is told the order as done.
    NearRefusalIgnored,
}

impl Bug {
    /// Those that the simulator must catch: all but `TruncateIgnored`, which the log's own test
    /// does.
    pub const ALL: [Self; 17] = [
        Self::AckBeforeSync,
        Self::SkipDedup,
        Self::DoubleRelease,
        Self::StaleRead,
        Self::ReuseNodeId,
        Self::LostTombstone,
        Self::ReorderedOutbox,
        Self::HashChainSkip,
        Self::CaptureAfterVoid,
        Self::HoldLeakedBetweenSteps,
        Self::SnapshotWithoutArchiveRange,
        Self::ClockInApply,
        Self::PurgeTooFar,
        Self::ForgetVote,
        Self::ExpireEarly,
        Self::NearBooksAgain,
        Self::NearRefusalIgnored,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "ack-before-sync",
            Self::SkipDedup => "skip-dedup",
            Self::DoubleRelease => "double-release",
            Self::StaleRead => "stale-read",
            Self::ReuseNodeId => "reuse-node-id",
            Self::LostTombstone => "lost-tombstone",
            Self::ReorderedOutbox => "reordered-outbox",
            Self::HashChainSkip => "hash-chain-skip",
            Self::CaptureAfterVoid => "capture-after-void",
            Self::HoldLeakedBetweenSteps => "hold-leaked-between-steps",
            Self::SnapshotWithoutArchiveRange => "snapshot-without-archive-range",
            Self::ClockInApply => "clock-in-apply",
            Self::TruncateIgnored => "truncate-ignored",
            Self::PurgeTooFar => "purge-too-far",
            Self::ForgetVote => "forget-vote",
            Self::ExpireEarly => "expire-early",
            Self::NearBooksAgain => "near-books-again",
            Self::NearRefusalIgnored => "near-refusal-ignored",
        }
    }

    /// Whether it is made in books that lie in an orders group, and nowhere else.
    pub fn is_near(self) -> bool {
        matches!(self, Self::NearBooksAgain | Self::NearRefusalIgnored)
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

/// Whether the mistake is to be made, here and now.
#[cfg(not(feature = "seeded-bugs"))]
#[inline(always)]
pub const fn on(_: Bug) -> bool {
    false
}

#[cfg(feature = "seeded-bugs")]
pub use planted::{Planted, on, plant};

#[cfg(feature = "seeded-bugs")]
mod planted {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether the mistake is to be made, here and now.
    pub fn on(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Makes the mistake on this thread until the guard is dropped.
    pub fn plant(bug: Bug) -> Planted {
        Planted { before: PLANTED.replace(Some(bug)), of_this_thread: PhantomData }
    }

    /// A mistake in force.
    #[must_use = "dropped at once, the mistake is never made"]
    pub struct Planted {
        before: Option<Bug>,
        of_this_thread: PhantomData<*const ()>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_as_themselves() {
        assert!(Bug::ALL.into_iter().all(|bug| Bug::named(bug.name()) == Some(bug)));
    }

    #[cfg(not(feature = "seeded-bugs"))]
    #[test]
    fn nothing_is_on_without_the_feature() {
        const OFF: bool = on(Bug::AckBeforeSync);
        assert!(!OFF && !Bug::ALL.into_iter().any(on));
    }

    #[cfg(feature = "seeded-bugs")]
    #[test]
    fn a_bug_is_on_for_its_thread_and_guard_only() {
        assert!(!on(Bug::SkipDedup));
        {
            let _planted = plant(Bug::SkipDedup);
            assert!(on(Bug::SkipDedup) && !on(Bug::StaleRead));
            let elsewhere = std::thread::spawn(|| on(Bug::SkipDedup));
            assert!(!elsewhere.join().unwrap_or(true));
        }
        assert!(!on(Bug::SkipDedup));
    }
}
