//! MoveCustomer: has a customer live in another region, and tells how far that is.
//!
//! What he takes along is durable there before the one step that decides: this group's, that he
//! lives elsewhere. A call that ends before it has changed nothing that anybody sees.

mod proof;

use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::customer::{MoveAction, MoveCustomer};
use hansa_api::convert::time::from_ms;
use hansa_api::pb::customer as wire;
use hansa_api::pb::replication as home;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::{Region, Snapshot};
use hansa_region_router::core::home::home as home_of;
use hansa_types::country::Country;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::{RegionNumber, Slot};
use tokio::time::Instant;
use tonic::Request;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::keys::Scope;
use crate::core::moves::{BLOCKS_MAX, Block, Leave, MoveRow, Step, print_of};
use crate::core::subjects::{Erased, KeyOf, Next, SubjectId, Wrapped};
use crate::service::customer::{self, Found, admitted};
use crate::service::erase_customer::{KEPT, Last, open, remember, tell};
use crate::shell::keys::{ScopeOf, Whose, vault_failed};
use crate::shell::{Hosted, Shell, caller, deadline, not_read, refusal};
use crate::start::destroy_after_ms;

/// Tries to leave: each time somebody ordered meanwhile.
const TRIES: u32 = 8;
/// Bytes of blocks in one message.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// How long where he lives may take to say what it has, for who only looks.
const ASK_MAX: Duration = Duration::from_secs(3);
/// Orders named that the deletion waits for.
const OPEN_MAX: usize = 10;

pub async fn run(
    shell: &Shell,
    request: Request<wire::MoveCustomerRequest>,
) -> Result<wire::MoveCustomerResponse, Failure> {
    let due = deadline(&request);
    let principal = Principal::of(&request)?;
    let (caller, by) = (caller(principal), principal.id.to_string());
    let asked = MoveCustomer::try_from(request.into_inner())?;
    let Found { hosted, slot, subject } = customer::find(shell, &asked.person, due).await?;
    let subject = subject.ok_or_else(|| Failure::of(Reason::CustomerNotFound))?;
    let (home, whose, request) = (shell.number, Whose::Subject(subject), &asked.request_id);
    let method = "MoveCustomer";
    let scope = ScopeOf { caller: &caller, method, home, slot, whose, request }.scope();
    let now = shell.map.now()?;
    let mover = Mover { shell, hosted, slot, subject, scope, by, asked: &asked, now, due };
    match asked.action {
        MoveAction::Tell => {}
        MoveAction::Move => mover.go().await?,
        MoveAction::Finish => mover.finish().await?,
    }
    mover.told().await
}

struct Mover<'a> {
    shell: &'a Shell,
    hosted: &'a Arc<Hosted>,
    slot: Slot,
    subject: SubjectId,
    scope: Scope,
    by: String,
    asked: &'a MoveCustomer,
    now: Arc<Snapshot>,
    due: Instant,
}

/// What he has here: his key, and the blocks that it opens.
struct Luggage {
    of: KeyOf,
    wrapped: Wrapped,
    blocks: Vec<Block>,
    digest: StateHash,
}

