//! The directory as a replicated machine. It has no timers and archives nothing.

use std::io;

use hansa_consensus::{Machine, Records, ThawError};
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use crate::core::directory::{Frozen, Outcome, State};

/// Format of a checkpoint's state.
const FORMAT: u32 = 1;

impl Machine for State {
    type Outcome = Outcome;
    type Frozen = Frozen;

    fn advance(&mut self, _at: LogTime, _out: &mut Records) {}

    fn apply(&mut self, _at: LogTime, command: &[u8], _out: &mut Records) -> Outcome {
        Self::apply(self, command)
    }

    fn next_due(&self) -> Option<LogTime> {
        None
    }

    fn freeze(&self) -> Frozen {
        Self::freeze(self)
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        let mut format = [0; 4];
        from.read_exact(&mut format)?;
        match u32::from_le_bytes(format) {
            FORMAT => {}
            other => return Err(ThawError::Version(other)),
        }
        Self::thaw(from).map_err(|e| ThawError::Damaged(e.to_string()))
    }

    fn digest(&self) -> StateHash {
        Self::digest(self)
    }

    fn digest_full(&self) -> StateHash {
        Self::digest_full(self)
    }
}

impl hansa_consensus::Frozen for Frozen {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(&FORMAT.to_le_bytes())?;
        Self::write(self, to)
    }

    fn digest_full(&self) -> StateHash {
        Self::digest_full(self)
    }
}
