//! The version of the peer protocol: what frames hold and mean. Both ends say which they speak.
//!
//! A release that changes frames speaks the old protocol beside the new one, so that nodes of both
//! understand each other while a region is upgraded. Two nodes without a common one refuse each
//! other by name; they never guess.

use std::collections::BTreeMap;
use std::fmt;

use hansa_types::id::NodeId;
use parking_lot::Mutex;
use tonic::metadata::MetadataMap;

use crate::version::Versions;

/// What this binary speaks. Nodes of 1 chain and archive all of every entry, nodes of 2 know no
/// entry that says what a group begins with.
pub(crate) const SPOKEN: Versions = Versions { first: 3, last: 3 };

const KEY: &str = "hansa-peer-protocol";

/// The protocols that this node speaks, and who understands none of them.
pub(crate) struct Protocol {
    spoken: Versions,
    /// Peers without a common one, and what was said about it; bounded by the nodes that this one
    /// knows by name.
    refused: Mutex<BTreeMap<NodeId, String>>,
}

/// The other end speaks nothing that this node does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    theirs: String,
    ours: Versions,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { first, last } = self.ours;
        write!(f, "the peer speaks protocol {}, this node {first}-{last}", self.theirs)?;
        f.write_str(": upgrade one release at a time")
    }
}

impl Protocol {
    pub fn new(spoken: Versions) -> Self {
        Self { spoken, refused: Mutex::default() }
    }

    /// Says what this node speaks.
    pub(super) fn put(&self, metadata: &mut MetadataMap) {
        // Digits and a dash are always a valid metadata value.
        if let Ok(value) = format!("{}-{}", self.spoken.first, self.spoken.last).parse() {
            metadata.insert(KEY, value);
        }
    }

    /// The newest protocol that both ends speak; a peer without one is listed.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn agreed(&self, peer: NodeId, metadata: &MetadataMap) -> Result<u32, Foreign> {
        let agreed = self.common(metadata);
        match &agreed {
            Ok(_) => self.forget(peer),
            Err(foreign) => _ = self.note(peer, foreign.to_string()),
        }
        agreed
    }

    fn common(&self, metadata: &MetadataMap) -> Result<u32, Foreign> {
        // Nodes that say nothing are of the releases that knew the first one only.
        let said = metadata.get(KEY).map_or(Ok("1-1"), |value| value.to_str());
        let said = said.unwrap_or("unreadable");
        let ends = said.split_once('-').and_then(|(first, last)| {
            Some(Versions { first: first.parse().ok()?, last: last.parse().ok()? })
        });
        let common = ends.map(|theirs| theirs.last.min(self.spoken.last)).filter(|newest| {
            self.spoken.contains(*newest) && ends.is_some_and(|theirs| theirs.contains(*newest))
        });
        let foreign = || Foreign { theirs: said.chars().take(24).collect(), ours: self.spoken };
        common.ok_or_else(foreign)
    }

    /// A peer with which there is no stream, and why; whether it is news, which is logged: both
    /// ends try again many times a second, and each has its own words for it.
    pub(super) fn note(&self, peer: NodeId, why: String) -> bool {
        let mut refused = self.refused.lock();
        let news = !refused.contains_key(&peer);
        if news {
            tracing::error!(%peer, why, "peer refused");
        }
        refused.insert(peer, why);
        news
    }

    pub fn forget(&self, peer: NodeId) {
        self.refused.lock().remove(&peer);
    }

    /// Peers that speak no protocol of this node's, as far as it was last heard.
    pub fn refused(&self) -> BTreeMap<NodeId, String> {
        self.refused.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<u32, Foreign> {
        let mut metadata = MetadataMap::new();
        metadata.insert(KEY, text.parse().unwrap());
        Protocol::new(SPOKEN).agreed(NodeId(2), &metadata)
    }

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        let (mut own, protocol) = (MetadataMap::new(), Protocol::new(SPOKEN));
        protocol.put(&mut own);
        let agreed = |metadata| protocol.agreed(NodeId(2), metadata);
        assert_eq!(agreed(&own), Ok(SPOKEN.last));
        assert!(agreed(&MetadataMap::new()).is_err(), "a node of before there were numbers");
        assert_eq!(said("1-4"), Ok(3), "a node of a later one, that speaks ours too");
    }

    #[test]
    fn a_refused_peer_is_news_once_until_it_is_understood_again() {
        let (mut own, protocol) = (MetadataMap::new(), Protocol::new(SPOKEN));
        protocol.put(&mut own);
        assert!(protocol.note(NodeId(2), "it speaks 4-5".into()));
        assert!(!protocol.note(NodeId(2), "it does not understand 3-3".into()), "known");
        assert!(protocol.note(NodeId(3), "it speaks 4-5".into()), "another one");
        assert_eq!(protocol.refused()[&NodeId(2)], "it does not understand 3-3");
        assert!(protocol.agreed(NodeId(2), &own).is_ok());
        assert!(protocol.note(NodeId(2), "it speaks 4-5".into()), "again");
    }

    #[test]
    fn a_peer_without_a_common_one_is_refused_by_name() {
        let refused = said("4-5").unwrap_err().to_string();
        assert!(refused.contains("speaks protocol 4-5, this node 3-3"), "{refused}");
        assert!(said("1-2").is_err(), "it knows no beginnings");
        for nonsense in ["", "1", "x-y", "5-3", "0-0"] {
            assert!(said(nonsense).is_err(), "{nonsense}");
        }
    }
}
