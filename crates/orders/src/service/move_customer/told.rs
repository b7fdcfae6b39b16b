//! Where a move stands, as this region sees it.

use std::time::Duration;

use hansa_api::convert::time::from_ms;
use hansa_api::pb::customer as wire;
use hansa_api::pb::customer::MoveState;
use hansa_api::status::Failure;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use tokio::time::Instant;

use super::{Mover, proof};
use crate::core::moves::{Carry, Left, MoveRow};
use crate::core::subjects::Erased;
use crate::service::erase_customer::{KEPT, Last, remember, tell};
use crate::shell::not_read;

/// How long where he lives may take to say what it has, for who only looks.
const ASK_MAX: Duration = Duration::from_secs(3);
/// Orders named that the deletion waits for.
const OPEN_MAX: usize = 10;

/// What the group knows of a customer's moves.
struct Look {
    row: Option<MoveRow>,
    carry: Option<Carry>,
    open: Vec<OrderId>,
    /// What ended the key that he left.
    erased: Option<Erased>,
    settled_ms: u64,
}

impl Mover<'_> {
    pub(super) async fn told(&self) -> Result<wire::MoveCustomerResponse, Failure> {
        let look = self.look().await?;
        let mut told = wire::MoveCustomerResponse {
            region: self.shell.region.to_string(),
            lives_in: self.shell.region.to_string(),
            ..Default::default()
        };
        if let Some(row) = &look.row {
            self.moved(&mut told, row, &look).await?;
        }
        match &look.carry {
            Some(Carry::Going { to, since_ms, .. }) => {
                told.set_state(MoveState::Going);
                told.with_region = self.name(*to);
                told.begin_time = Some(from_ms(*since_ms));
                told.next = "repeat the command to go on, or call it off with --cancel".to_owned();
            }
            Some(Carry::Coming { from, .. }) => {
                told.set_state(MoveState::Coming);
                told.with_region = self.name(*from);
                told.next =
                    format!("{} says whether he lives here; else it goes", self.name(*from));
            }
            None => {}
        }
        Ok(told)
    }

    async fn look(&self) -> Result<Look, Failure> {
        let subject = self.subject;
        let look = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let row = state.moves.get(subject).cloned();
            let open: Vec<OrderId> = state.left_open(subject).take(OPEN_MAX).collect();
            let left = row.as_ref().and_then(|row| row.left.as_ref());
            // By whatever request the key of that move went.
            let erased = left.and_then(|left| {
                let row = state.subjects.table.get(&subject)?;
                let words = row.erased.iter().rev();
                let covers = words.filter(|erased| erased.generation >= left.generation);
                covers.min_by_key(|erased| erased.generation).cloned()
            });
            let settled_ms = row.as_ref().map_or(0, |row| state.settled_ms(row));
            let carry = state.moves.carries.get(&subject).cloned();
            Look { row, carry, open, erased, settled_ms }
        });
        look.await.map_err(not_read)
    }

    async fn moved(
        &self,
        told: &mut wire::MoveCustomerResponse,
        row: &MoveRow,
        look: &Look,
    ) -> Result<(), Failure> {
        told.lives_in = self.name(row.lives);
        told.former = self.name(row.former);
        told.epoch = row.epoch;
        told.move_time = Some(from_ms(row.since_ms));
        let wall = self.shell.env.clock.wall().ms();
        let Some(left) = &row.left else {
            told.set_state(MoveState::Arrived);
            if wall < look.settled_ms {
                let until = LogTime(look.settled_ms);
                told.next = format!("goes only back to {} until {until}", told.former);
            }
            return Ok(());
        };
        told.order_count = left.orders;
        told.digest = left.digest.to_string();
        told.delete_time = Some(from_ms(left.delete_after_ms));
        told.open_orders = look.open.iter().map(|id| self.shell.map.name_of(*id)).collect();
        if let Some(erased) = &look.erased {
            told.receipt = Some(self.receipt(erased).await?);
        }
        let due = left.delete_after_ms.max(left.held.ms());
        let waits = !left.deleted && due <= wall;
        if waits && look.open.is_empty() {
            told.waits_for = self.waits_for().await;
        }
        let (state, next) = next(left, waits, !look.open.is_empty(), &told.waits_for);
        told.set_state(state);
        told.next = match left.deleted && look.erased.is_none() {
            true => "nothing of his was here any more".to_owned(),
            false => next,
        };
        Ok(())
    }

    fn name(&self, number: RegionNumber) -> String {
        self.shell.map.region_name(number).map_or_else(String::new, |name| name.to_string())
    }

    /// Why what is due is not deleted.
    async fn waits_for(&self) -> String {
        let due = self.due.min(Instant::now() + ASK_MAX);
        let held = proof::held_there(self.shell, self.hosted, self.subject, due).await;
        held.err().map_or_else(String::new, |why| why.to_string())
    }

    /// No proof is given that a backup could undo: the vault knows first.
    async fn receipt(&self, erased: &Erased) -> Result<wire::ErasureReceipt, Failure> {
        remember(self.shell, self.subject, erased, self.due).await?;
        let mut receipt = wire::ErasureReceipt {
            region: self.shell.region.to_string(),
            kept: KEPT.to_owned(),
            ..Default::default()
        };
        tell(&mut receipt, self.shell, self.subject, erased);
        let mut last = Last::default();
        last.take(erased);
        last.tell(&mut receipt);
        Ok(receipt)
    }
}

/// What becomes of what he left.
fn next(left: &Left, waits: bool, open: bool, waits_for: &str) -> (MoveState, String) {
    if left.deleted {
        let next = "the region key that wrapped his is destroyed by the time in the receipt";
        return (MoveState::Left, next.to_owned());
    }
    let due = LogTime(left.delete_after_ms.max(left.held.ms()));
    match (waits, open) {
        (false, false) => (MoveState::Window, format!("what he left is deleted after {due}")),
        (false, true) => {
            let next = format!("what he left is deleted after {due}, once no order is under way");
            (MoveState::Window, next)
        }
        (true, true) => {
            (MoveState::Waits, "it is deleted once no order of his is under way".to_owned())
        }
        (true, false) if waits_for.is_empty() => {
            (MoveState::Waits, "it is deleted at the next look".to_owned())
        }
        (true, false) => (MoveState::Waits, "it is deleted once that is over".to_owned()),
    }
}
