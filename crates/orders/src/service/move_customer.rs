//! MoveCustomer: has a customer live in another region, and tells how far that is.
//!
//! What he takes along is durable there before the one step that decides: this group's, that he
//! lives elsewhere. A call that ends before it has changed nothing that anybody sees; what it
//! brought goes by `MOVE_ACTION_CANCEL`, or when the other region asks what became of it.

mod carry;
pub(crate) mod proof;
mod told;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::customer::{MoveAction, MoveCustomer, Person};
use hansa_api::pb::customer as wire;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::{Region, Snapshot};
use hansa_region_router::core::home::home as home_of;
use hansa_region_router::core::route::Refusal;
use hansa_types::country::Country;
use hansa_types::id::{CustomerId, RequestId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use hansa_types::time::LogTime;
use tokio::time::Instant;
use tonic::Request;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::keys::Scope;
use crate::core::moves::{Carry, Leave, MoveRow, Step};
use crate::core::subjects::{KeyOf, SubjectId};
use crate::service::customer::{self, Found, admitted, not_reached};
use crate::service::erase_customer::open;
use crate::service::take_customer::commit;
use crate::shell::keys::{ScopeOf, Whose, vault_failed};
use crate::shell::{Hosted, Shell, caller, deadline, not_read, refusal};
use crate::start::destroy_after_ms;

use self::carry::{Brought, Luggage};
pub use self::proof::{settle, tell_former, tell_where_he_lives};

/// Tries to leave: each time somebody ordered meanwhile.
const TRIES: u32 = 8;
/// How long a region may take to show that it is there, or to hear what it hears later as well.
const SOON: Duration = Duration::from_secs(5);

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
    let MoveCustomer { person, residence, action, to, window_ms, reason, ticket, .. } = asked;
    let customer = match person {
        Person::Customer(id) => Some(id),
        Person::Guest(_) => None,
    };
    let asked = Wish { customer, residence, to, window_ms, reason, ticket };
    let mover = Mover { shell, hosted, slot, subject, scope, by, asked, now, due };
    match action {
        MoveAction::Tell => {}
        MoveAction::Move => mover.go().await?,
        MoveAction::Finish => mover.finish().await?,
        MoveAction::Cancel => mover.cancel().await?,
        MoveAction::Recall => mover.recall().await?,
    }
    mover.told().await
}

/// What is asked for.
struct Wish {
    /// Unknown to the keeper, which knows pseudonyms.
    customer: Option<CustomerId>,
    residence: Option<Country>,
    to: Option<RegionName>,
    window_ms: Option<u64>,
    reason: String,
    ticket: String,
}

struct Mover<'a> {
    shell: &'a Shell,
    hosted: &'a Arc<Hosted>,
    slot: Slot,
    subject: SubjectId,
    scope: Scope,
    by: String,
    asked: Wish,
    now: Arc<Snapshot>,
    due: Instant,
}

