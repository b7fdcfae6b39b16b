//! PlaceOrder: check, seal under the customer's key, accept, wait until decided.

mod away;
mod moved;

use std::sync::Arc;

use hansa_api::convert::order::{self as checked, PlaceOrder};
use hansa_api::pb::order as wire;
use hansa_api::principal::Principal;
use hansa_api::status::Failure;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::id::{GroupKind, OrderId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use prost::Message;
use tokio::time::Instant;
use tonic::Request;

use crate::core::command::{Accept, Command, Outcome, Refused, Target};
use crate::core::contents::{Contents, Line, LineKind, Token};
use crate::core::keys::{Key, Scope};
use crate::core::subjects::{KeyOf, KeyState, Next, SubjectId, Wrapped};
use crate::machine::OrdersMachine;
use crate::map::stock_group;
use crate::shell::intake::Placing;
use crate::shell::keys::{ScopeOf, Whose, heard_under, vault_failed};
use crate::shell::personal;
use crate::shell::waiters::Want;
use crate::shell::{Hosted, Sent, Shell, answer_by, caller, deadline, not_read};
use crate::vault::{DataKey, VaultError};
use crate::{metrics, wire as show};

use self::away::Lives;
pub use self::moved::{left_behind, moving};

/// Draws of an order id: 50 random bits within a millisecond and slot collide about never.
const DRAWS: u32 = 3;
/// Looks at the customer's key: another request may have made it, or an erasure dropped it.
const LOOKS: u32 = 4;

pub async fn run(
    shell: &Shell,
    request: Request<wire::PlaceOrderRequest>,
) -> Result<wire::PlaceOrderResponse, Failure> {
    let (due, sent) = (deadline(&request), Sent::of(&request));
    let caller = caller(Principal::of(&request)?);
    place(shell, caller, request.into_inner(), sent, due).await
}

/// Places the order for `caller`, whose gateway has let it in.
pub async fn place(
    shell: &Shell,
    caller: String,
    request: wire::PlaceOrderRequest,
    sent: Sent,
    due: Instant,
) -> Result<wire::PlaceOrderResponse, Failure> {
    let body = request.encode_to_vec();
    let place = PlaceOrder::try_from(request)?;
    let slot = match &place.customer_id {
        Some(customer) => Slot::of(customer.as_str().as_bytes()),
        None => Slot::of(place.request_id.as_str().as_bytes()),
    };
    let now = shell.map.now()?;
    let home = moved::at_home(&now, place.residence_country, slot)?;
    let hosted = shell.hosted(now.group(GroupKind::Orders, slot))?;
    let subject =
        personal::subject(shell, place.customer_id.as_ref(), (&caller, &place.request_id))?;
    let scope = ScopeOf {
        caller: &caller,
        method: "PlaceOrder",
        home: shell.number,
        slot,
        whose: Whose::Subject(subject),
        request: &place.request_id,
    };
    let scope = scope.scope();
    let place = &place;
    let asked = Asked { shell, hosted, slot, caller: &caller, place, body: &body, now, home };
    let says = place.customer_id.as_ref().map_or_else(String::new, ToString::to_string);
    if let Some(order) = asked.known_elsewhere(scope, sent, due).await? {
        let order = Some(wire::Order { customer_id: says, ..order });
        return Ok(wire::PlaceOrderResponse { order, replayed: true });
    }
    let mut answer = match asked.lives(subject, scope, sent, due).await? {
        Lives::Here(resident) => {
            let _placing = asked.taken(scope)?;
            asked.placed(subject, scope, resident, sent, due).await?
        }
        Lives::There(answer) => *answer,
    };
    // He has just said who he is; whether that was erased since is for who reads the order.
    answer.order.iter_mut().for_each(|order| order.customer_id.clone_from(&says));
    Ok(answer)
}

/// A request that was checked.
pub(super) struct Asked<'a> {
    pub shell: &'a Shell,
    pub hosted: &'a Hosted,
    pub slot: Slot,
    pub caller: &'a str,
    pub place: &'a PlaceOrder,
    pub body: &'a [u8],
    /// The directory by which this is the home.
    pub now: Arc<Snapshot>,
    /// The region whose number the order carries, and the epoch in which this one owns it.
    pub home: (RegionNumber, u64),
}

