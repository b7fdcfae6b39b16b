//! The directory as a replicated machine. It has no timers and archives nothing.

use std::io;

use hansa_consensus::{Machine, Records, ThawError};
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use crate::core::directory::{Frozen, Outcome, State};

/// Format of a checkpoint's state. Formats 1 to 3, never released, did not know which request gave
/// an id, which policies were in force before, and who took over from whom.
const FORMAT: u32 = 4;

impl Machine for State {
    type Outcome = Outcome;
    type Frozen = Frozen;

    fn advance(&mut self, _at: LogTime, _out: &mut Records) {}

    fn apply(&mut self, at: LogTime, command: &[u8], _out: &mut Records) -> Outcome {
        self.apply_at(at, command)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::directory::Command;
    use crate::testing::genesis;

    #[test]
    fn a_state_of_another_format_is_refused_by_its_number_and_not_as_damage() {
        let mut state = State::default();
        State::apply(&mut state, &Command::Bootstrap(Box::new(genesis(1))).encode().unwrap());
        let mut bytes = Vec::new();
        hansa_consensus::Frozen::write(&Machine::freeze(&state), &mut bytes).unwrap();
        let thawed = <State as Machine>::thaw(&mut &bytes[..]).unwrap();
        assert_eq!(thawed.digest_full(), state.digest());
        for other in [1, 3, 5_u32] {
            bytes[..4].copy_from_slice(&other.to_le_bytes());
            let refused = <State as Machine>::thaw(&mut &bytes[..]);
            assert!(matches!(refused, Err(ThawError::Version(of)) if of == other));
        }
    }
}
