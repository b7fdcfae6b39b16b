//! MoveCustomer: has a customer live in another region, and tells how far that is.
//!
//! What he takes along is durable there before the one step that decides: this group's, that he
//! lives elsewhere. A call that ends before it has changed nothing that anybody sees.

use std::sync::Arc;

use bytes::Bytes;
use hansa_api::convert::customer::{MoveAction, MoveCustomer};
use hansa_api::convert::id::order_to_bytes;
use hansa_api::convert::time::from_ms;
use hansa_api::pb::customer as wire;
use hansa_api::pb::replication as home;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::{Region, Snapshot};
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use tokio::time::{Instant, timeout_at};
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
    let mover = Mover { shell, hosted, subject, scope, by, asked: &asked, now, due };
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
        if to.name == shell.region || self.row().is_some_and(|row| row.lives != shell.number) {
            return Ok(());
        }
        for residence in customer::residences(self.hosted, self.subject, asked.residence) {
            admitted(now, residence, &to.name)?;
        }
        for _ in 0..TRIES {
            let luggage = self.luggage().await?;
            let there = self.carry(to, &luggage).await?;
            let epoch = there.max(self.row().map_or(0, |row| row.epoch)) + 1;
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

    async fn bring(
        &self,
        to: &Region,
        luggage: &Luggage,
        blocks: &[Block],
        arrive_epoch: u64,
    ) -> Result<home::TakeCustomerResponse, Failure> {
        let share = self.shell.keyring.share(luggage.of, &luggage.wrapped).await;
        let share = share.map_err(|error| vault_failed(&error))?;
        let subject = luggage.of.subject;
        let key = home::KeyShare {
            home: u32::from(subject.home.get()),
            subject: Bytes::copy_from_slice(&subject.hash.to_be_bytes()),
            generation: luggage.of.generation,
            key: Bytes::copy_from_slice(share.bytes()),
        };
        let question = home::TakeCustomerRequest {
            region: self.shell.region.to_string(),
            key: Some(key),
            blocks: blocks.iter().map(moved_block).collect(),
            arrive_epoch,
        };
        let request = outgoing(question, Deadline(self.due))?;
        let mut client = HomeServiceClient::new(self.shell.peers.gateway(&to.name));
        let failure = match timeout_at(self.due, client.take_customer(request)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Failure::from(&status),
            Err(_) => Failure::of(Reason::DeadlineExceeded),
        };
        Err(match failure.reason() {
            // Its leader, not ours.
            Reason::NotLeader => Failure::of(Reason::HomeUnreachable),
            _ => failure,
        })
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
            let erased = left.and_then(|left| state.subjects.erased_by(*subject, left.request));
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
        Ok(wire::MoveCustomerResponse {
            region,
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
/// `CUSTOMER_HAS_OPEN_ORDERS` with their names; `CUSTOMER_NOT_FOUND` where nobody left anything.
pub async fn delete(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    (by, reason): (&str, &str),
    due: Instant,
) -> Result<(), Failure> {
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

fn moved_block((id, residence, personal): &Block) -> home::MovedBlock {
    home::MovedBlock {
        order_id: order_to_bytes(*id),
        residence_country: residence.to_string(),
        nonce: Bytes::copy_from_slice(&personal.nonce),
        ciphertext: personal.ciphertext.clone(),
    }
}
