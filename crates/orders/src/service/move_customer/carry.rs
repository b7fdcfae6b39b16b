//! What he takes along, and that it comes there whole.

use std::collections::BTreeSet;

use hansa_api::pb::replication as home;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::Region;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use tokio::time::Instant;

use super::Mover;
use super::proof::{self, Ask, Who, page};
use crate::core::moves::{BLOCKS_MAX, Block, MoveRow, print_of};
use crate::core::subjects::{KeyOf, Next, Wrapped};
use crate::service::customer::residences;
use crate::shell::not_read;

/// Orders of one customer that can be moved: they are compared in one step.
const ORDERS_MAX: usize = 100_000;

/// What he has here: his key, and the blocks that it opens.
pub(super) struct Luggage {
    pub of: KeyOf,
    /// `None` for who was forgotten: he takes nothing along.
    pub wrapped: Option<Wrapped>,
    pub blocks: Vec<Block>,
    pub digest: StateHash,
}

impl Luggage {
    fn of(of: KeyOf, wrapped: Option<Wrapped>, blocks: Vec<Block>) -> Result<Self, Failure> {
        if blocks.len() > ORDERS_MAX {
            let why = format!("he has {} orders; at most {ORDERS_MAX} can move", blocks.len());
            return Err(Failure::new(Reason::FailedPrecondition, why));
        }
        let mut digest = StateHash::default();
        blocks.iter().for_each(|(id, law, block)| digest.add(print_of(*id, *law, block)));
        Ok(Self { of, wrapped, blocks, digest })
    }
}

/// What of it is there: an order that came in between is brought alone.
#[derive(Default)]
pub(super) struct Brought {
    of: Option<KeyOf>,
    orders: BTreeSet<OrderId>,
    digest: StateHash,
    /// The last of his keys there that an erasure ended, when it began.
    dead: u32,
    /// The newest move of his that is known there.
    pub epoch: u64,
}

