//! Versions of behaviour: which one a group applies by, and which ones a binary can.
//!
//! A group's version is part of its replicated state. It goes up by a committed entry and never
//! down, so that all replicas change what they do between the same two entries, whichever binary
//! each of them runs.

use std::fmt;

use hansa_types::id::GroupId;
use thiserror::Error;

/// The version that every group begins with.
pub const GENESIS: u32 = 1;

/// The versions of behaviour that a binary applies, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub first: u32,
    pub last: u32,
}

impl Versions {
    /// Everything from the beginning to `last`.
    pub const fn upto(last: u32) -> Self {
        Self { first: GENESIS, last }
    }

    pub const fn contains(self, version: u32) -> bool {
        self.first <= version && version <= self.last
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "version {}", self.first),
            false => write!(f, "versions {} to {}", self.first, self.last),
        }
    }
}

/// This node's binary cannot apply what the group is at: it stops before it guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{group} is at version {needs}, this node's binary applies {has}: {}", self.advice())]
pub struct Unsupported {
    pub group: GroupId,
    pub needs: u32,
    pub has: Versions,
}

/// Why this node's binary cannot apply an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unread {
    #[error(transparent)]
    Version(#[from] Unsupported),
    #[error(
        "{0} begins in a form that this node's binary does not read: upgrade the node; nothing on \
         its disk is wrong"
    )]
    Beginning(GroupId),
    #[error(
        "{0} begins with other parts than this node was started with: give the node the config of \
         its peers; nothing on its disk is wrong"
    )]
    Parts(GroupId),
}

impl Unsupported {
    fn advice(&self) -> &'static str {
        match self.needs > self.has.last {
            true => "upgrade the node; nothing on its disk is wrong",
            false => "run the release before this one, and raise the group's version first",
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;

    #[test]
    fn a_refusal_names_both_versions_and_what_to_do() {
        let group = GroupId::new(GroupKind::Orders, 0);
        let old = Unsupported { group, needs: 2, has: Versions::upto(1) };
        assert_eq!(
            old.to_string(),
            "orders-0 is at version 2, this node's binary applies version 1: upgrade the node; \
             nothing on its disk is wrong"
        );
        let new = Unsupported { group, needs: 1, has: Versions { first: 2, last: 3 } };
        assert!(new.to_string().contains("applies versions 2 to 3: run the release before"));
    }
}
