//! What two regions say to one another of a customer who moves. Before anything is deleted, the
//! region where he lives says that it holds all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::classes::DataClass;
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication as home;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Region;
use hansa_types::country::Country;
use hansa_types::hash::StateHash;
use hansa_types::id::{CustomerId, OrderId};
use hansa_types::region::{RegionName, RegionNumber};
use tokio::time::{Instant, timeout_at};

use super::times;
use crate::core::contents::Sealed;
use crate::core::moves::{BLOCKS_MAX, Block, MoveRow, Step, shown_of};
use crate::core::subjects::{KeyOf, SubjectId, Wrapped};
use crate::service::customer::{admitted, may_be_told};
use crate::service::place_order::moving;
use crate::service::take_customer::commit;
use crate::shell::keys::vault_failed;
use crate::shell::{Hosted, Shell, not_read};

/// Bytes of blocks in one message.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// How long one page of what he left is waited for.
pub const PAGE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is asked of the region beside the blocks.
#[derive(Clone, Copy, Default)]
pub struct Ask {
    pub arrive_epoch: u64,
    pub holds_only: bool,
    pub forget: bool,
    pub erased_generation: u32,
    pub lives_epoch: u64,
    /// That what is asked about is there is to be shown by what it holds.
    pub challenge: Option<[u8; 32]>,
}

impl Ask {
    /// Takes nothing.
    pub const HOLDS: Self = Self {
        arrive_epoch: 0,
        holds_only: true,
        forget: false,
        erased_generation: 0,
        lives_epoch: 0,
        challenge: None,
    };
}

/// Whom a question is about: by what is sealed, by orders of his that are known there, or by name.
pub enum Who<'a> {
    Keyed(KeyOf, &'a Wrapped, &'a [Block]),
    /// Nothing personal goes along, whatever the law of today. At most [`BLOCKS_MAX`].
    Orders(&'a [OrderId]),
    /// With the countries in which he lived.
    Named(&'a CustomerId, &'a BTreeSet<Country>),
}

/// Nothing, once the region where he lives has all that he left here, or there is nothing to lose.
///
/// # Errors
/// `HOME_UNREACHABLE` while it is away or another went on with it; `HOME_MOVING` while it says
/// otherwise: then what is here may be all that is left. Who came back meanwhile arrives.
pub async fn held_there(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    due: Instant,
) -> Result<(), Failure> {
    let Some(here) = left_here(hosted, subject, due).await? else { return Ok(()) };
    let LeftHere { row, keys } = &here;
    let Some(first) = here.orders().next() else { return Ok(()) };
    let now = shell.map.now()?;
    let region = now.region(row.lives).ok_or_else(moving)?;
    let owner = now.owner(row.lives, first.slot()).ok_or_else(moving)?.owner;
    let arrive_epoch = here.arrive_epoch(shell);
    if owner != row.lives {
        if let Err(failure) = here.tell_again(shell, region, due).await {
            tracing::info!(to = %region.name, %failure, "not told of an arrival");
        }
        let why = format!("{} was taken over: what he left may be here only", region.name);
        return Err(Failure::new(Reason::HomeUnreachable, why));
    }
    let pages = keys.iter().flat_map(|(of, wrapped, blocks)| {
        blocks.chunks(BLOCKS_MAX).map(move |page| (*of, wrapped, page))
    });
    let pages: Vec<_> = pages.collect();
    for (of, wrapped, blocks) in pages {
        let asked: Vec<OrderId> = blocks.iter().map(|(id, ..)| *id).collect();
        let mut challenge = [0; 32];
        shell.env.entropy.fill(&mut challenge);
        let mut sum = StateHash::default();
        for (id, _, sealed) in blocks {
            sum.add(shown(shell, &challenge, (*id, of), wrapped, sealed).await?);
        }
        let ask = Ask { arrive_epoch, challenge: Some(challenge), ..Ask::HOLDS };
        // Each page has its time: somebody with many orders is not asked about for ever.
        let soon = due.min(Instant::now() + PAGE_TIME_MAX);
        let said = take_customer(shell, region, Who::Orders(&asked), ask, soon).await;
        let said = known_there(said)?.unwrap_or_default();
        if arrives(shell, hosted, (subject, row.lives), row.epoch, &said, due).await? {
            return Err(Failure::new(Reason::HomeMoving, "he has come back"));
        }
        if said.epoch < row.epoch || usize::try_from(said.block_count) != Ok(asked.len()) {
            let why = format!(
                "{} has {} of {} orders that he left here, by move {} of {}",
                region.name,
                said.block_count,
                asked.len(),
                said.epoch,
                row.epoch,
            );
            return Err(Failure::new(Reason::HomeMoving, why));
        }
        if said.proof != sum.0.to_be_bytes()[..] {
            let why = format!("{} does not show that it has what he left here", region.name);
            return Err(Failure::new(Reason::HomeMoving, why));
        }
    }
    Ok(())
}

