//! The test-only second version of the order machine: it keeps reasons of cancellations in
//! capitals.
//!
//! Small, harmless, and seen by everybody: it is in the order that clients read and in the state's
//! digest, so two replicas that do not change to it at the same entry differ.

use hansa_consensus::Versions;

use crate::core::command::Command;

/// What a binary with this feature applies.
pub const VERSIONS: Versions = Versions::upto(2);

/// A command as `version` means it.
pub fn meant(version: u32, command: Command) -> Command {
    match command {
        Command::Cancel { order, key, reason } if version >= 2 => {
            Command::Cancel { order, key, reason: reason.to_uppercase() }
        }
        Command::Dated { first_sent_ms, command } => {
            Command::Dated { first_sent_ms, command: Box::new(meant(version, *command)) }
        }
        other => other,
    }
}
