//! The manifest: what a backup holds. It is written last, so a folder without one is no backup.

use hansa_types::id::GroupId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The format that this version writes and reads. 1 had all of every entry, 2 no date until which a
/// backup may be kept; in 3 no entry said what its group begins with.
pub const FORMAT: u32 = 4;
/// Groups that a manifest names at most: a guard against damaged or hostile files.
const GROUPS_MAX: usize = 1_024;
/// Bytes of a manifest.
pub const BYTES_MAX: u64 = 4 << 20;

/// A whole backup of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// Drawn when the backup began.
    pub id: String,
    pub region: String,
    /// The region's number: part of every order id.
    pub number: u16,
    /// The newest epoch of any births that the region knew of: a restore begins in a newer one.
    pub epoch: u64,
    /// Wall time of the cut, Unix milliseconds.
    pub cut_ms: u64,
    /// When it is to be deleted, alike: what a law takes back later stays in it until then.
    pub keep_until_ms: u64,
    pub groups: Vec<Group>,
    /// blake3 over the manifest with this field empty, in hex.
    pub hash: String,
}

/// One group at one index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Kind and index, such as `orders-0`; also its folder.
    pub name: String,
    /// Kind and index in one number: kind << 16 | index.
    pub group: u32,
    /// The node whose replica was copied.
    pub node: u64,
    pub index: u64,
    pub term: u64,
    /// The group's own time, milliseconds.
    pub log_time_ms: u64,
    /// Digest of the state, in hex.
    pub state_hash: String,
    /// Head of the audit chain, in hex.
    pub chain_head: String,
    /// Archived records since genesis.
    pub records: u64,
    /// State, records, entries.
    pub parts: Vec<Part>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub kind: PartKind,
    pub bytes: u64,
    pub frames: u64,
    /// Of the whole file, in hex.
    pub blake3: String,
}

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    State,
    Records,
    Entries,
}

impl PartKind {
    pub const ALL: [Self; 3] = [Self::State, Self::Records, Self::Entries];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Records => "records",
            Self::Entries => "entries",
        }
    }

    pub fn number(self) -> u32 {
        match self {
            Self::State => 1,
            Self::Records => 2,
            Self::Entries => 3,
        }
    }

    pub fn from_number(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == n)
    }
}

/// Why a manifest is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadManifest {
    #[error("it does not read as a manifest: {0}")]
    Json(String),
    #[error("it has format {0}, this version reads {FORMAT}")]
    Format(u32),
    #[error("its own hash does not match: it was changed after it was written")]
    Hash,
    #[error("{0}")]
    Content(String),
}

impl Manifest {
    /// Puts the manifest's own hash in; nothing may change after.
    pub fn seal(&mut self) {
        self.hash = self.own_hash();
    }

    fn own_hash(&self) -> String {
        let bare = Self { hash: String::new(), ..self.clone() };
        // Writing plain values into memory does not fail.
        let text = serde_json::to_vec(&bare).unwrap_or_default();
        blake3::hash(&text).to_hex().to_string()
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a manifest and checks its hash and that it holds together.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, BadManifest> {
        let json = |e: serde_json::Error| BadManifest::Json(e.to_string());
        // The format first: another format may have other fields.
        let probe: Probe = serde_json::from_slice(text).map_err(json)?;
        if probe.format != FORMAT {
            return Err(BadManifest::Format(probe.format));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(json)?;
        if manifest.hash != manifest.own_hash() {
            return Err(BadManifest::Hash);
        }
        manifest.check().map_err(BadManifest::Content)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.keep_until_ms < self.cut_ms {
            return Err("it is to be deleted before it was made".to_owned());
        }
        if self.groups.len() > GROUPS_MAX {
            return Err(format!("{} groups", self.groups.len()));
        }
        for pair in self.groups.windows(2) {
            if pair[0].group >= pair[1].group {
                return Err(format!("{} is not in order", pair[1].name));
            }
        }
        for group in &self.groups {
            let id = GroupId::from_number(group.group);
            if id.map(|id| id.to_string()).as_ref() != Some(&group.name) {
                return Err(format!("{} is not the name of group {}", group.name, group.group));
            }
            let kinds = group.parts.iter().map(|part| part.kind);
            if !kinds.eq(PartKind::ALL) {
                return Err(format!("{} lacks a part", group.name));
            }
        }
        Ok(())
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.parts).map(|part| part.bytes).sum()
    }

    pub fn group(&self, number: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.group == number)
    }
}

impl Group {
    pub fn id(&self) -> Option<GroupId> {
        GroupId::from_number(self.group)
    }

    pub fn part(&self, kind: PartKind) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind)
    }

    /// A part's place below the backup's folder.
    pub fn path(&self, kind: PartKind) -> String {
        format!("{}/{}", self.name, kind.as_str())
    }
}

#[derive(Deserialize)]
struct Probe {
    format: u32,
}

/// Bytes as hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest {
            format: FORMAT,
            id: "b-1".into(),
            region: "eu-west".into(),
            number: 1,
            epoch: 1,
            cut_ms: 5,
            keep_until_ms: 9,
            groups: Vec::new(),
            hash: String::new(),
        };
        manifest.seal();
        manifest
    }

    #[test]
    fn a_manifest_comes_back_and_a_changed_one_is_refused() {
        let good = manifest();
        assert_eq!(Manifest::parse(good.to_json().as_bytes()), Ok(good.clone()));
        let changed = good.to_json().replace("\"epoch\": 1", "\"epoch\": 2");
        assert_eq!(Manifest::parse(changed.as_bytes()), Err(BadManifest::Hash));
        let newer = Manifest { format: FORMAT + 1, ..good };
        let refused = Err(BadManifest::Format(FORMAT + 1));
        assert_eq!(Manifest::parse(newer.to_json().as_bytes()), refused);
    }

    #[test]
    fn a_group_goes_by_its_own_name() {
        let mut bad = manifest();
        bad.groups.push(Group {
            name: "../../etc".into(),
            group: 2 << 16,
            node: 1,
            index: 0,
            term: 0,
            log_time_ms: 0,
            state_hash: String::new(),
            chain_head: String::new(),
            records: 0,
            parts: Vec::new(),
        });
        bad.seal();
        let refused = Manifest::parse(bad.to_json().as_bytes());
        assert!(matches!(refused, Err(BadManifest::Content(_))), "{refused:?}");
    }
}
