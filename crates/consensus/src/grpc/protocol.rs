//! The version of the peer protocol: what frames hold and mean. Both ends say which they speak.
//!
//! A release that changes frames speaks the old protocol beside the new one, so that nodes of both
//! understand each other while a region is upgraded. Two nodes without a common one refuse each
//! other by name; they never guess.

use std::fmt;

use tonic::metadata::{MetadataMap, MetadataValue};

use crate::version::Versions;

/// What this binary speaks.
pub(super) const SPOKEN: Versions = Versions::upto(1);

const KEY: &str = "hansa-peer-protocol";

/// Says what this node speaks.
pub(super) fn put(metadata: &mut MetadataMap) {
    // Digits and a dash are always a valid metadata value.
    if let Ok(value) = MetadataValue::try_from(format!("{}-{}", SPOKEN.first, SPOKEN.last)) {
        metadata.insert(KEY, value);
    }
}

/// The other end speaks nothing that this node does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign(String);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { first, last } = SPOKEN;
        write!(f, "the peer speaks protocol {}, this node {first}-{last}", self.0)?;
        f.write_str(": upgrade one release at a time")
    }
}

/// The newest protocol that both ends speak.
///
/// # Errors
/// There is none.
pub(super) fn agreed(metadata: &MetadataMap) -> Result<u32, Foreign> {
    // Nodes that say nothing are of the releases that knew the first one only.
    let said = metadata.get(KEY).map_or(Ok("1-1"), |value| value.to_str());
    let said = said.unwrap_or("unreadable");
    let ends = said.split_once('-').and_then(|(first, last)| {
        Some(Versions { first: first.parse().ok()?, last: last.parse().ok()? })
    });
    let common = ends.map(|theirs| theirs.last.min(SPOKEN.last)).filter(|newest| {
        SPOKEN.contains(*newest) && ends.is_some_and(|theirs| theirs.contains(*newest))
    });
    common.ok_or_else(|| Foreign(said.chars().take(24).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<u32, Foreign> {
        let mut metadata = MetadataMap::new();
        metadata.insert(KEY, text.parse().unwrap());
        agreed(&metadata)
    }

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        let mut own = MetadataMap::new();
        put(&mut own);
        assert_eq!(agreed(&own), Ok(SPOKEN.last));
        assert_eq!(agreed(&MetadataMap::new()), Ok(1), "a node of an earlier release");
        assert_eq!(said("1-4"), Ok(1), "a node of a later one, that speaks ours too");
    }

    #[test]
    fn a_peer_without_a_common_one_is_refused_by_name() {
        let refused = said("2-3").unwrap_err().to_string();
        assert!(refused.contains("speaks protocol 2-3, this node 1-1"), "{refused}");
        for nonsense in ["", "1", "x-y", "3-2", "0-0"] {
            assert!(said(nonsense).is_err(), "{nonsense}");
        }
    }
}
