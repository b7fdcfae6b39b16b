//! TakeCustomer: what is personal of somebody who is to live here, sealed under his key here.

use std::collections::BTreeSet;

use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::customer::PersonalBlock;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_types::country::Country;
use hansa_types::hash::StateHash;
use hansa_types::id::{CustomerId, GroupKind, OrderId};
use hansa_types::region::{RegionNumber, Slot};
use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::customer::admitted;
use super::home::{self, Asker};
use super::move_customer::times;
use super::place_moved::let_back;
use crate::core::command::{Command, Outcome, Refused};
use crate::core::contents::Sealed;
use crate::core::moves::{BLOCKS_MAX, Block, Keep, Step, print_of};
use crate::core::subjects::{KeyOf, Next, SubjectId};
use crate::shell::keys::vault_failed;
use crate::shell::{Hosted, Shell, deadline, not_read, personal, refusal};
use crate::vault::{KeyShare, VaultError};

/// Looks at the customer's key here: an order of his may make it meanwhile.
const LOOKS: u32 = 4;

pub async fn run(
    shell: &Shell,
    request: Request<wire::TakeCustomerRequest>,
) -> Result<Response<wire::TakeCustomerResponse>, Status> {
    let Asker { region: asker, relayed } = Asker::of(shell, &request, &request.get_ref().region)?;
    let due = deadline(&request);
    let question = request.into_inner();
    let now = shell.map.now()?;
    let from = now.number(&asker).ok_or(Reason::UnknownRegion)?;
    let slot = slot_of(&question)?;
    let hosted = shell.hosted(now.group(GroupKind::Orders, slot))?;
    if let Some(leader) = home::led_by(hosted, relayed)? {
        let request = home::passed_on(question, due)?;
        let mut client = HomeServiceClient::new(shell.peers.to(leader));
        return home::in_time(due, client.take_customer(request)).await;
    }
    let came = Came::of(&question, from, slot)?;
    let subject = personal::customer(shell, &came.customer)?;
    let mut digest = StateHash::default();
    for (id, residence, personal) in &came.sealed {
        digest.add(print_of(*id, *residence, personal));
    }
    let take = Take { shell, hosted, subject, from, due };
    if !question.holds_only && !came.blocks.is_empty() {
        let own = now.own_region().ok_or(Reason::Unavailable)?;
        for (_, residence, _) in &came.blocks {
            admitted(&now, *residence, &own.name)?;
        }
    }
    take.said(&question, &came.blocks).await?;
    let read = hosted.group.read(due, |machine| {
        let state = &machine.state;
        let held = came.blocks.iter().filter(|(id, ..)| state.holds(subject, *id)).count();
        let row = state.moves.get(subject).map(|row| (row.epoch, row.lives));
        (u32::try_from(held).unwrap_or(u32::MAX), row, state.subjects.dead(subject))
    });
    let (block_count, row, erased_generation) = read.await.map_err(not_read)?;
    // Who never moved lives where the law puts him: not with the asker, as far as is known here.
    let (epoch, lives) = row.unwrap_or((0, shell.number));
    let lives_in = shell.map.region_name(lives).map_or_else(String::new, |name| name.to_string());
    let digest = bytes::Bytes::copy_from_slice(&digest.0.to_be_bytes());
    let answer =
        wire::TakeCustomerResponse { block_count, digest, epoch, lives_in, erased_generation };
    Ok(Response::new(answer))
}

/// All orders of a customer lie in one slot, wherever they are.
fn slot_of(question: &wire::TakeCustomerRequest) -> Result<Slot, Failure> {
    match question.blocks.first() {
        Some(first) => Ok(order_from_bytes(&first.order_id).map_err(|_| malformed())?.slot()),
        None => {
            let customer: CustomerId = question.customer_id.parse().map_err(|_| malformed())?;
            Ok(Slot::of(customer.as_str().as_bytes()))
        }
    }
}

fn malformed() -> Failure {
    Failure::of(Reason::MessageMalformed)
}

/// A block, opened.
type Plain = (OrderId, Country, Zeroizing<Vec<u8>>);

/// What came, opened.
struct Came {
    customer: CustomerId,
    sealed: Vec<Block>,
    blocks: Vec<Plain>,
}

impl Came {
    /// Opens every block with the key that came along; all of them must be the same customer's.
    fn of(
        question: &wire::TakeCustomerRequest,
        from: RegionNumber,
        slot: Slot,
    ) -> Result<Self, Failure> {
        if question.blocks.is_empty() {
            let customer = question.customer_id.parse().map_err(|_| malformed())?;
            return Ok(Self { customer, sealed: Vec::new(), blocks: Vec::new() });
        }
        let share = question.key.as_ref().and_then(|share| share_of(share, from));
        let share = share.ok_or_else(malformed)?;
        if question.blocks.len() > BLOCKS_MAX {
            return Err(malformed());
        }
        let (mut customer, mut sealed, mut blocks) = (None, Vec::new(), Vec::new());
        for block in &question.blocks {
            let id = order_from_bytes(&block.order_id).map_err(|_| malformed())?;
            let residence: Country = block.residence_country.parse().map_err(|_| malformed())?;
            let nonce = block.nonce.as_ref().try_into().map_err(|_| malformed())?;
            let personal = Sealed { nonce, ciphertext: block.ciphertext.clone() };
            let plain = share.key.open(share.of, id, &personal).map_err(|_| malformed())?;
            let of = PersonalBlock::decode(plain.as_slice()).map_err(|_| malformed())?;
            let whose: CustomerId = of.customer_id.parse().map_err(|_| malformed())?;
            let fits = Slot::of(whose.as_str().as_bytes()) == slot && id.slot() == slot;
            if !fits || *customer.get_or_insert_with(|| whose.clone()) != whose {
                return Err(malformed());
            }
            sealed.push((id, residence, personal));
            blocks.push((id, residence, plain));
        }
        Ok(Self { customer: customer.ok_or_else(malformed)?, sealed, blocks })
    }
}

