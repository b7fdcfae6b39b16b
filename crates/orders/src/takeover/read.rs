//! From copies to what it takes to go on with their orders.
//!
//! A block comes sealed under a pseudonym that only the former owner's vault can make. Here it is
//! opened with the data key that came along, and sealed again for this region's own customer: so
//! he is found, shown, exported and forgotten here as anybody else.

mod handed;

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::convert::id::transfer_from_bytes;
use hansa_api::convert::time::to_ms;
use hansa_api::pb::Money as WireMoney;
use hansa_api::pb::customer::PersonalBlock;
use hansa_api::pb::order as shown;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::OrderView;
use hansa_api::status::Failure;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::heir;
use hansa_types::country::Country;
use hansa_types::id::{CustomerId, OrderId};
use hansa_types::money::Money;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use prost::Message;

use self::handed::Handed;
use crate::core::contents::{Contents, Line, LineKind, Sealed, Token};
use crate::core::effect::{Reference, Refusal, RefusalCode};
use crate::core::keys::Scope;
use crate::core::order::{Heard, Note, ParkedWhy, RefundCause, Reject};
use crate::core::subjects::{KeyOf, KeyState, Next, SubjectId, Wrapped};
use crate::core::takeover::{
    Adopted, Candidate, Facts, Moved, NotAdopted, Repaid, Standing, Stepped, VERSION_MAX,
};
use crate::machine::OrdersMachine;
use crate::map::stock_group;
use crate::shell::keys::{ScopeOf, Whose, vault_failed};
use crate::shell::{Hosted, Shell, personal};
use crate::vault::{DataKey, VaultError};

/// All classes, as a view's terms count them.
pub(super) const EVERY_CLASS: u8 = 7;

/// Why one copy does not make an order: for good, or for now.
enum Stop {
    Never(NotAdopted),
    Now(Failure),
}

impl From<NotAdopted> for Stop {
    fn from(why: NotAdopted) -> Self {
        Self::Never(why)
    }
}

/// Reads the copies of these orders; one that is gone is left out.
///
/// # Errors
/// The directory or the vault does not answer: the copies wait.
pub async fn candidates(
    shell: &Shell,
    hosted: &Hosted,
    ids: &[OrderId],
) -> Result<Vec<Candidate>, Failure> {
    let mut reader = Reader { shell, hosted, now: shell.map.now()?, fresh: BTreeMap::new() };
    let mut read = Vec::with_capacity(ids.len());
    for id in ids {
        let (copy, blocked, again, handed) = hosted.group.peek(|machine| {
            let state = &machine.state;
            let copy = state.remote.copies.get(id).cloned();
            (copy, state.blocked(*id), state.goes_on_here(*id), Handed::of(state, *id))
        });
        if let (true, Some(handed)) = (again, handed)
            && let Some(why) = reader.kept_back(*id, &handed)
        {
            read.push(Candidate::Fail { order: *id, version: handed.version, why });
            continue;
        }
        if again {
            read.push(Candidate::Again { order: *id });
            continue;
        }
        if blocked {
            let version = copy.map_or(0, |copy| copy.version);
            read.push(Candidate::Fail { order: *id, version, why: NotAdopted::Parked });
            continue;
        }
        let Some(copy) = copy else { continue };
        let (order, version) = (*id, copy.version);
        let one = match copy.shown.classes & EVERY_CLASS == EVERY_CLASS {
            true => reader.one(order, version, &copy.view).await,
            false => Err(NotAdopted::NotInFailoverSet.into()),
        };
        match one {
            Ok(adopted) if version > VERSION_MAX || !adopted.facts.sound(&adopted.contents) => {
                read.push(Candidate::Fail { order, version, why: NotAdopted::Unreadable });
            }
            Ok(adopted) => read.push(Candidate::Take(Box::new(adopted))),
            Err(Stop::Never(why)) => read.push(Candidate::Fail { order, version, why }),
            Err(Stop::Now(failure)) => return Err(failure),
        }
    }
    Ok(read)
}

/// A customer's key in this region, and the same wrapped where it is new.
type Fresh = (KeyOf, Arc<DataKey>, Option<Wrapped>);

