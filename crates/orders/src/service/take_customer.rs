//! TakeCustomer: what is personal of somebody who is to live here, sealed under his key here.

use std::collections::BTreeSet;

use bytes::Bytes;
use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::customer::PersonalBlock;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::Snapshot;
use hansa_types::country::Country;
use hansa_types::hash::StateHash;
use hansa_types::id::{CustomerId, GroupKind, OrderId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::customer::{admitted, may_be_home, residences};
use super::home::{self, Asker};
use super::move_customer::proof::shown;
use super::move_customer::times;
use super::place_moved::{let_back, may_ask};
use crate::core::command::{Command, Outcome, Refused};
use crate::core::contents::Sealed;
use crate::core::moves::{BLOCKS_MAX, Block, Carry, Keep, MoveRow, Step, print_of};
use crate::core::subjects::{KeyOf, Next, SubjectId};
use crate::machine::OrdersMachine;
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
    let question = Question { shell, hosted, now: &now, asker: &asker, from, due, question };
    Ok(Response::new(match question.orders()? {
        Some(orders) => question.of_orders(&orders).await?,
        None => question.brought(Came::of(&question.question, from, slot)?).await?,
    }))
}

/// What a region asks or says of one customer.
struct Question<'a> {
    shell: &'a Shell,
    hosted: &'a Hosted,
    now: &'a Snapshot,
    asker: &'a RegionName,
    from: RegionNumber,
    due: Instant,
    question: wire::TakeCustomerRequest,
}