impl Mover<'_> {
    fn row(&self) -> Option<MoveRow> {
        self.hosted.group.peek(|machine| machine.state.moves.get(self.subject).cloned())
    }

    async fn go(&self) -> Result<(), Failure> {
        let Self { shell, now, asked, .. } = self;
        let to = asked.to.as_ref().and_then(|name| now.number(name));
        let to = to.and_then(|number| now.region(number));
        let to = to.ok_or_else(|| Failure::of(Reason::UnknownRegion))?;
        // Who has left is the other region's to move on.
        let row = self.row();
        if to.name == shell.region || row.as_ref().is_some_and(|row| row.lives != shell.number) {
            return Ok(());
        }
        if let Some(row) = row {
            self.one_step(&row, to)?;
        }
        for residence in customer::residences(self.hosted, self.subject, asked.residence) {
            admitted(now, residence, &to.name)?;
        }
        for _ in 0..TRIES {
            let luggage = self.luggage().await?;
            let there = self.carry(to, &luggage).await?;
            let known = there.max(self.row().map_or(0, |row| row.epoch));
            let epoch = known.checked_add(1).ok_or_else(|| Failure::of(Reason::Internal))?;
            match self.leave(to, &luggage, epoch).await? {
                Outcome::Noted => {
                    tracing::info!(to = %to.name, epoch, orders = luggage.blocks.len(), "left");
                    // What is passed on to it tells it as well.
                    let first = &luggage.blocks[..1];
                    if let Err(failure) = self.bring(to, &luggage, first, epoch).await {
                        tracing::info!(to = %to.name, %failure, "not told of an arrival");
                    }
                    return Ok(());
                }
                // Somebody ordered meanwhile.
                Outcome::Refused(Refused::KeyChanged) => {}
                Outcome::Refused(why) => return Err(refusal(why)),
                _ => return Err(Failure::of(Reason::Internal)),
            }
        }
        Err(refusal(Refused::KeyChanged))
    }

    async fn luggage(&self) -> Result<Luggage, Failure> {
        let subject = self.subject;
        let read = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let Next::Use(generation, wrapped) = state.next_key(subject) else { return None };
            let of = KeyOf { subject, generation };
            Some((of, wrapped, state.blocks(of).collect::<Vec<Block>>()))
        });
        let found = read.await.map_err(not_read)?;
        let found = found.filter(|(_, _, blocks)| !blocks.is_empty());
        let (of, wrapped, blocks) = found.ok_or_else(|| Failure::of(Reason::CustomerNotFound))?;
        let mut digest = StateHash::default();
        blocks.iter().for_each(|(id, law, block)| digest.add(print_of(*id, *law, block)));
        Ok(Luggage { of, wrapped, blocks, digest })
    }

    /// Brings all of it there, page by page; the newest move of his that is known there.
    async fn carry(&self, to: &Region, luggage: &Luggage) -> Result<u64, Failure> {
        let (mut rest, mut sum, mut epoch) = (&luggage.blocks[..], StateHash::default(), 0);
        while !rest.is_empty() {
            let (page, more) = rest.split_at(page(rest));
            let came = self.bring(to, luggage, page, 0).await?;
            let digest = <[u8; 16]>::try_from(came.digest.as_ref()).map(u128::from_be_bytes);
            sum.add(StateHash(digest.unwrap_or_default()));
            if usize::try_from(came.block_count) != Ok(page.len()) {
                return Err(Failure::of(Reason::Internal));
            }
            (epoch, rest) = (epoch.max(came.epoch), more);
        }
        if sum == luggage.digest {
            return Ok(epoch);
        }
        tracing::error!(to = %to.name, "what came is not what was sent");
        Err(Failure::of(Reason::Internal))
    }

    /// Who came here lately may only go back: whom he asked before that is known where he came
    /// from, and to nobody whom another region would ask. From a region that is not his home he
    /// never goes on but home.
    fn one_step(&self, row: &MoveRow, to: &Region) -> Result<(), Failure> {
        let to_number = self.now.number(&to.name);
        if to_number == Some(row.former) {
            return Ok(());
        }
        let residences = customer::residences(self.hosted, self.subject, self.asked.residence);
        let homes = |region: RegionNumber| {
            let home =
                |residence: &Country| home_of(*residence, self.slot, &self.now.policy, &self.now);
            residences.iter().all(|r| home(r).is_ok_and(|home| home.region == region))
        };
        if !homes(self.shell.number) && !to_number.is_some_and(homes) {
            let why = "a customer who moved goes on from his home: move him back first";
            return Err(Failure::new(Reason::HomeMoving, why));
        }
        let settled = self.hosted.group.peek(|machine| machine.state.settled_ms(row));
        if self.shell.env.clock.wall().ms() < settled {
            let wait = Duration::from_millis(settled - self.shell.env.clock.wall().ms());
            let why = format!(
                "he moved here lately: only back until {}",
                hansa_types::time::LogTime(settled)
            );
            return Err(Failure::new(Reason::HomeMoving, why).retry_after(wait));
        }
        Ok(())
    }

    async fn bring(
        &self,
        to: &Region,
        luggage: &Luggage,
        blocks: &[Block],
        arrive_epoch: u64,
    ) -> Result<home::TakeCustomerResponse, Failure> {
        let with = (luggage.of, &luggage.wrapped);
        let ask = proof::Ask { arrive_epoch, holds_only: false };
        proof::take_customer(self.shell, to, with, blocks, ask, self.due).await
    }

    async fn leave(&self, to: &Region, luggage: &Luggage, epoch: u64) -> Result<Outcome, Failure> {
        let Self { shell, asked, .. } = self;
        let to = self.now.number(&to.name).ok_or_else(|| Failure::of(Reason::UnknownRegion))?;
        let ttl = self.hosted.group.peek(|machine| machine.state.meta.settings.key_ttl_ms);
        let asked_ms = shell.env.clock.wall().ms();
        let leave = Leave {
            subject: self.subject,
            to,
            epoch,
            generation: luggage.of.generation,
            orders: u32::try_from(luggage.blocks.len()).unwrap_or(u32::MAX),
            digest: luggage.digest,
            request: self.scope,
            asked_ms,
            delete_after_ms: asked_ms.saturating_add(asked.window_ms.unwrap_or(ttl)),
            by: self.by.clone(),
            reason: asked.reason.clone(),
            ticket: asked.ticket.clone(),
        };
        let leave = Command::Moves(Step::Leave(Box::new(leave)));
        self.hosted.submit(&leave, self.due).await
    }

    /// Deletes what he left, before it is due.
    async fn finish(&self) -> Result<(), Failure> {
        let MoveCustomer { reason, ticket, .. } = self.asked;
        let reason = format!("{reason} ({ticket})");
        delete(self.shell, self.hosted, self.subject, (&self.by, &reason), self.due).await
    }

    async fn told(&self) -> Result<wire::MoveCustomerResponse, Failure> {
        let Self { shell, subject, .. } = self;
        let look = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let row = state.moves.get(*subject).cloned();
            let open: Vec<OrderId> = state.left_open(*subject).take(OPEN_MAX).collect();
            let left = row.as_ref().and_then(|row| row.left.as_ref());
            // By whatever request the key of that move went.
            let erased = left.and_then(|left| {
                let row = state.subjects.table.get(subject)?;
                row.erased.iter().rev().find(|erased| erased.generation == left.generation)
            });
            (row.clone(), open, erased.cloned())
        });
        let (row, open, erased) = look.await.map_err(not_read)?;
        let name =
            |number| shell.map.region_name(number).map_or_else(String::new, |n| n.to_string());
        let region = shell.region.to_string();
        let Some(row) = row else {
            let lives_in = region.clone();
            return Ok(wire::MoveCustomerResponse { region, lives_in, ..Default::default() });
        };
        let left = row.left.as_ref();
        let receipt = match erased {
            Some(erased) => Some(self.receipt(&erased).await?),
            None => None,
        };
        let wall = shell.env.clock.wall().ms();
        let waits = left.is_some_and(|left| !left.deleted && left.delete_after_ms <= wall);
        let waits_for = match waits && open.is_empty() {
            true => self.waits_for().await,
            false => String::new(),
        };
        Ok(wire::MoveCustomerResponse {
            region,
            waits_for,
            lives_in: name(row.lives),
            former: name(row.former),
            epoch: row.epoch,
            move_time: Some(from_ms(row.since_ms)),
            order_count: left.map_or(0, |left| left.orders),
            digest: left.map_or_else(String::new, |left| left.digest.to_string()),
            delete_time: left.map(|left| from_ms(left.delete_after_ms)),
            open_orders: open.into_iter().map(|id| shell.map.name_of(id)).collect(),
            receipt,
        })
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