struct Reader<'a> {
    shell: &'a Shell,
    hosted: &'a Hosted,
    now: Arc<Snapshot>,
    /// Keys minted for this batch: every order of theirs brings it.
    fresh: BTreeMap<SubjectId, Fresh>,
}

/// Whose an order is here, and his block under his key here.
struct Resealed {
    sealed_with: KeyOf,
    personal: Option<Sealed>,
    mint: Option<Wrapped>,
    /// `None` where nobody can tell whose it is.
    scope: Option<Scope>,
}

impl Reader<'_> {
    async fn one(&mut self, id: OrderId, version: u64, view: &[u8]) -> Result<Adopted, Stop> {
        let view = OrderView::decode(view).map_err(|_| NotAdopted::Unreadable)?;
        let (Some(order), Some(heirloom)) = (&view.order, &view.succession) else {
            return Err(NotAdopted::NotInFailoverSet.into());
        };
        let group = self.shell.map.orders_group(id.slot()).map_err(Stop::Now)?;
        if group != self.hosted.group.id() {
            return Err(NotAdopted::OtherGroup.into());
        }
        let former = former_key(heirloom).ok_or(NotAdopted::NotInFailoverSet)?;
        let resealed = self.reseal(id, &view, heirloom, former).await?;
        let contents =
            self.contents(id, order, heirloom, &resealed).ok_or(NotAdopted::Unreadable)?;
        if !self.lawful(id, contents.residence) {
            return Err(NotAdopted::NotInFailoverSet.into());
        }
        let mut facts = facts(order, heirloom, former).ok_or(NotAdopted::Unreadable)?;
        facts.placed_as = resealed.scope;
        self.look_after(id, contents.residence, &mut facts);
        let (looked, mint) = (false, resealed.mint);
        Ok(Adopted { order: id, looked, version, contents, mint, facts })
    }

    /// Whether today's law lets this region go on with the order: what it holds may be of a law
    /// that has changed since.
    fn lawful(&self, id: OrderId, residence: Country) -> bool {
        let law = self.now.policy.of_country(residence);
        let (Some(law), Some(own)) = (law, self.now.own_region()) else { return false };
        id.region() == self.now.here || heir::may_own(&self.now.policy, law, &own.name)
    }

    /// Who owned it before could have gone on with it and did not have it: people may have undone
    /// it since, where it came from. Somebody looks before anything becomes of it here.
    fn look_after(&self, id: OrderId, residence: Country, facts: &mut Facts) {
        let before = self.hosted.group.peek(|machine| machine.state.passed_over(id));
        let Some(before) = before.and_then(|number| self.now.region(number)) else { return };
        let law = self.now.policy.of_country(residence);
        let could = law.is_some_and(|law| heir::may_own(&self.now.policy, law, &before.name));
        if could && matches!(facts.standing, Standing::Open | Standing::Parked(..)) {
            let why = format!(
                "{} owned it and did not have it: look at its first region and at the provider \
                 whether it was given back, then resume or cancel it",
                before.name
            );
            facts.leave_behind(why);
        }
    }

    async fn reseal(
        &mut self,
        id: OrderId,
        view: &OrderView,
        heirloom: &wire::Succession,
        former: KeyOf,
    ) -> Result<Resealed, Stop> {
        let guest = heirloom.subject.as_ref().is_some_and(|subject| subject.guest);
        let erased = Resealed { sealed_with: former, personal: None, mint: None, scope: None };
        let plain = match &view.sealed {
            Some(block) => match self.open(id, block).await? {
                Some(plain) => Some(plain),
                None => return Ok(erased),
            },
            None if guest => None,
            // Forgotten at home before this version.
            None => return Ok(erased),
        };
        let customer = match plain.as_ref().map(|plain| PersonalBlock::decode(plain.as_slice())) {
            Some(Ok(block)) if !guest => block.customer_id.parse::<CustomerId>().ok(),
            Some(Ok(_)) | None => None,
            Some(Err(_)) => return Err(NotAdopted::Unreadable.into()),
        };
        let request = heirloom.request_id.parse().map_err(|_| NotAdopted::Unreadable)?;
        let subject =
            personal::subject(self.shell, customer.as_ref(), (&heirloom.caller, &request));
        let subject = subject.map_err(Stop::Now)?;
        let created = view.order.as_ref().and_then(|order| to_ms(order.create_time.as_ref()?));
        let created = created.ok_or(NotAdopted::Unreadable)?;
        let (of, key, mint) = self.key_here(subject, created).await?;
        let personal = match &plain {
            Some(plain) => {
                let sealed = key.seal(of, id, plain, self.shell.env.entropy.as_ref());
                Some(sealed.map_err(|error| Stop::Now(vault_failed(&error)))?)
            }
            None => None,
        };
        let (home, slot, whose) = (self.shell.number, id.slot(), Whose::Subject(subject));
        let (caller, method) = (heirloom.caller.as_str(), "PlaceOrder");
        let scope = ScopeOf { caller, method, home, slot, whose, request: &request }.scope();
        Ok(Resealed { sealed_with: of, personal, mint, scope: Some(scope) })
    }

    /// The block in the clear; `None` for one that was erased.
    async fn open(
        &self,
        id: OrderId,
        block: &wire::SealedBlock,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Stop> {
        let of = key_of(block.home, &block.subject, block.generation);
        let of = of.ok_or(NotAdopted::Unreadable)?;
        let state = self.hosted.group.peek(|machine| machine.state.subjects.key(of));
        let wrapped = match state {
            KeyState::Living(wrapped) => wrapped,
            KeyState::Erased => return Ok(None),
            KeyState::Unknown => return Err(NotAdopted::KeyMissing.into()),
        };
        let key = match self.shell.keyring.unwrap(of, &wrapped).await {
            Ok(key) => key,
            Err(VaultError::Destroyed(_) | VaultError::Erased) => return Ok(None),
            Err(error) => return Err(Stop::Now(vault_failed(&error))),
        };
        let nonce =
            <[u8; 12]>::try_from(block.nonce.as_ref()).map_err(|_| NotAdopted::Unreadable)?;
        let sealed = Sealed { nonce, ciphertext: block.ciphertext.clone() };
        let plain = key.open(of, id, &sealed).map_err(|_| NotAdopted::Unreadable)?;
        Ok(Some(plain))
    }

    /// The customer's living key here for an order of that time, or a new one that comes with his
    /// orders.
    async fn key_here(&mut self, subject: SubjectId, created_ms: u64) -> Result<Fresh, Stop> {
        let look = |machine: &OrdersMachine| machine.state.adopting_key(subject, created_ms);
        let next = self.hosted.group.peek(look);
        let keyring = &self.shell.keyring;
        let made = match next {
            Next::Use(generation, wrapped) => {
                let of = KeyOf { subject, generation };
                keyring.unwrap(of, &wrapped).await.map(|key| (of, key, None))
            }
            Next::Mint(generation, by) => {
                if let Some(fresh) = self.fresh.get(&subject) {
                    return Ok(fresh.clone());
                }
                let of = KeyOf { subject, generation };
                let minted = keyring.mint(of, by).await;
                minted.map(|(key, wrapped)| (of, key, Some(wrapped)))
            }
        };
        let fresh = made.map_err(|error| Stop::Now(vault_failed(&error)))?;
        if fresh.2.is_some() {
            self.fresh.insert(subject, fresh.clone());
        }
        Ok(fresh)
    }

    fn contents(
        &self,
        id: OrderId,
        order: &shown::Order,
        heirloom: &wire::Succession,
        resealed: &Resealed,
    ) -> Option<Contents> {
        let total = Money::try_from(order.total.as_ref()?).ok()?;
        let lines = order.lines.iter().map(|line| self.line(line)).collect::<Option<Vec<_>>>()?;
        Some(Contents {
            caller: heirloom.caller.clone(),
            sealed_with: resealed.sealed_with,
            guest: heirloom.subject.as_ref().is_some_and(|subject| subject.guest),
            residence: order.residence_country.parse().ok()?,
            request: heirloom.request_id.parse().ok()?,
            currency: total.currency,
            lines,
            total_minor: total.minor,
            token: Token(heirloom.payment_token.clone()),
            personal: resealed.personal.clone(),
            payment_group: self.shell.map.payments_group(id.slot()).ok()?,
            reference: order.client_reference.clone(),
            placed_ms: order.placed_time.as_ref().and_then(to_ms),
        })
    }

    fn line(&self, line: &shown::OrderLine) -> Option<Line> {
        let kind = match line.kind() {
            shown::LineKind::Stock => LineKind::Stock,
            shown::LineKind::Fee => LineKind::Fee,
            shown::LineKind::Discount => LineKind::Discount,
            shown::LineKind::NonStock => LineKind::NonStock,
            shown::LineKind::Unspecified => return None,
        };
        let sku = match line.sku.as_str() {
            "" => None,
            sku => Some(sku.parse().ok()?),
        };
        let stock = sku.as_ref().filter(|_| kind == LineKind::Stock);
        let stock_group = stock.map(|sku| stock_group(&self.now, sku));
        if kind == LineKind::Stock && stock_group.is_none() {
            return None;
        }
        Some(Line {
            kind,
            description: line.description.clone(),
            quantity: line.quantity,
            price_minor: minor(line.unit_price.as_ref())?,
            stock_group,
            sku,
        })
    }
}

