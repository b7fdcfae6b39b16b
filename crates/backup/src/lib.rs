//! What a backup is, as files: a manifest, and three parts for each group.
//!
//! ```text
//! DIR/manifest.json                 what there is, and the hash of each part
//! DIR/orders-0/state                the checkpoint
//! DIR/orders-0/records              what left hot state, from the first record on
//! DIR/orders-0/entries              every committed entry, from genesis on
//! ```
//! - [`manifest`]: the manifest and its own hash.
//! - [`part`]: the container that every part is: checksummed frames in order.
//! - [`entries`]: walks the audit chain of an entries part.
//! - [`verify`]: all of it together, offline.
//!
//! Absent on purpose: what a state means. The format is checked here by whoever has the files;
//! the digests of the states only by a binary that has the machines (ADR 0009).

pub mod entries;
pub mod manifest;
pub mod part;
pub mod verify;

pub use manifest::{Group, Manifest, Part, PartKind};
pub use verify::{Checked, Damage, Shelf, verify};

/// The manifest's name in a backup's folder.
pub const MANIFEST: &str = "manifest.json";