impl Mover<'_> {
    pub(super) async fn luggage(&self) -> Result<Luggage, Failure> {
        let subject = self.subject;
        let read = self.hosted.group.read(self.due, |machine| {
            let state = &machine.state;
            let (generation, wrapped) = match state.next_key(subject) {
                Next::Use(generation, wrapped) => (generation, Some(wrapped)),
                Next::Mint(..) => (state.subjects.dead(subject), None),
            };
            let of = KeyOf { subject, generation };
            // What a key opened that is gone stays where it is.
            let blocks: Vec<Block> = match &wrapped {
                Some(_) => state.blocks(of).collect(),
                None => Vec::new(),
            };
            // Who moved here and was forgotten lives here still.
            let known = !blocks.is_empty() || state.moves.get(subject).is_some();
            known.then_some((of, wrapped, blocks))
        });
        let found = read.await.map_err(not_read)?;
        let (of, wrapped, blocks) = found.ok_or_else(|| {
            let why = "nothing of his is here: look at his id, and at the country in which he \
                       lived when he ordered";
            Failure::new(Reason::CustomerNotFound, why)
        })?;
        Luggage::of(of, wrapped, blocks)
    }

    /// Brings all of it there that is not there, page by page.
    pub(super) async fn carry(
        &self,
        to: &Region,
        luggage: &Luggage,
        brought: &mut Brought,
    ) -> Result<(), Failure> {
        if brought.of != Some(luggage.of) {
            let first = luggage.blocks.get(..1).unwrap_or_default();
            let said = match self.bring(to, luggage, first, Ask::HOLDS).await {
                // Who takes nothing along need not be known there, nor named.
                Err(failure)
                    if first.is_empty()
                        && matches!(
                            failure.reason(),
                            Reason::CustomerNotFound | Reason::NoLawfulRegion
                        ) =>
                {
                    home::TakeCustomerResponse::default()
                }
                said => said?,
            };
            let (of, epoch) = (Some(luggage.of), said.epoch.max(brought.epoch));
            *brought = Brought { of, dead: said.erased_generation, epoch, ..Brought::default() };
        }
        let new = |(id, ..): &&Block| !brought.orders.contains(id);
        let blocks: Vec<Block> = luggage.blocks.iter().filter(new).cloned().collect();
        let mut rest = &blocks[..];
        while !rest.is_empty() {
            let (page, more) = rest.split_at(page(rest));
            let ask = Ask { erased_generation: brought.dead, ..Ask::default() };
            let came = self.bring(to, luggage, page, ask).await?;
            let digest = <[u8; 16]>::try_from(came.digest.as_ref()).map(u128::from_be_bytes);
            brought.digest.add(StateHash(digest.unwrap_or_default()));
            if usize::try_from(came.block_count) != Ok(page.len()) {
                return Err(not_whole(to));
            }
            brought.orders.extend(page.iter().map(|(id, ..)| *id));
            (brought.epoch, rest) = (brought.epoch.max(came.epoch), more);
        }
        match brought.digest == luggage.digest {
            true => Ok(()),
            false => Err(not_whole(to)),
        }
    }

    /// To where he lives already, which may have come back from a backup of before; while what he
    /// left is here still, with what has come home since.
    pub(super) async fn bring_again(&self, to: &Region, row: &MoveRow) -> Result<(), Failure> {
        let subject = self.subject;
        let read = self.hosted.group.read(self.due, |m| m.state.left_blocks(subject));
        let mut told: Option<Luggage> = None;
        for (of, wrapped, blocks) in read.await.map_err(not_read)? {
            let luggage = Luggage::of(of, Some(wrapped), blocks)?;
            self.carry(to, &luggage, &mut Brought::default()).await?;
            if told.as_ref().is_none_or(|first| first.blocks.is_empty()) {
                told = Some(luggage);
            }
        }
        match told.filter(|_| row.former == self.shell.number) {
            Some(luggage) => self.tell_there(to, &luggage, row.epoch).await,
            None => Ok(()),
        }
    }

    /// Whether where he lives answers anything; why not.
    pub(super) async fn ask_there(&self, to: &Region, due: Instant) -> Result<(), Failure> {
        self.ask(to, Ask::HOLDS, due).await.map(|_| ())
    }

    /// By what is known here of his orders; by his name where nothing is.
    async fn ask(
        &self,
        to: &Region,
        ask: Ask,
        due: Instant,
    ) -> Result<home::TakeCustomerResponse, Failure> {
        let known: Vec<OrderId> = self
            .hosted
            .group
            .peek(|machine| machine.state.orders_known(self.subject).take(BLOCKS_MAX).collect());
        let lived = residences(self.hosted, self.subject, self.asked.residence);
        let who = match &self.asked.customer {
            _ if !known.is_empty() => Who::Orders(&known),
            Some(customer) => Who::Named(customer, &lived),
            None => return Err(Failure::of(Reason::CustomerNotFound)),
        };
        proof::take_customer(self.shell, to, who, ask, due).await
    }

    /// That he lives there since this move.
    pub(super) async fn tell_there(
        &self,
        to: &Region,
        luggage: &Luggage,
        arrive_epoch: u64,
    ) -> Result<(), Failure> {
        let orders: Vec<OrderId> =
            luggage.blocks.iter().map(|(id, ..)| *id).take(BLOCKS_MAX).collect();
        let ask = Ask { arrive_epoch, ..Ask::HOLDS };
        if orders.is_empty() {
            return self.bring(to, luggage, &[], ask).await.map(|_| ());
        }
        let who = Who::Orders(&orders);
        proof::take_customer(self.shell, to, who, ask, self.due).await.map(|_| ())
    }

    /// That he stays here.
    pub(super) async fn forget_there(&self, to: RegionNumber, due: Instant) -> Result<(), Failure> {
        let to = self.now.region(to).ok_or(Reason::UnknownRegion)?;
        self.ask(to, Ask { forget: true, ..Ask::HOLDS }, due).await.map(|_| ())
    }

    async fn bring(
        &self,
        to: &Region,
        luggage: &Luggage,
        blocks: &[Block],
        ask: Ask,
    ) -> Result<home::TakeCustomerResponse, Failure> {
        let lived = residences(self.hosted, self.subject, self.asked.residence);
        let who = match (&luggage.wrapped, &self.asked.customer) {
            (Some(wrapped), _) if !blocks.is_empty() => Who::Keyed(luggage.of, wrapped, blocks),
            (_, Some(customer)) => Who::Named(customer, &lived),
            _ => return Err(Failure::of(Reason::CustomerNotFound)),
        };
        proof::take_customer(self.shell, to, who, ask, self.due).await
    }
}

fn not_whole(to: &Region) -> Failure {
    tracing::error!(to = %to.name, "what came is not what was sent");
    let why = format!("{} does not hold what was brought there: look at its log", to.name);
    Failure::new(Reason::Internal, why)
}