fn minor(money: Option<&WireMoney>) -> Option<i64> {
    match money {
        None => Some(0),
        Some(money) => Some(Money::try_from(money).ok()?.minor),
    }
}

pub(super) fn key_of(home: u32, hash: &[u8], generation: u32) -> Option<KeyOf> {
    let home = RegionNumber::try_from(u16::try_from(home).ok()?).ok()?;
    let hash = u128::from_be_bytes(<[u8; 16]>::try_from(hash).ok()?);
    Some(KeyOf { subject: SubjectId { home, hash }, generation })
}

fn former_key(heirloom: &wire::Succession) -> Option<KeyOf> {
    let subject = heirloom.subject.as_ref()?;
    key_of(subject.home, &subject.hash, subject.generation)
}

fn facts(order: &shown::Order, heirloom: &wire::Succession, former: KeyOf) -> Option<Facts> {
    let payment = order.payment.clone().unwrap_or_default();
    let refunds = heirloom.refunds.iter().map(repaid).collect::<Option<Vec<_>>>()?;
    let moved = |list: &[wire::SucceededMovement]| list.iter().map(moved).collect::<Option<_>>();
    let heard = |of: &wire::SucceededRequest| heard(of, former);
    let declined = Some(payment.decline_reason.clone()).filter(|why| !why.is_empty());
    Some(Facts {
        created: LogTime(order.create_time.as_ref().and_then(to_ms)?),
        standing: standing(order),
        cancel_asked: heirloom.cancel_asked,
        cancel_reason: order.cancel_reason.clone(),
        settled: heirloom.settled,
        in_doubt: order.payment_state() == shown::PaymentState::InDoubt,
        declined,
        authorized_minor: minor(payment.authorized.as_ref())?,
        captured_minor: minor(payment.captured.as_ref())?,
        refunded_minor: minor(payment.refunded.as_ref())?,
        reference: Reference(payment.provider_reference),
        refunds,
        shipments: moved(&heirloom.shipments)?,
        returns: moved(&heirloom.returns)?,
        sealed: former,
        requests: heirloom.requests.iter().map(heard).collect::<Option<_>>()?,
        placed_as: None,
    })
}

