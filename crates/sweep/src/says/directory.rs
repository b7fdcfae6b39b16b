//! The directory names regions, nodes and laws: nobody's data.

use std::io::Read;

use hansa_consensus::{ThawError, inspect};
use hansa_region_router::core::directory::{Command, State};

use super::Hearing;

pub fn command(bytes: &[u8], to: &mut Hearing<'_>) -> Result<(), String> {
    let read = Command::decode(bytes).ok();
    let same = read.as_ref().is_some_and(|c| c.encode().is_ok_and(|again| again == bytes));
    match super::whole(read, same, "a command of the directory")? {
        Command::Bootstrap(genesis) => to.findings.policy(&genesis.policy),
        // One that was refused is in the log as well; it never was in force.
        Command::LoadPolicy { text } => to.findings.policy(&text).or(Ok(())),
        Command::PutRegion { .. }
        | Command::Own { .. }
        | Command::MapSlots { .. }
        | Command::PutGroup { .. }
        | Command::RegisterNode { .. }
        | Command::RetireNode { .. }
        | Command::ReplaceNode { .. }
        | Command::ChangeMembers { .. }
        | Command::Left { .. }
        | Command::Restore(_)
        | Command::MakeRecord { .. }
        | Command::TakeRecord(_)
        | Command::HeardEpoch { .. }
        | Command::Drain { .. }
        | Command::Undrain { .. }
        | Command::Fence { .. }
        | Command::SetIsolation { .. } => Ok(()),
    }
}

pub fn state(from: &mut dyn Read, to: &mut Hearing<'_>) -> Result<u64, ThawError> {
    if let Some(now) = inspect::machine::<State>(from)?.snapshot() {
        let known = now.former.into_iter().map(|former| former.policy).chain([now.policy]);
        known.for_each(|policy| to.findings.law.remember(policy));
    }
    Ok(1)
}
