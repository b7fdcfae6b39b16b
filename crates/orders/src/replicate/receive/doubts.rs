//! What an owner doubts of the births that it owns: whoever owns them next doubts it, too.

use hansa_api::pb::replication as wire;
use hansa_api::status::Failure;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::Inbound;
use crate::core::command::Command;
use crate::core::takeover::{Doubt, Step};

impl Inbound {
    /// Takes in what the origin doubts; `false` where its word cannot be judged yet.
    pub(super) async fn doubts(
        &self,
        birth: RegionNumber,
        told: &wire::SettledBirth,
    ) -> Result<bool, Failure> {
        let (sent_upto_ms, until) = (told.doubt_sent_upto_ms, LogTime(told.doubt_until_ms));
        if until == LogTime::ZERO {
            return Ok(true);
        }
        let (epoch, doubt) = (told.epoch, Doubt { sent_upto_ms, until });
        let hears = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            // Only their owner says so.
            let row = state.births.get(birth);
            let owner = row.filter(|row| row.owner == self.origin.region);
            owner.and_then(|_| state.hears_doubt(birth, epoch, doubt))
        });
        if hears == Some(true) {
            let step = Step::Doubted { birth, epoch, doubt };
            self.commit(Command::Takeover(step)).await?;
        }
        Ok(hears.is_some())
    }
}
