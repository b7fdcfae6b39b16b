//! The audit chain: one hash per committed entry, each over the one before.

use hansa_types::id::GroupId;

/// The chain's head after an entry; all zero before the first.
pub(crate) type Head = [u8; 32];

pub(crate) const GENESIS: Head = [0; 32];

/// What of an entry the chain covers. Of its payload what lasts, see [`crate::Machine::lasting`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link<'a> {
    pub group: GroupId,
    pub term: u64,
    pub index: u64,
    pub kind: u8,
    pub payload: &'a [u8],
}

/// The head after `link`: H(previous head, group, log id, kind, what lasts of the payload).
pub(crate) fn extend(previous: &Head, link: Link<'_>) -> Head {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous);
    hasher.update(&link.group.number().to_le_bytes());
    hasher.update(&link.term.to_le_bytes());
    hasher.update(&link.index.to_le_bytes());
    hasher.update(&[link.kind]);
    hasher.update(link.payload);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;

    #[test]
    fn every_part_of_an_entry_and_its_past_counts() {
        let group = GroupId::new(GroupKind::Orders, 1);
        let link = Link { group, term: 2, index: 3, kind: 1, payload: b"x" };
        let base = extend(&GENESIS, link);
        let other = GroupId::new(GroupKind::Orders, 2);
        let changed = [
            extend(&base, link),
            extend(&GENESIS, Link { group: other, ..link }),
            extend(&GENESIS, Link { term: 9, ..link }),
            extend(&GENESIS, Link { index: 9, ..link }),
            extend(&GENESIS, Link { kind: 9, ..link }),
            extend(&GENESIS, Link { payload: b"y", ..link }),
        ];
        assert!(changed.iter().all(|head| *head != base));
    }
}