fn share_of(share: &wire::KeyShare, from: RegionNumber) -> Option<KeyShare> {
    let hash = u128::from_be_bytes(<[u8; 16]>::try_from(share.subject.as_ref()).ok()?);
    let home = RegionNumber::try_from(u16::try_from(share.home).ok()?).ok()?;
    let of = KeyOf { subject: SubjectId { home, hash }, generation: share.generation };
    // A region speaks for its own customers only.
    (home == from).then(|| KeyShare::of_bytes(of, &share.key)).flatten()
}

/// A question about one customer, by the region that he may come from.
struct Take<'a> {
    shell: &'a Shell,
    hosted: &'a Hosted,
    subject: SubjectId,
    from: RegionNumber,
    due: Instant,
}

impl Take<'_> {
    /// Takes in what is said of him.
    async fn said(
        &self,
        question: &wire::TakeCustomerRequest,
        blocks: &[Plain],
    ) -> Result<(), Failure> {
        let Self { shell, hosted, subject, from, due } = *self;
        let at_ms = shell.env.clock.wall().ms();
        match (question.holds_only, blocks.is_empty()) {
            // Whom it knows of by name only it is told of where he went from here to it.
            (_, true) => self.named().await?,
            (true, false) => {}
            (false, false) => self.keep(blocks, (at_ms, question.erased_generation)).await?,
        }
        if question.forget {
            let (asked_ms, destroy_after_ms) = times(shell).await?;
            let by = Some(from);
            commit(hosted, Step::Abandon { subject, by, asked_ms, destroy_after_ms }, due).await?;
            shell.keys_changed.notify_waiters();
        }
        if question.arrive_epoch > 0 {
            let (epoch, untold) = (question.arrive_epoch, false);
            commit(hosted, Step::Arrive { subject, from, epoch, at_ms, untold }, due).await?;
        }
        let_back(shell, hosted, subject, (from, question.lives_epoch), due).await
    }

    async fn named(&self) -> Result<(), Failure> {
        let (subject, from) = (self.subject, self.from);
        let known = self.hosted.group.read(self.due, |machine| {
            machine.state.moves.get(subject).is_some_and(|row| row.lives == from)
        });
        match known.await.map_err(not_read)? {
            true => Ok(()),
            false => Err(Failure::of(Reason::CustomerNotFound)),
        }
    }

    /// Seals what is not here anew under the customer's key here, and commits it.
    async fn keep(&self, plain: &[Plain], (at_ms, dead): (u64, u32)) -> Result<(), Failure> {
        let Self { shell, hosted, subject, from, due } = *self;
        let failed = |error: VaultError| vault_failed(&error);
        for _ in 0..LOOKS {
            let look = hosted.group.read(due, |machine| {
                let state = &machine.state;
                let lacks = |(id, ..): &Plain| !state.holds(subject, *id);
                let lacking: BTreeSet<OrderId> =
                    plain.iter().filter(|block| lacks(block)).map(|(id, ..)| *id).collect();
                let same = state.subjects.dead(subject) == dead;
                (state.may_come(subject, from, at_ms), same, state.next_key(subject), lacking)
            });
            let (comes, same, next, lacking) = look.await.map_err(not_read)?;
            if !comes || !same {
                let why = match comes {
                    true => "he was erased here since: look again",
                    false => "he lived elsewhere lately, by what is known here: see where, later",
                };
                return Err(Failure::new(Reason::HomeMoving, why));
            }
            let (of, key, mint) = match next {
                Next::Use(generation, wrapped) => {
                    let of = KeyOf { subject, generation };
                    (of, shell.keyring.unwrap(of, &wrapped).await.map_err(failed)?, None)
                }
                Next::Mint(generation, by) => {
                    let of = KeyOf { subject, generation };
                    let (key, wrapped) = shell.keyring.mint(of, by).await.map_err(failed)?;
                    (of, key, Some(wrapped))
                }
            };
            let mut blocks = Vec::with_capacity(lacking.len());
            for (id, residence, plain) in plain.iter().filter(|(id, ..)| lacking.contains(id)) {
                let sealed = key.seal(of, *id, plain, shell.env.entropy.as_ref());
                blocks.push((*id, *residence, sealed.map_err(failed)?));
            }
            // Also if nothing is new: what counts on its being here stays.
            let keep = Keep { of, mint, blocks, from, dead };
            match hosted.submit(&Command::Moves(Step::Keep(Box::new(keep))), due).await? {
                Outcome::Noted => return Ok(()),
                Outcome::Refused(Refused::KeyChanged) => {}
                Outcome::Refused(why) => return Err(refusal(why)),
                _ => return Err(Failure::of(Reason::Internal)),
            }
        }
        Err(refusal(Refused::KeyChanged))
    }
}

pub(super) async fn commit(hosted: &Hosted, step: Step, due: Instant) -> Result<(), Failure> {
    match hosted.submit(&Command::Moves(step), due).await? {
        Outcome::Noted => Ok(()),
        Outcome::Refused(why) => Err(refusal(why)),
        _ => Err(Failure::of(Reason::Internal)),
    }
}