impl Mover<'_> {
    fn row(&self) -> Option<MoveRow> {
        self.hosted.group.peek(|machine| machine.state.moves.get(self.subject).cloned())
    }

    async fn go(&self) -> Result<(), Failure> {
        let Self { shell, now, asked, .. } = self;
        let to = asked.to.as_ref().and_then(|name| now.number(name));
        let to = to.and_then(|number| now.region(number));
        let to = to.ok_or_else(|| {
            let why = "the directory has no region of that name: `region status` names them";
            Failure::new(Reason::UnknownRegion, why)
        })?;
        let row = self.row();
        if let Some(row) = row.as_ref().filter(|row| row.lives != shell.number) {
            // Who has left is the other region's to move on.
            return match now.number(&to.name) == Some(row.lives) {
                true => self.there_already(to, row).await,
                false => Ok(()),
            };
        }
        if to.name == shell.region && row.is_none() {
            self.at_home()?;
        }
        // A late repeat: he has come back since.
        let done = row.as_ref().is_some_and(|row| row.asked.contains(&self.scope));
        if to.name == shell.region || done {
            return Ok(());
        }
        if let Some(row) = row {
            self.one_step(&row, to)?;
        }
        for residence in customer::residences(self.hosted, self.subject, asked.residence) {
            admitted(now, residence, &to.name)?;
        }
        let mut brought = Brought::default();
        for tried in 0..TRIES {
            let luggage = self.luggage().await?;
            if tried == 0 {
                self.begin(to).await?;
            }
            self.carry(to, &luggage, &mut brought).await?;
            let known = brought.epoch.max(self.row().map_or(0, |row| row.epoch));
            let epoch = known.checked_add(1).ok_or_else(|| Failure::of(Reason::Internal))?;
            match self.leave(to, &luggage, epoch).await? {
                Outcome::Noted => {
                    tracing::info!(to = %to.name, orders = luggage.blocks.len(), "left");
                    self.let_know(to, &luggage).await;
                    return Ok(());
                }
                // Somebody ordered meanwhile.
                Outcome::Refused(Refused::KeyChanged) => {}
                Outcome::Refused(Refused::Moved) => {
                    let why = "called off, or another command moves him: look where he lives";
                    return Err(Failure::new(Reason::FailedPrecondition, why));
                }
                Outcome::Refused(why) => return Err(refusal(why)),
                _ => return Err(Failure::of(Reason::Internal)),
            }
        }
        let why = "he orders faster than he can be moved: repeat the command, which goes on";
        Err(Failure::new(Reason::HomeMoving, why))
    }

    /// Tells the region where he lives since. By the move that was decided, which another try of
    /// the same command may have made: what is passed on to that region tells it as well.
    async fn let_know(&self, to: &Region, luggage: &Luggage) {
        let there = self.now.number(&to.name);
        let row = self.row().filter(|row| Some(row.lives) == there);
        let Some(row) = row.filter(|row| row.former == self.shell.number) else { return };
        if let Err(failure) = self.tell_there(to, luggage, row.epoch).await {
            tracing::info!(to = %to.name, %failure, "not told of an arrival");
        }
    }

    /// Whom this region serves for another whose births it went on with does not live here: he is
    /// served there again once that is back.
    fn at_home(&self) -> Result<(), Failure> {
        let here = self.shell.number;
        for residence in customer::residences(self.hosted, self.subject, self.asked.residence) {
            let home = home_of(residence, self.slot, &self.now.policy, &self.now);
            let Ok(home) = home else { continue };
            if home.region == here && home.birth != here {
                let lost = self.now.region(home.birth).map_or("", |region| region.name.as_str());
                let why = format!(
                    "{} serves him for {lost}, whose orders it went on with, and nobody moved: \
                     move him when {lost} is back",
                    self.shell.region
                );
                return Err(Failure::new(Reason::FailedPrecondition, why));
            }
        }
        Ok(())
    }

    /// He has moved, whether that region answers now or not: before anything is deleted it must.
    async fn there_already(&self, to: &Region, row: &MoveRow) -> Result<(), Failure> {
        let Err(failure) = self.bring_again(to, row).await else { return Ok(()) };
        if !not_reached(&failure) {
            return Err(failure);
        }
        tracing::info!(to = %to.name, %failure, "not brought again");
        Ok(())
    }

    /// From here on this request moves him, and no other.
    async fn begin(&self, to: &Region) -> Result<(), Failure> {
        let number = self.now.number(&to.name).ok_or(Reason::UnknownRegion)?;
        let (subject, request) = (self.subject, self.scope);
        let at_ms = self.shell.env.clock.wall().ms();
        let step = Command::Moves(Step::Begin { subject, to: number, request, at_ms });
        match self.hosted.submit(&step, self.due).await? {
            Outcome::Noted => Ok(()),
            Outcome::Refused(Refused::Moved) => {
                let off = self.hosted.group.peek(|machine| {
                    let state = &machine.state;
                    state.called_off(state.meta.now, subject, request)
                });
                let why = match off {
                    true => {
                        "this command was called off: a new one, with another --request-id, \
                             moves him"
                    }
                    false => "another move of his is under way: call it off first, or wait for it",
                };
                Err(Failure::new(Reason::FailedPrecondition, why))
            }
            Outcome::Refused(why) => Err(refusal(why)),
            _ => Err(Failure::of(Reason::Internal)),
        }
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
            let why = format!("he moved here lately: only back until {}", LogTime(settled));
            return Err(Failure::new(Reason::HomeMoving, why).retry_after(wait));
        }
        Ok(())
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

    fn why(&self) -> String {
        let Wish { reason, ticket, .. } = &self.asked;
        format!("{reason} ({ticket})")
    }

    /// Deletes what he left, before it is due.
    async fn finish(&self) -> Result<(), Failure> {
        let by = (self.by.as_str(), self.why());
        delete(self.shell, self.hosted, self.subject, (by.0, &by.1), self.due).await
    }

    /// Takes back who lives in a region that cannot be asked: it hears of it when it is back. What
    /// he asked for there is answered then, or counts no more once no request is that old.
    async fn recall(&self) -> Result<(), Failure> {
        let Some(row) = self.row().filter(|row| row.lives != self.shell.number) else {
            return Ok(());
        };
        let there = self.now.region(row.lives).ok_or(Reason::UnknownRegion)?;
        let soon = self.due.min(Instant::now() + SOON);
        match self.ask_there(there, soon).await {
            Err(failure) if not_reached(&failure) => {}
            // Whom it was asked about was not said: that is no answer.
            Err(failure) if failure.reason() == Reason::NoLawfulRegion => return Err(failure),
            Ok(()) | Err(_) => {
                let why = format!("{} answers: move him back with --to", there.name);
                return Err(Failure::new(Reason::FailedPrecondition, why));
            }
        }
        let epoch = row.epoch.checked_add(1).ok_or(Reason::Internal)?;
        let at_ms = self.shell.env.clock.wall().ms();
        let (subject, by, reason) = (self.subject, self.by.clone(), self.why());
        commit(self.hosted, Step::Recall { subject, epoch, at_ms, by, reason }, self.due).await
    }

    /// Calls a move off that is not decided; what was brought goes there at once if that region
    /// can be told, or else when it asks.
    async fn cancel(&self) -> Result<(), Failure> {
        let gone = || {
            let why = "he has moved already: move him back";
            Failure::new(Reason::FailedPrecondition, why)
        };
        let (subject, here) = (self.subject, self.shell.number);
        let look = self.hosted.group.read(self.due, |machine| {
            let moves = &machine.state.moves;
            (moves.get(subject).map(|row| row.lives), moves.carries.get(&subject).cloned())
        });
        let (lives, carry) = look.await.map_err(not_read)?;
        if lives.is_some_and(|lives| lives != here) {
            return Err(gone());
        }
        let Some(Carry::Going { to, .. }) = carry else { return Ok(()) };
        let step = Step::Cancel { subject, by: self.by.clone(), reason: self.why() };
        match self.hosted.submit(&Command::Moves(step), self.due).await? {
            Outcome::Noted => {}
            Outcome::Refused(Refused::Moved) => return Err(gone()),
            Outcome::Refused(why) => return Err(refusal(why)),
            _ => return Err(Failure::of(Reason::Internal)),
        }
        let soon = self.due.min(Instant::now() + SOON);
        if let Err(failure) = self.forget_there(to, soon).await {
            tracing::info!(to = to.get(), %failure, "not told that a move was called off");
        }
        Ok(())
    }
}