fn standing(order: &shown::Order) -> Standing {
    match order.state() {
        shown::OrderState::Rejected => {
            let rejection = order.rejection.clone().unwrap_or_default();
            let reject = reject(rejection.reason());
            let code = match reject {
                Reject::UnknownSku => RefusalCode::UnknownSku,
                Reject::OutOfStock => RefusalCode::OutOfStock,
                Reject::StockExpired => RefusalCode::Expired,
                Reject::PaymentDeclined => RefusalCode::Declined,
                Reject::StockRefused | Reject::PaymentRefused | Reject::PaymentInDoubt => {
                    RefusalCode::Other
                }
            };
            let (sku, available) = (rejection.sku, rejection.available_quantity);
            let detail = String::new();
            Standing::Rejected(
                reject,
                Refusal { code, line: rejection.line, sku, available, detail },
            )
        }
        shown::OrderState::Cancelled => Standing::Cancelled,
        shown::OrderState::Parked => {
            let why = match order.parked_reason.as_str() {
                "BOOKS_DIFFER" => ParkedWhy::BooksDiffer,
                "REFUND_REFUSED" => ParkedWhy::RefundRefused,
                "STUCK" => ParkedWhy::Stuck,
                "UNALLOCATED" => ParkedWhy::Unallocated,
                "LEFT_BEHIND" => ParkedWhy::LeftBehind,
                _ => ParkedWhy::CompensationRefused,
            };
            Standing::Parked(why, order.parked_detail.clone())
        }
        shown::OrderState::Pending
        | shown::OrderState::Confirmed
        | shown::OrderState::Completed
        | shown::OrderState::Unspecified => Standing::Open,
    }
}