/// Tells the region where he lives that he does: while an order of his is under way here it is not
/// asked what it holds, and may have missed the one call that said so.
///
/// # Errors
/// What that region answers; `HOME_UNREACHABLE` where nobody leads there.
pub async fn tell_where_he_lives(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    due: Instant,
) -> Result<(), Failure> {
    let Some(here) = left_here(hosted, subject, due).await? else { return Ok(()) };
    let now = shell.map.now()?;
    here.tell_again(shell, now.region(here.row.lives).ok_or_else(moving)?, due).await
}

/// What is here still of who left, by the key that opens it.
struct LeftHere {
    row: MoveRow,
    keys: Vec<(KeyOf, Wrapped, Vec<Block>)>,
}

async fn left_here(
    hosted: &Hosted,
    subject: SubjectId,
    due: Instant,
) -> Result<Option<LeftHere>, Failure> {
    let read = hosted.group.read(due, |machine| {
        let state = &machine.state;
        let row = state.moves.get(subject)?;
        let keys = state.left_blocks(subject);
        (!keys.is_empty()).then(|| LeftHere { row: row.clone(), keys })
    });
    read.await.map_err(not_read)
}

impl LeftHere {
    fn orders(&self) -> impl Iterator<Item = OrderId> {
        self.keys.iter().flat_map(|(.., blocks)| blocks).map(|(id, ..)| *id)
    }

    /// What the region where he lives heard of only from here it is told again; else 0.
    fn arrive_epoch(&self, shell: &Shell) -> u64 {
        if self.row.former == shell.number { self.row.epoch } else { 0 }
    }

    /// That he lives there since this move, if it is one from here: so it is, whoever owns what is
    /// born there. What that region says counts no more than if it said nothing.
    async fn tell_again(&self, shell: &Shell, to: &Region, due: Instant) -> Result<(), Failure> {
        let arrive_epoch = self.arrive_epoch(shell);
        if arrive_epoch == 0 {
            return Ok(());
        }
        let orders: Vec<OrderId> = self.orders().take(BLOCKS_MAX).collect();
        if orders.is_empty() {
            return Ok(());
        }
        let ask = Ask { arrive_epoch, ..Ask::HOLDS };
        let soon = due.min(Instant::now() + PAGE_TIME_MAX);
        take_customer(shell, to, Who::Orders(&orders), ask, soon).await.map(|_| ())
    }
}

/// What a block that is here adds to the answer to a challenge.
///
/// # Errors
/// A vault that does not open his key, or a block that the key does not open.
pub async fn shown(
    shell: &Shell,
    challenge: &[u8; 32],
    (id, of): (OrderId, KeyOf),
    wrapped: &Wrapped,
    sealed: &Sealed,
) -> Result<StateHash, Failure> {
    let key = shell.keyring.unwrap(of, wrapped).await.map_err(|error| vault_failed(&error))?;
    let plain = key.open(of, id, sealed).map_err(|error| vault_failed(&error))?;
    Ok(shown_of(challenge, id, &plain))
}