impl Question<'_> {
    /// The orders that it is about, if it comes with nothing personal.
    fn orders(&self) -> Result<Option<Vec<OrderId>>, Failure> {
        let blocks = &self.question.blocks;
        let bare = |block: &wire::MovedBlock| block.ciphertext.is_empty();
        if blocks.is_empty() || self.question.key.is_some() || !blocks.iter().all(bare) {
            return Ok(None);
        }
        if blocks.len() > BLOCKS_MAX || !self.question.holds_only {
            return Err(malformed());
        }
        let ids = blocks.iter().map(|block| order_from_bytes(&block.order_id));
        ids.collect::<Result<_, _>>().map(Some).map_err(|_| malformed())
    }

    /// Of a customer who is known here by orders of his. A region that has nothing to do with him
    /// hears nothing of him.
    async fn of_orders(&self, orders: &[OrderId]) -> Result<wire::TakeCustomerResponse, Failure> {
        let look = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let subject = orders.iter().find_map(|id| state.whose(*id))?;
            let carry = state.moves.carries.get(&subject).map(Carry::region);
            Some((subject, state.moves.get(subject).cloned(), carry))
        });
        let found = look.await.map_err(not_read)?;
        let (subject, row, carry) = found.ok_or_else(|| Failure::of(Reason::CustomerNotFound))?;
        let lived = residences(self.hosted, subject, None);
        let believed = self.believed(row.as_ref(), lived);
        if self.question.arrive_epoch > 0 && !believed {
            return Err(self.not_believed());
        }
        let lived_there = row.is_some_and(|row| row.lived.contains(&self.from));
        // Of an order that is known here as his: ids of its own can be made up.
        let own = |machine: &OrdersMachine| {
            let his = |id: &OrderId| machine.state.whose(*id) == Some(subject);
            orders.iter().any(|id| self.speaks_for(*id) && his(id))
        };
        if !believed && !lived_there && carry != Some(self.from) && !self.hosted.group.peek(own) {
            return Ok(wire::TakeCustomerResponse::default());
        }
        self.take(subject).said(&self.question, Vec::new()).await?;
        let answer = self.answer(subject, orders, StateHash::default()).await?;
        Ok(wire::TakeCustomerResponse { proof: self.proof(subject, orders).await?, ..answer })
    }

    /// That these blocks are here, by what they hold: where he lived with the asker, or it has the
    /// order.
    async fn proof(&self, subject: SubjectId, orders: &[OrderId]) -> Result<Bytes, Failure> {
        let Ok(challenge) = <[u8; 32]>::try_from(self.question.challenge.as_ref()) else {
            return Ok(Bytes::new());
        };
        let read = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let row = state.moves.get(subject);
            let lived = row.is_some_and(|row| row.lived.contains(&self.from));
            let block = |id: &OrderId| Some((*id, state.block_of(subject, *id)?));
            let asked = orders.iter().filter(|id| lived || self.speaks_for(**id));
            asked.filter_map(block).collect::<Vec<_>>()
        });
        let held = read.await.map_err(not_read)?;
        let mut sum = StateHash::default();
        for (id, (of, wrapped, sealed)) in held {
            sum.add(shown(self.shell, &challenge, (id, of), &wrapped, &sealed).await?);
        }
        Ok(Bytes::copy_from_slice(&sum.0.to_be_bytes()))
    }

    /// Of a customer who is named, or whose blocks came.
    async fn brought(&self, came: Came) -> Result<wire::TakeCustomerResponse, Failure> {
        let subject = personal::customer(self.shell, &came.customer)?;
        let ids: Vec<OrderId> = came.blocks.iter().map(|(id, ..)| *id).collect();
        let mut digest = StateHash::default();
        for (id, residence, personal) in &came.sealed {
            digest.add(print_of(*id, *residence, personal));
        }
        let take = self.take(subject);
        if ids.is_empty() {
            // Whom it knows of by name only it is told of where he went from here to it.
            take.named().await?;
        } else {
            let row = self.hosted.group.peek(|machine| machine.state.moves.get(subject).cloned());
            let here = row.as_ref().is_some_and(|row| row.lives == self.shell.number);
            // Who lives here has it brought again by whoever has his orders, who says no more.
            let more = self.question.arrive_epoch > 0 || self.question.forget;
            let own = here && !more && ids.iter().all(|id| self.speaks_for(*id));
            let lived = came.blocks.iter().map(|(_, residence, _)| *residence);
            if !own && !self.believed(row.as_ref(), lived) {
                return Err(self.not_believed());
            }
        }
        if !self.question.holds_only {
            let own = self.now.own_region().ok_or(Reason::Unavailable)?;
            for (_, residence, _) in &came.blocks {
                admitted(self.now, *residence, &own.name)?;
            }
        }
        take.said(&self.question, came.blocks).await?;
        self.answer(subject, &ids, digest).await
    }

    fn take(&self, subject: SubjectId) -> Take<'_> {
        let Self { shell, hosted, from, due, .. } = *self;
        Take { shell, hosted, subject, from, due }
    }

    /// Whether the asker may say where he lives, and bring what is his: a region that may be his
    /// home by the policy, or where he lives or came from.
    fn believed(&self, row: Option<&MoveRow>, lived: impl IntoIterator<Item = Country>) -> bool {
        let home = |residence| may_be_home(self.now, residence, self.asker);
        let home = || lived.into_iter().any(home);
        self.from != self.shell.number && may_ask(row, self.from, false, home)
    }

    fn not_believed(&self) -> Failure {
        tracing::warn!(asker = %self.asker, "says what is not its to say of a customer");
        let why = "the region that asks may not be his home by the policy here, nor does he live \
                   there or come from there, by what is known here: look where he lives";
        Failure::new(Reason::HomeMoving, why)
    }

    /// Whether the asker has the orders that were born with this one.
    fn speaks_for(&self, order: OrderId) -> bool {
        let owner = self.now.owner(order.region(), order.slot());
        owner.is_some_and(|owner| owner.owner == self.from)
    }

    /// Where he lives, and how many of these orders' blocks are here and open.
    async fn answer(
        &self,
        subject: SubjectId,
        orders: &[OrderId],
        digest: StateHash,
    ) -> Result<wire::TakeCustomerResponse, Failure> {
        let read = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let held = orders.iter().filter(|id| state.holds(subject, **id)).count();
            let row = state.moves.get(subject).map(|row| (row.epoch, row.lives));
            (u32::try_from(held).unwrap_or(u32::MAX), row, state.subjects.dead(subject))
        });
        let (block_count, row, erased_generation) = read.await.map_err(not_read)?;
        // Who never moved lives where the law puts him: not with the asker, as far as is known.
        let (epoch, lives) = row.unwrap_or((0, self.shell.number));
        let lives_in = self.shell.map.region_name(lives);
        let lives_in = lives_in.map_or_else(String::new, |name| name.to_string());
        let digest = Bytes::copy_from_slice(&digest.0.to_be_bytes());
        let proof = Bytes::new();
        Ok(wire::TakeCustomerResponse {
            block_count,
            digest,
            epoch,
            lives_in,
            erased_generation,
            proof,
        })
    }
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
        blocks: Vec<Plain>,
    ) -> Result<(), Failure> {
        let Self { shell, hosted, subject, from, due } = *self;
        let at_ms = shell.env.clock.wall().ms();
        if !question.holds_only && !blocks.is_empty() {
            self.keep(&blocks, (at_ms, question.erased_generation)).await?;
        }
        if question.forget {
            let (asked_ms, destroy_after_ms) = times(shell).await?;
            let by = Some(from);
            commit(hosted, Step::Abandon { subject, by, asked_ms, destroy_after_ms }, due).await?;
            shell.keys_changed.notify_waiters();
        }
        let known = hosted
            .group
            .peek(|machine| machine.state.moves.get(subject).map_or(0, |row| row.epoch));
        // What is known already is not said again to the log.
        if question.arrive_epoch > known {
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
                (state.may_come(subject, from, at_ms), same, state.sealing_key(subject), lacking)
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
                Outcome::Refused(Refused::Moved) => {
                    let why = "another region brings him here, or he is on his way from here: call \
                               that off, or wait for it";
                    return Err(Failure::new(Reason::HomeMoving, why));
                }
                Outcome::Refused(why) => return Err(refusal(why)),
                _ => return Err(Failure::of(Reason::Internal)),
            }
        }
        let why = "his key there changes all the time: he orders, or is forgotten; repeat the \
                   command";
        Err(Failure::new(Reason::HomeMoving, why))
    }
}

pub(super) async fn commit(hosted: &Hosted, step: Step, due: Instant) -> Result<(), Failure> {
    match hosted.submit(&Command::Moves(step), due).await? {
        Outcome::Noted => Ok(()),
        Outcome::Refused(why) => Err(refusal(why)),
        _ => Err(Failure::of(Reason::Internal)),
    }
}