/// The slot of his orders, by any that is here.
fn slot_of(hosted: &Hosted, subject: SubjectId) -> Option<Slot> {
    hosted.group.peek(|machine| {
        let state = &machine.state;
        let mut known = state.subjects.orders_of(subject).chain(state.moves.kept_of(subject));
        known.next().map(|order| order.slot())
    })
}

/// Where somebody belongs who may not live here, by the law of all countries in which he lived.
///
/// # Errors
/// `NO_LAWFUL_REGION` where they have no home in common, or nothing of his says where he lived.
pub fn home_by_law(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
) -> Result<RegionNumber, Failure> {
    let now = shell.map.now()?;
    let slot = slot_of(hosted, subject).ok_or(Reason::NoLawfulRegion)?;
    let mut homes = BTreeSet::new();
    for residence in customer::residences(hosted, subject, None) {
        let home = home_of(residence, slot, &now.policy, &now);
        homes.insert(home.map_err(Refusal::NoHome)?.region);
    }
    let home = homes.first().filter(|home| homes.len() == 1 && **home != shell.number);
    home.copied().ok_or_else(|| {
        let why = "the countries in which he lived have no home in common but this region";
        Failure::new(Reason::NoLawfulRegion, why)
    })
}

/// Moves somebody home of whom the law no longer lets this region keep what serving him takes.
///
/// # Errors
/// As of a move.
pub async fn send_home(
    shell: &Shell,
    hosted: &Arc<Hosted>,
    (subject, home): (SubjectId, RegionNumber),
    due: Instant,
) -> Result<(), Failure> {
    let now = shell.map.now()?;
    let epoch = hosted.group.peek(|m| m.state.moves.get(subject).map(|row| row.epoch));
    let Some((epoch, slot)) = epoch.zip(slot_of(hosted, subject)) else { return Ok(()) };
    let to = now.region(home).ok_or(Reason::UnknownRegion)?;
    let law = now.policy.version();
    let request = asked_by_law(epoch, law).ok_or(Reason::Internal)?;
    let (home, whose) = (shell.number, Whose::Subject(subject));
    let (caller, method) = ("", "MoveCustomer");
    let scope = ScopeOf { caller, method, home, slot, whose, request: &request }.scope();
    let asked = Wish {
        customer: None,
        residence: None,
        to: Some(to.name.clone()),
        // The law lets nothing of it stay.
        window_ms: Some(1),
        reason: format!("residency policy {law}"),
        ticket: String::new(),
    };
    let by = String::new();
    Mover { shell, hosted, slot, subject, scope, by, asked, now, due }.go().await
}