fn reject(reason: shown::RejectReason) -> Reject {
    match reason {
        shown::RejectReason::UnknownSku => Reject::UnknownSku,
        shown::RejectReason::OutOfStock => Reject::OutOfStock,
        shown::RejectReason::PaymentDeclined => Reject::PaymentDeclined,
        shown::RejectReason::PaymentInDoubt => Reject::PaymentInDoubt,
        shown::RejectReason::HoldExpired => Reject::StockExpired,
        shown::RejectReason::PaymentRefused | shown::RejectReason::PaymentUnavailable => {
            Reject::PaymentRefused
        }
        shown::RejectReason::StockRefused | shown::RejectReason::Unspecified => {
            Reject::StockRefused
        }
    }
}

fn stepped(state: wire::SucceededState) -> Stepped {
    match state {
        wire::SucceededState::Done | wire::SucceededState::Unspecified => Stepped::Done,
        wire::SucceededState::UnderWay => Stepped::UnderWay,
        wire::SucceededState::Refused => Stepped::Refused,
    }
}

fn repaid(refund: &wire::SucceededRefund) -> Option<Repaid> {
    let with = match refund.with.is_empty() {
        true => None,
        false => Some(transfer_from_bytes(&refund.with).ok()?),
    };
    let cause = match refund.cause() {
        wire::SucceededCause::Cancel => RefundCause::Cancel,
        wire::SucceededCause::Return => RefundCause::Return,
        wire::SucceededCause::Asked | wire::SucceededCause::Unspecified => RefundCause::Asked,
    };
    let (id, state) = (transfer_from_bytes(&refund.id).ok()?, stepped(refund.state()));
    Some(Repaid { id, amount_minor: refund.amount_minor, with, cause, state })
}

fn moved(movement: &wire::SucceededMovement) -> Option<Moved> {
    let line = |line: &wire::MovedLine| {
        Some((u16::try_from(line.line.checked_sub(1)?).ok()?, line.quantity))
    };
    let away = |line: &&wire::MovedLine| line.elsewhere_quantity > 0;
    let elsewhere =
        |of: &wire::MovedLine| line(of).map(|(place, _)| (place, of.elsewhere_quantity));
    let booked = match movement.booked_region {
        0 => None,
        number => Some(RegionNumber::try_from(u16::try_from(number).ok()?).ok()?),
    };
    let warehouse = match movement.warehouse.as_str() {
        "" => None,
        name => Some(name.parse().ok()?),
    };
    let note = Note {
        reason: String::new(),
        carrier: movement.carrier.clone(),
        tracking_code: movement.tracking_code.clone(),
        warehouse,
    };
    Some(Moved {
        id: transfer_from_bytes(&movement.id).ok()?,
        lines: movement.lines.iter().map(line).collect::<Option<_>>()?,
        note,
        state: stepped(movement.state()),
        booked,
        elsewhere: movement.lines.iter().filter(away).map(elsewhere).collect::<Option<_>>()?,
    })
}

fn heard(request: &wire::SucceededRequest, former: KeyOf) -> Option<Heard> {
    let number = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok().map(u128::from_be_bytes);
    let under = match request.home {
        0 => KeyOf { subject: former.subject, generation: request.generation },
        home => key_of(home, &request.key_subject, request.generation)?,
    };
    Some(Heard {
        scope: Scope(number(&request.scope)?),
        body: number(&request.body)?,
        under: Some(under),
        at: LogTime(request.time_ms),
        first: u16::try_from(request.first).ok()?,
        count: u16::try_from(request.count).ok()?,
    })
}

#[cfg(test)]
mod tests;