/// `None` where that region knows none of the orders that it was asked about.
fn known_there(
    said: Result<home::TakeCustomerResponse, Failure>,
) -> Result<Option<home::TakeCustomerResponse>, Failure> {
    match said {
        Err(failure) if failure.reason() == Reason::CustomerNotFound => Ok(None),
        said => said.map(Some),
    }
}

/// Asks where somebody lives whose luggage came from there, and who never arrived. He arrives, or
/// it goes.
///
/// # Errors
/// `HOME_UNREACHABLE` while who brought it is away or was taken over: it may have let him go.
pub async fn settle(
    shell: &Shell,
    hosted: &Hosted,
    (subject, from): (SubjectId, RegionNumber),
    due: Instant,
) -> Result<(), Failure> {
    let read = hosted.group.read(due, |machine| {
        let state = &machine.state;
        let epoch = state.moves.get(subject).map_or(0, |row| row.epoch);
        let came: Vec<OrderId> = state.moves.kept_of(subject).take(BLOCKS_MAX).collect();
        (epoch, came)
    });
    let (known, came) = read.await.map_err(not_read)?;
    if let Some(first) = came.first() {
        let now = shell.map.now()?;
        let region = now.region(from).ok_or_else(moving)?;
        if now.owner(from, first.slot()).ok_or_else(moving)?.owner != from {
            let why = format!("{} was taken over, and may have let him go", region.name);
            return Err(Failure::new(Reason::HomeUnreachable, why));
        }
        let said = take_customer(shell, region, Who::Orders(&came), Ask::HOLDS, due).await;
        let Some(said) = known_there(said)? else {
            let why = format!(
                "{} knows nothing of him any more: what came from there may be all that is left; \
                 he is to be erased here, or brought again",
                region.name
            );
            return Err(Failure::new(Reason::HomeMoving, why));
        };
        if arrives(shell, hosted, (subject, from), known, &said, due).await? {
            return Ok(());
        }
        tracing::info!(from = %region.name, "what came of a customer who stayed there goes");
    }
    let (asked_ms, destroy_after_ms) = times(shell).await?;
    let step = Step::Abandon { subject, by: None, asked_ms, destroy_after_ms };
    commit(hosted, step, due).await?;
    shell.keys_changed.notify_waiters();
    Ok(())
}

/// Whether the other region says that he moved here by a later move than is `known`; then he
/// arrives.
async fn arrives(
    shell: &Shell,
    hosted: &Hosted,
    (subject, from): (SubjectId, RegionNumber),
    known: u64,
    said: &home::TakeCustomerResponse,
    due: Instant,
) -> Result<bool, Failure> {
    if said.lives_in != shell.region.as_str() || said.epoch <= known {
        return Ok(false);
    }
    let (epoch, at_ms) = (said.epoch, shell.env.clock.wall().ms());
    commit(hosted, Step::Arrive { subject, from, epoch, at_ms, untold: false }, due).await?;
    Ok(true)
}

/// Tells where somebody lived that he lives here: it was lost then, and went on as if he had not
/// moved since.
///
/// # Errors
/// `HOME_UNREACHABLE` while that region is away or its births are another's.
pub async fn tell_former(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    due: Instant,
) -> Result<(), Failure> {
    let read = hosted.group.read(due, |machine| {
        let state = &machine.state;
        let row = state.moves.get(subject).filter(|row| row.untold)?;
        let orders: Vec<OrderId> = state.orders_known(subject).take(BLOCKS_MAX).collect();
        Some((row.clone(), orders))
    });
    let Some((row, orders)) = read.await.map_err(not_read)? else { return Ok(()) };
    let now = shell.map.now()?;
    let region = now.region(row.former).ok_or_else(moving)?;
    // He is nobody's whose slot nothing here says.
    let Some(first) = orders.first() else { return Ok(()) };
    if now.owner(row.former, first.slot()).ok_or_else(moving)?.owner != row.former {
        let why = format!("{} is not back", region.name);
        return Err(Failure::new(Reason::HomeUnreachable, why));
    }
    let ask = Ask { lives_epoch: row.epoch, ..Ask::HOLDS };
    let said = take_customer(shell, region, Who::Orders(&orders), ask, due).await;
    // Of whom it knows no move it came back from before he was there: it has nothing to let go of.
    let known = known_there(said)?.filter(|said| said.epoch > 0);
    if known.is_some_and(|said| said.epoch < row.epoch) {
        return Err(moving());
    }
    commit(hosted, Step::Heard { subject, epoch: row.epoch }, due).await
}