/// The request by which a law moves somebody who lives here since a move. Another law asks anew,
/// whatever was called off under this one.
fn asked_by_law(epoch: u64, version: u64) -> Option<RequestId> {
    format!("law-{epoch}-{version}").parse().ok()
}

/// When what is dropped now was asked for, and when the region key that wraps it will be gone.
pub(super) async fn times(shell: &Shell) -> Result<(u64, u64), Failure> {
    let keys = shell.vault.keys().await.map_err(|error| vault_failed(&error))?;
    let asked_ms = shell.env.clock.wall().ms();
    let after = |newest| destroy_after_ms(newest, &shell.cfg.keys, asked_ms);
    Ok((asked_ms, keys.last().map_or(asked_ms, after)))
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
    let (asked_ms, destroy_after_ms) = times(shell).await?;
    let (by, reason) = (by.to_owned(), reason.to_owned());
    let step = Step::Delete { subject, asked_ms, destroy_after_ms, by, reason };
    match hosted.submit(&Command::Moves(step), due).await? {
        Outcome::Noted => {}
        Outcome::Refused(Refused::OrderOpen(first)) => {
            return Err(open(shell, hosted, subject, first));
        }
        Outcome::Refused(Refused::Moved) => {
            let why = "what he left stays for ten minutes after something was brought back, while \
                       he is on his way back, and while he is served here for where he lives: ask \
                       again then";
            return Err(Failure::new(Reason::HomeMoving, why));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_asks_once_for_each_move_and_another_one_anew() {
        assert_eq!(asked_by_law(3, 1), asked_by_law(3, 1));
        assert!(asked_by_law(3, 1).is_some() && asked_by_law(3, 1) != asked_by_law(3, 2));
        assert!(asked_by_law(3, 1) != asked_by_law(4, 1));
    }
}
