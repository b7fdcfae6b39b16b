//! What a node does when ownership of a region's births changes: its orders groups' leaders commit
//! what follows from the directory, and go on with orders from their copies (ADR 0016).
//!
//! Level-triggered: every round looks at the directory and at the group's own rows, so a crash or
//! another leader at any point leaves nothing half done that the next round would not finish.

mod give_back;
mod heir;
mod keeper;
mod progress;
mod read;
mod tail;
mod tail_final;

pub use keeper::Keeper;
pub use progress::{NodeTakeover, tail_action};
pub use tail::Compensator;

use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use tokio::time::Instant;

use crate::core::command::{Command, Outcome};
use crate::core::takeover::{Phase, Step};
use crate::shell::{Hosted, Shell, refusal};

impl Shell {
    /// Adopts an order whose copy waits, so that a call about it need not.
    ///
    /// # Errors
    /// The way's failures; `NO_LAWFUL_REGION` for a copy that cannot be adopted.
    pub async fn adopt_first(
        &self,
        hosted: &Hosted,
        id: OrderId,
        due: Instant,
    ) -> Result<(), Failure> {
        let waits = |state: &crate::core::state::State| {
            let row = state.births.get(id.region())?;
            (row.phase == Phase::Adopting && state.is_ready(id)).then_some(row.epoch)
        };
        let Some(epoch) = hosted.group.peek(|machine| waits(&machine.state)) else { return Ok(()) };
        let orders = read::candidates(self, hosted, &[id]).await?;
        let step = Step::Adopt { birth: id.region(), epoch, orders };
        match hosted.submit(&Command::Takeover(step), due).await? {
            Outcome::Adopted(_) => {}
            Outcome::Refused(why) => return Err(refusal(why)),
            _ => return Err(Failure::of(Reason::Internal)),
        }
        let failed = hosted.group.peek(|machine| machine.state.births.failed.contains(&id));
        match failed {
            true => Err(refusal(crate::core::command::Refused::NotAdopted)),
            false => Ok(()),
        }
    }

    /// Whether this node's replica has the order as its group's own, and not as a copy.
    pub fn keeps(&self, id: OrderId) -> bool {
        let Ok(group) = self.map.orders_group(id.slot()) else { return id.region() == self.number };
        let Some(hosted) = self.groups.get(&group.index()) else {
            return id.region() == self.number;
        };
        hosted.group.peek(|machine| {
            let state = &machine.state;
            match state.orders.get(&id) {
                Some(order) => state.is_own(id, order),
                None => id.region() == self.number && state.births.get(self.number).is_none(),
            }
        })
    }
}

impl Hosted {
    /// The epoch of this group's own stream of events.
    pub fn stream_epoch(&self) -> u64 {
        self.group.peek(|machine| machine.state.meta.settings.epoch)
    }
}