/// What goes to a region: only what the law of today lets it have.
///
/// # Errors
/// `NO_LAWFUL_REGION` with the rule that keeps it out; a vault that does not open his key.
pub async fn question(
    shell: &Shell,
    to: &RegionName,
    who: Who<'_>,
    Ask { arrive_epoch, holds_only, forget, erased_generation, lives_epoch, challenge }: Ask,
) -> Result<home::TakeCustomerRequest, Failure> {
    let mut question = home::TakeCustomerRequest {
        region: shell.region.to_string(),
        arrive_epoch,
        holds_only,
        forget,
        erased_generation,
        lives_epoch,
        challenge: challenge.map_or_else(Bytes::new, |of| Bytes::copy_from_slice(&of)),
        ..Default::default()
    };
    let now = shell.map.now()?;
    match who {
        Who::Named(customer, lived) => {
            may_be_told(&now, lived, DataClass::Personal, to)?;
            question.customer_id = customer.to_string();
        }
        Who::Orders(orders) => {
            question.blocks = orders.iter().map(|id| asked_of(*id)).collect();
        }
        Who::Keyed(of, wrapped, blocks) => {
            let lived: BTreeSet<Country> = blocks.iter().map(|(_, lived, _)| *lived).collect();
            for residence in lived {
                admitted(&now, residence, to)?;
            }
            let share = shell.keyring.share(of, wrapped).await;
            let share = share.map_err(|error| vault_failed(&error))?;
            question.key = Some(home::KeyShare {
                home: u32::from(of.subject.home.get()),
                subject: Bytes::copy_from_slice(&of.subject.hash.to_be_bytes()),
                generation: of.generation,
                key: Bytes::copy_from_slice(share.bytes()),
            });
            question.blocks = blocks.iter().map(moved_block).collect();
        }
    }
    Ok(question)
}

/// # Errors
/// As of [`question`]; what the other region answers; `HOME_UNREACHABLE` where nobody leads there.
pub async fn take_customer(
    shell: &Shell,
    to: &Region,
    who: Who<'_>,
    ask: Ask,
    due: Instant,
) -> Result<home::TakeCustomerResponse, Failure> {
    let question = question(shell, &to.name, who, ask).await?;
    let request = outgoing(question, Deadline(due))?;
    let mut client = HomeServiceClient::new(shell.peers.gateway(&to.name));
    let failure = match timeout_at(due, client.take_customer(request)).await {
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

/// An order by its id alone.
fn asked_of(order: OrderId) -> home::MovedBlock {
    home::MovedBlock { order_id: order_to_bytes(order), ..Default::default() }
}

fn moved_block((id, residence, personal): &Block) -> home::MovedBlock {
    home::MovedBlock {
        order_id: order_to_bytes(*id),
        residence_country: residence.to_string(),
        nonce: Bytes::copy_from_slice(&personal.nonce),
        ciphertext: personal.ciphertext.clone(),
    }
}

/// How many blocks go in one message; one at least.
pub fn page(blocks: &[Block]) -> usize {
    let mut bytes = 0;
    let fits = |(_, _, block): &&Block| {
        bytes += block.ciphertext.len();
        bytes <= PAGE_BYTES_MAX
    };
    blocks.iter().take(BLOCKS_MAX).take_while(fits).count().max(1)
}
