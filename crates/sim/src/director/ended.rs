//! Why a process has ended by itself: over what was done to its machine, or over nothing.

use hansa::node::RETIRED;

use crate::host::End;

/// What was done to a seat's machine, and is not over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Its disk fails, or failed in this life.
    pub disk: bool,
    pub damaged: bool,
    pub spare: bool,
    /// It has a new place, and was not ready since.
    pub rebuilding: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Asked,
    Disk,
    Damage,
    /// Nobody leads the directory, or it is out of reach: its supervisor tries again.
    Joining,
    NotPlaced,
    /// No keeper of the directory answered when it began, so it went on as who it had been. That
    /// id is refused everywhere, and it ends when it hears so: its supervisor starts it again
    /// (docs/damage.md). One that nobody gave a new place has no such excuse.
    Retired,
    Unmeant,
}

impl Cause {
    pub fn of(end: &End, known: &Known) -> Self {
        match end {
            End::Stopped => Self::Asked,
            End::NotStarted(_) | End::Exited(_) if known.disk => Self::Disk,
            End::NotStarted(_) | End::Exited(_) if known.damaged => Self::Damage,
            End::NotStarted(why) if known.spare && why.contains("does not take this node in") => {
                Self::Joining
            }
            End::NotStarted(_) if known.rebuilding => Self::NotPlaced,
            End::Exited(why) if known.rebuilding && why.contains(RETIRED) => Self::Retired,
            End::NotStarted(_) | End::Exited(_) => Self::Unmeant,
        }
    }

    pub fn says(self) -> &'static str {
        match self {
            Self::Asked => "stopped",
            Self::Disk => "ended over its disk",
            Self::Damage => "refuses its damaged disk",
            Self::Joining => "waits to join",
            Self::NotPlaced => "did not hear of its new place",
            Self::Retired => "began as who it was before",
            Self::Unmeant => "ended",
        }
    }

    pub fn counts(self) -> Option<&'static str> {
        match self {
            Self::Disk => Some("disk error ended a node"),
            Self::Damage => Some("damage refused"),
            Self::Joining => Some("joining tried again"),
            Self::Retired => Some("rebuilt node began under its former id"),
            Self::Asked | Self::NotPlaced | Self::Unmeant => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retired() -> End {
        End::Exited(format!("members: node 12 {RETIRED}: start it again"))
    }

    /// Seeds 6499, 7713, 7759.
    #[test]
    fn a_rebuilt_node_may_end_over_its_former_id_and_over_nothing_else() {
        let rebuilding = Known { rebuilding: true, ..Known::default() };
        assert_eq!(Cause::of(&retired(), &rebuilding), Cause::Retired);
        assert!(Cause::Retired.counts().is_some());
        let other = End::Exited("orders-0: replica differs".to_owned());
        assert_eq!(Cause::of(&other, &rebuilding), Cause::Unmeant);
    }

    #[test]
    fn who_was_given_no_new_place_may_not() {
        for spare in [false, true] {
            let known = Known { spare, ..Known::default() };
            assert_eq!(Cause::of(&retired(), &known), Cause::Unmeant);
            let start = End::NotStarted("its folder cannot come back".to_owned());
            assert_eq!(Cause::of(&start, &known), Cause::Unmeant);
        }
    }
}