/// What an order is sealed and fingerprinted with.
struct SealedWith {
    of: KeyOf,
    key: Arc<DataKey>,
    mint: Option<Wrapped>,
}

impl Asked<'_> {
    /// A place among the orders under way, where it is new and this node leads: a repeat begins
    /// nothing, and who does not lead sends on.
    fn taken(&self, scope: Scope) -> Result<Option<Placing<'_>>, Failure> {
        match self.hosted.office().is_some() && self.known_under(scope).is_none() {
            true => self.hosted.intake.begin().map(Some),
            false => Ok(None),
        }
    }

    /// Takes the order and waits until it is decided. `resident`: the move since which he is known
    /// to live here; 0 for somebody who never moved.
    pub async fn placed(
        &self,
        subject: SubjectId,
        scope: Scope,
        resident: u64,
        sent: Sent,
        due: Instant,
    ) -> Result<wire::PlaceOrderResponse, Failure> {
        let (target, replayed) = self.accept(subject, scope, resident, sent, due).await?;
        metrics::placed(replayed);
        let decided = |order: &crate::core::order::Order, contents: &Contents| {
            order.order_status(contents).decided()
        };
        let (id, want) = (target.order, Want::Decision);
        let show = |order: &_, contents: &_| show::order(self.shell, id, order, contents);
        let order = self.hosted.when(id, want, answer_by(due), decided, show).await?;
        Ok(wire::PlaceOrderResponse { order: Some(order), replayed })
    }

    async fn accept(
        &self,
        subject: SubjectId,
        scope: Scope,
        resident: u64,
        sent: Sent,
        due: Instant,
    ) -> Result<(Target, bool), Failure> {
        let (mut draws, mut looks) = (DRAWS, LOOKS);
        loop {
            let Some(with) = self.key(subject, looks == LOOKS, due).await? else {
                // Erased since this replica was looked at.
                if looks == 1 {
                    return Err(crate::shell::refusal(Refused::KeyChanged));
                }
                looks -= 1;
                continue;
            };
            let id = mint(self.shell, self.home, self.slot);
            let (under, key) =
                self.heard_under(scope).await?.unwrap_or((with.of, with.key.clone()));
            let body = key.fingerprint("PlaceOrder", self.body);
            let command = self.command(id, Key { scope, body }, &with)?;
            let command = Box::new(self.hosted.dated(command, sent));
            let command = Some(match resident {
                0 => command,
                epoch => Box::new(Command::Resident { epoch, command }),
            });
            let version = self.now.policy.version();
            let command = Command::UnderPolicy { version, command };
            let asked = Instant::now();
            let outcome = self.hosted.submit(&command, due).await;
            self.hosted.intake.logged(asked.elapsed());
            match outcome? {
                Outcome::Refused(Refused::OrderIdTaken) if draws > 1 => draws -= 1,
                Outcome::Refused(Refused::KeyChanged) if looks > 1 => looks -= 1,
                Outcome::Refused(Refused::Left(order)) => {
                    return Err(left_behind(self.shell, order));
                }
                // Its order came back from another owner since, who had heard it.
                Outcome::Refused(Refused::RequestIdReused)
                    if looks > 1 && self.known_under(scope).is_some_and(|of| of != under) =>
                {
                    looks -= 1;
                }
                outcome => {
                    if let (Outcome::Done(_), Some(wrapped)) = (&outcome, with.mint) {
                        self.shell.keyring.keep(with.of, wrapped, with.key);
                    }
                    return self.hosted.answered(outcome);
                }
            }
        }
    }

    /// The subject's living key, or a new one if he has none; `None` for one that was erased since.
    /// `glance`: as this replica knows it; one that lags is told so by the log, and looks again.
    async fn key(
        &self,
        subject: SubjectId,
        glance: bool,
        due: Instant,
    ) -> Result<Option<SealedWith>, Failure> {
        let group = &self.hosted.group;
        let next = match glance {
            true => group.peek(|machine| machine.state.sealing_key(subject)),
            false => {
                let look = |machine: &OrdersMachine| machine.state.sealing_key(subject);
                let read = group.read(due, look).await;
                read.map_err(not_read)?
            }
        };
        let keyring = &self.shell.keyring;
        let made = match next {
            Next::Use(generation, wrapped) => {
                let of = KeyOf { subject, generation };
                let key = keyring.unwrap(of, &wrapped).await;
                key.map(|key| SealedWith { of, key, mint: None })
            }
            Next::Mint(generation, by) => {
                let of = KeyOf { subject, generation };
                let minted = keyring.mint(of, by).await;
                minted.map(|(key, wrapped)| SealedWith { of, key, mint: Some(wrapped) })
            }
        };
        match made {
            Err(VaultError::Erased) => Ok(None),
            made => made.map(Some).map_err(|error| vault_failed(&error)),
        }
    }

    fn known_under(&self, scope: Scope) -> Option<KeyOf> {
        self.hosted.group.peek(|machine| heard_under(&machine.state, scope))
    }

    /// The key under which this request was heard, here or by a region that this one took over
    /// from: the customer may have another by now.
    async fn heard_under(&self, scope: Scope) -> Result<Option<(KeyOf, Arc<DataKey>)>, Failure> {
        let look = |machine: &crate::machine::OrdersMachine| {
            let of = heard_under(&machine.state, scope)?;
            match machine.state.subjects.key(of) {
                KeyState::Living(wrapped) => Some(Ok((of, wrapped))),
                KeyState::Erased => None,
                // Its key never came here: nobody can tell whether the body is the same.
                KeyState::Unknown => Some(Err(crate::shell::refusal(Refused::InDoubt))),
            }
        };
        let Some(found) = self.hosted.group.peek(look) else { return Ok(None) };
        let (of, wrapped) = found?;
        match self.shell.keyring.unwrap(of, &wrapped).await {
            Ok(key) => Ok(Some((of, key))),
            Err(VaultError::Erased | VaultError::Destroyed(_)) => Ok(None),
            Err(error) => Err(vault_failed(&error)),
        }
    }

    fn command(&self, id: OrderId, key: Key, with: &SealedWith) -> Result<Command, Failure> {
        let (shell, place) = (self.shell, self.place);
        let now = shell.map.now()?;
        let details = place.personal.as_ref().map(|personal| personal.expose());
        let personal = match personal::block(place.customer_id.as_ref(), details) {
            Some(plain) => {
                let sealed = with.key.seal(with.of, id, &plain, shell.env.entropy.as_ref());
                Some(sealed.map_err(|error| vault_failed(&error))?)
            }
            None => None,
        };
        let contents = Contents {
            caller: self.caller.to_owned(),
            sealed_with: with.of,
            guest: place.customer_id.is_none(),
            residence: place.residence_country,
            request: place.request_id.clone(),
            currency: place.total.currency,
            lines: place.lines.iter().map(|line| line_of(&now, line)).collect(),
            total_minor: place.total.minor,
            token: Token(place.payment_token.expose().clone()),
            personal,
            payment_group: shell.map.payments_group(id.slot())?,
            reference: place.client_reference.clone(),
            placed_ms: place.placed.map(|at| at.ms()),
        };
        let (epoch, mint) = (self.home.1, with.mint.clone());
        Ok(Command::Accept(Box::new(Accept { order: id, key, epoch, contents, mint })))
    }
}

/// Two owners of one region's births never mint the same id: the epoch is a part of it.
fn mint(shell: &Shell, (birth, epoch): (RegionNumber, u64), slot: Slot) -> OrderId {
    let born = LogTime(shell.env.clock.wall().ms());
    OrderId::new(born, birth, slot, told_apart(shell.env.entropy.number(), epoch))
}

/// The epoch in the lowest bits of what is drawn: 42 bits are left, within a millisecond and slot.
fn told_apart(drawn: u64, epoch: u64) -> u64 {
    drawn & !0xff | epoch & 0xff
}

fn line_of(now: &Snapshot, line: &checked::Line) -> Line {
    let (kind, stock) = match line.kind {
        checked::LineKind::Stock => (LineKind::Stock, true),
        checked::LineKind::Fee => (LineKind::Fee, false),
        checked::LineKind::Discount => (LineKind::Discount, false),
        checked::LineKind::NonStock => (LineKind::NonStock, false),
    };
    Line {
        kind,
        stock_group: line.sku.as_ref().filter(|_| stock).map(|sku| stock_group(now, sku)),
        sku: line.sku.clone(),
        description: line.description.clone(),
        quantity: line.quantity,
        price_minor: line.unit_price.minor,
    }
}