/// Deletes what a customer left here.
///
/// # Errors
/// `CUSTOMER_HAS_OPEN_ORDERS` with their names; `CUSTOMER_NOT_FOUND` where nobody left anything;
/// `HOME_MOVING` or `HOME_UNREACHABLE` while where he lives does not say that it has all of it.
pub async fn delete(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    (by, reason): (&str, &str),
    due: Instant,
) -> Result<(), Failure> {
    proof::held_there(shell, hosted, subject, due).await?;
    let keys = shell.vault.keys().await.map_err(|error| vault_failed(&error))?;
    let asked_ms = shell.env.clock.wall().ms();
    let after = |newest| destroy_after_ms(newest, &shell.cfg.keys, asked_ms);
    let destroy_after_ms = keys.last().map_or(asked_ms, after);
    let (by, reason) = (by.to_owned(), reason.to_owned());
    let step = Step::Delete { subject, asked_ms, destroy_after_ms, by, reason };
    match hosted.submit(&Command::Moves(step), due).await? {
        Outcome::Noted => {}
        Outcome::Refused(Refused::OrderOpen(first)) => {
            return Err(open(shell, hosted, subject, first));
        }
        Outcome::Refused(why) => return Err(refusal(why)),
        _ => return Err(Failure::of(Reason::Internal)),
    }
    let gone = hosted.group.peek(|machine| {
        let left = machine.state.moves.get(subject).and_then(|row| row.left.as_ref());
        left.map(|left| KeyOf { subject, generation: left.generation })
    });
    gone.into_iter().for_each(|of| shell.keyring.forget(of));
    shell.keys_changed.notify_waiters();
    Ok(())
}

/// How many blocks go in one message; one at least.
fn page(blocks: &[Block]) -> usize {
    let mut bytes = 0;
    let fits = |(_, _, block): &&Block| {
        bytes += block.ciphertext.len();
        bytes <= PAGE_BYTES_MAX
    };
    blocks.iter().take(BLOCKS_MAX).take_while(fits).count().max(1)
}
