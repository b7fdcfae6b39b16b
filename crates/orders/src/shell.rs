//! What the verbs share: groups, waiters, keys, and the way from a command to an answer.

pub mod closed;
pub mod intake;
pub mod keys;
pub mod lease;
pub mod ledger;
pub mod personal;
pub mod room;
pub mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
pub use hansa_consensus::failure::not_read;
use hansa_consensus::failure::not_submitted;
use hansa_consensus::{Group, Host};
use hansa_node::env::{Entropy, Env};
use hansa_node::layers::Deadline;
use hansa_node::peers::Peers;
use hansa_types::id::{GroupId, OrderId, OrderName};
use hansa_types::region::{RegionName, RegionNumber};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::command::{Command, Outcome, Refused, Target};
use crate::core::contents::Contents;
use crate::core::lasting::{self, Blind};
use crate::core::order::Order;
use crate::core::state::State;
use crate::machine::OrdersMachine;
use crate::map::Map;
use crate::replicate::{Freshness, Heard};
use crate::saga::Hold;
use crate::vault::{Keyring, Vault};
use closed::Answered;
use intake::Intake;
use lease::Lease;
use room::Room;
use waiters::{Waiters, Want};

/// A call without a deadline is given this.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// What a wait leaves of the caller's deadline for the answer's way back.
const ANSWER_RESERVE: Duration = Duration::from_millis(100);

pub struct Shell {
    pub cfg: Config,
    pub env: Env,
    pub peers: Peers,
    pub map: Map,
    pub vault: Arc<dyn Vault>,
    pub keyring: Keyring,
    /// Wakes who looks after keys, when there is something to do.
    pub keys_changed: Arc<tokio::sync::Notify>,
    pub region: RegionName,
    pub number: RegionNumber,
    /// The orders groups that this node hosts, by index.
    pub groups: BTreeMap<u16, Arc<Hosted>>,
    pub freshness: Freshness,
    pub heard: Heard,
    /// Former homes that place no orders of who lives here by now.
    pub closed: Answered,
    /// What keeps this node's groups, and the heads of other regions' chains.
    pub host: Host,
    /// Cancelled when this node is about to stop: streams end here and go on elsewhere.
    pub closing: CancellationToken,
    /// For orders that gateways bring on streams.
    pub room: Room,
}

/// One orders group on this node.
pub struct Hosted {
    pub group: Group<OrdersMachine>,
    pub waiters: Waiters,
    /// Whether this node's vault is known to be the group's.
    pub trusted: watch::Sender<Trust>,
    /// Pauses between steps, for cuts of the region.
    pub hold: Hold,
    /// How many new orders may be under way through this node.
    pub intake: Intake,
    /// Whether this region may take writes.
    pub lease: Lease,
    /// For what blinds commands.
    pub entropy: Arc<dyn Entropy>,
}

/// What this node's vault is to a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// The group is bound to none yet, or this node does not know to which.
    Unbound,
    Ours,
    /// Not to be used now: without the region key in use, or without an answer. An operator reads
    /// what to do.
    Lacks(String),
}

/// When a call whose outcome is not known here is to be repeated: another node knows.
const SOON: Duration = Duration::from_millis(100);
/// An election takes no longer, as a rule.
const LEADERLESS_MAX: Duration = Duration::from_millis(1_000);

/// When a call is due.
pub fn deadline<T>(request: &tonic::Request<T>) -> Instant {
    // tonic's extensions are the http ones, layer by layer.
    let due = request.extensions().get::<Deadline>().copied();
    due.unwrap_or_else(|| Deadline::after(DEADLINE_DEFAULT)).0
}

/// When a wait must end so that the answer still reaches the caller.
pub fn answer_by(deadline: Instant) -> Instant {
    deadline.checked_sub(ANSWER_RESERVE).unwrap_or(deadline)
}

/// The caller's name: the last part of its SPIFFE path.
pub fn caller(principal: &Principal) -> String {
    principal.id.as_str().rsplit('/').next().unwrap_or_default().to_owned()
}

impl Shell {
    /// # Errors
    /// `NOT_LEADER` with a member's name when this node does not host the group; without a name
    /// while it is not known that its vault is the group's, so that the caller looks on;
    /// `GROUP_STOPPED` where damage keeps it from serving.
    pub fn hosted(&self, group: GroupId) -> Result<&Arc<Hosted>, Failure> {
        let Some(hosted) = self.groups.get(&group.index()) else {
            if self.host.stopped(group).is_some() {
                return Err(Failure::of(Reason::GroupStopped));
            }
            let member = self.map.members(group).first().copied();
            return Err(Failure::not_leader(member));
        };
        match hosted.trusts() {
            true => Ok(hosted),
            false => Err(Failure::not_leader(None)),
        }
    }

    /// The group that keeps an order which this region owns.
    ///
    /// # Errors
    /// `HOME_MOVING` for one that another region owns by now: whoever asked here lags behind.
    pub fn home_of(&self, id: OrderId) -> Result<&Arc<Hosted>, Failure> {
        let hosted = self.hosted(self.map.orders_group(id.slot())?)?;
        let owner = self.map.now()?.owners.get(&id.region()).map(|of| of.owner);
        match hosted.group.peek(|machine| machine.state.looks_elsewhere(id.region(), owner)) {
            true => Err(refusal(Refused::NotOwner)),
            false => Ok(hosted),
        }
    }

    /// The order's id and group, its name checked.
    pub fn find(&self, name: &OrderName) -> Result<(OrderId, &Arc<Hosted>), Failure> {
        let id = self.map.check_name(name)?;
        Ok((id, self.home_of(id)?))
    }
}

impl Hosted {
    /// The office that this node holds in the group, if it does.
    pub fn office(&self) -> Option<u64> {
        self.group.leadership().borrow().office()
    }

    pub fn trusts(&self) -> bool {
        *self.trusted.borrow() == Trust::Ours
    }

    /// Waits until this node's vault is known to be the group's.
    pub async fn trusting(&self) {
        // The sender lives as long as this group: waiting cannot fail.
        let _ = self.trusted.subscribe().wait_for(|trusted| *trusted == Trust::Ours).await;
    }

    /// Commits a command; `Err` is a failure of the way, a refusal is an outcome.
    pub async fn submit(&self, command: &Command, deadline: Instant) -> Result<Outcome, Failure> {
        let blind = || {
            let mut blind = Blind::default();
            self.entropy.fill(&mut blind);
            blind
        };
        let bytes = bytes::Bytes::from(lasting::to_log(command, blind));
        let submit = async {
            let done = self.group.submit(bytes, deadline).await;
            done.map_err(|error| not_submitted(error, deadline))
        };
        match lease::birth_of(command) {
            Some(birth) => self.lease.during(birth, submit).await,
            None => submit.await,
        }
    }

    /// Commits a keyed command.
    ///
    /// # Errors
    /// The way's failures and the machine's refusals, as the caller hears them.
    pub async fn request(
        &self,
        command: Command,
        sent: Sent,
        deadline: Instant,
    ) -> Result<(Target, bool), Failure> {
        self.answered(self.submit(&self.dated(command, sent), deadline).await?)
    }

    /// The command as the machine wants it: only one that doubts asks when it was first sent.
    pub fn dated(&self, command: Command, Sent(sent): Sent) -> Command {
        let asks = self.group.peek(|machine| machine.state.asks_when_sent());
        match sent.filter(|_| asks) {
            Some(first_sent_ms) => Command::Dated { first_sent_ms, command: Box::new(command) },
            None => command,
        }
    }

    /// What a keyed command came to, and whether it was a repeat.
    ///
    /// # Errors
    /// The machine's refusal, as the caller hears it.
    pub fn answered(&self, outcome: Outcome) -> Result<(Target, bool), Failure> {
        match outcome {
            Outcome::Done(target) => Ok((target, false)),
            Outcome::Replayed(target) => Ok((target, true)),
            Outcome::Refused(Refused::InDoubt) => Err(self.doubt()),
            Outcome::Refused(why) => Err(refusal(why)),
            Outcome::Received(_)
            | Outcome::Repair(_)
            | Outcome::Noted
            | Outcome::Erased(..)
            | Outcome::Retried(_)
            | Outcome::Adopted(_)
            | Outcome::Resolved(_) => Err(Failure::of(Reason::Internal)),
        }
    }

    /// Says what the caller can do about a request that nobody knows of.
    fn doubt(&self) -> Failure {
        let failure = refusal(Refused::InDoubt);
        let known = |machine: &OrdersMachine| {
            let State { meta, restored, births, .. } = &machine.state;
            let restored = restored.as_ref().filter(|_| machine.state.doubting());
            let own = restored.map(|now| now.since.plus_ms(meta.settings.key_ttl_ms));
            let doubts = births.iter().filter_map(|(_, row)| row.doubt.map(|doubt| doubt.until));
            let left = own.into_iter().chain(doubts).max().unwrap_or(meta.now);
            let left = left.ms().saturating_sub(meta.now.ms());
            (restored.map(|now| now.restore.clone()), left)
        };
        let (restore, left) = self.group.peek(known);
        let failure = failure.with("in_doubt_for_ms", left.to_string());
        let Some(restore) = restore else { return failure };
        failure
            .with("restored_ms", restore.restored_ms.to_string())
            .with("backup_ms", restore.cut_ms.to_string())
            .with("epoch", restore.epoch.to_string())
    }

    /// Waits until `ready` says so of the order, or until `until`; then takes what `show` makes.
    ///
    /// Level-triggered: the state is looked at after registering and after each wake, so no change
    /// is missed and none needs to be told.
    ///
    /// # Errors
    /// `HOME_MOVING` once another region goes on with the order: what becomes of it is known there.
    pub async fn when<R>(
        &self,
        id: OrderId,
        want: Want,
        until: Instant,
        ready: impl Fn(&Order, &Contents) -> bool,
        show: impl FnOnce(&Order, &Contents) -> R,
    ) -> Result<R, Failure> {
        let waiting = self.waiters.join(id, want);
        loop {
            let woken = waiting.changed();
            let known = |state: &State| {
                let (order, contents) = (state.orders.get(&id)?, state.contents.get(&id)?);
                // Nothing more becomes of what nobody goes on with.
                let rests = state.rests(id);
                Some((state.is_own(id, order) || rests, rests || ready(order, contents)))
            };
            match self.group.peek(|machine| known(&machine.state)) {
                Some((false, _)) => return Err(refusal(Refused::NotOwner)),
                Some((true, true)) => break,
                Some((true, false)) | None => {}
            }
            tokio::select! {
                biased;
                () = woken => {}
                () = tokio::time::sleep_until(until) => break,
                () = self.leaderless() => {
                    return Err(Failure::of(Reason::Unavailable).retry_after(SOON));
                }
            }
        }
        self.look(id, show)
    }

    /// The epoch in which this group came back from a backup; 0 if it never did.
    pub fn restored(&self) -> u64 {
        let epoch = |machine: &OrdersMachine| {
            machine.state.restored.as_ref().map_or(0, |restored| restored.restore.epoch)
        };
        self.group.peek(epoch)
    }

    /// # Errors
    /// `HOME_MOVING` for an order that another region goes on with.
    pub fn keeps(&self, id: OrderId) -> Result<(), Failure> {
        let left = |state: &State| {
            let former = state.orders.get(&id).is_some_and(|of| !state.is_own(id, of));
            former && !state.rests(id)
        };
        match self.group.peek(|machine| left(&machine.state)) {
            true => Err(refusal(Refused::NotOwner)),
            false => Ok(()),
        }
    }

    /// Returns once this node has known of no leader for a while: it may be cut off from those who
    /// go on, and what is waited for is not seen here before the cut is over.
    async fn leaderless(&self) {
        let mut leadership = self.group.leadership();
        loop {
            // A group that stops ends its calls by itself.
            if leadership.wait_for(|now| now.leader.is_none()).await.is_err() {
                return std::future::pending().await;
            }
            let led = leadership.wait_for(|now| now.leader.is_some());
            if tokio::time::timeout(LEADERLESS_MAX, led).await.is_err() {
                return;
            }
        }
    }

    /// What `show` makes of the order as this replica knows it.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`
    pub fn look<R>(
        &self,
        id: OrderId,
        show: impl FnOnce(&Order, &Contents) -> R,
    ) -> Result<R, Failure> {
        let look = |machine: &OrdersMachine| show_one(&machine.state, id, show);
        self.group.peek(look).ok_or_else(|| Failure::of(Reason::OrderNotFound))
    }

    /// The same as a linearizable read of what this region goes on with.
    ///
    /// # Errors
    /// See [`found`].
    pub async fn read<R>(
        &self,
        id: OrderId,
        deadline: Instant,
        show: impl FnOnce(&Order, &Contents) -> R,
    ) -> Result<R, Failure> {
        let look = |machine: &OrdersMachine| found(&machine.state, id, show);
        self.group.read(deadline, look).await.map_err(not_read)?
    }

    /// The same of what is left here, too, of an order that went on elsewhere.
    pub async fn read_left<R>(
        &self,
        id: OrderId,
        deadline: Instant,
        show: impl FnOnce(&Order, &Contents) -> R,
    ) -> Result<R, Failure> {
        let look = |machine: &OrdersMachine| known(&machine.state, id, show);
        self.group.read(deadline, look).await.map_err(not_read)?
    }
}

/// When its caller first sent a request, if he says; wall clock ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent(pub Option<u64>);

impl Sent {
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        Self(hansa_api::first_sent::read(request.metadata()))
    }
}

fn show_one<R>(state: &State, id: OrderId, show: impl FnOnce(&Order, &Contents) -> R) -> Option<R> {
    Some(show(&state.as_told(id, state.orders.get(&id)?), state.contents.get(&id)?))
}

/// # Errors
/// `HOME_MOVING` for one whose births have come or gone since it was looked at, or are about to:
/// who asks again adopts it, or is sent on. `NO_LAWFUL_REGION` for one that could not be adopted:
/// it is there, and not for this region to show.
fn found<R>(
    state: &State,
    id: OrderId,
    show: impl FnOnce(&Order, &Contents) -> R,
) -> Result<R, Failure> {
    state.withheld(id).map_or(Ok(()), |why| Err(refusal(why)))?;
    known(state, id, show)
}

fn known<R>(
    state: &State,
    id: OrderId,
    show: impl FnOnce(&Order, &Contents) -> R,
) -> Result<R, Failure> {
    show_one(state, id, show).ok_or_else(|| refusal(state.why_unknown(id)))
}

pub fn refusal(why: Refused) -> Failure {
    let reason = match why {
        Refused::Malformed => Reason::Internal,
        // The directory is on its way to who lags behind.
        Refused::NotOwner | Refused::Moved | Refused::NotAllocated => {
            return Failure::of(Reason::HomeMoving).retry_after(SOON);
        }
        Refused::RequestIdReused => {
            let why = "used before for another request";
            return Failure::field(Reason::RequestIdReused, "request_id", why);
        }
        Refused::OrderNotFound => Reason::OrderNotFound,
        // The shell draws another id before a caller hears of this.
        Refused::OrderIdTaken => Reason::Unavailable,
        Refused::NotCancellable => Reason::NotCancellable,
        Refused::NotConfirmed => {
            let failure = Failure::new(Reason::NotShippable, "the order is not confirmed");
            return failure.precondition("order", "not confirmed, or being cancelled");
        }
        Refused::NoSuchLine => {
            let why = "a stock line of the order";
            return Failure::field(Reason::LineInvalid, "lines", why);
        }
        Refused::ExceedsOrdered => Reason::NotShippable,
        Refused::ExceedsShipped => Reason::NotReturnable,
        Refused::ExceedsCaptured => Reason::NotRefundable,
        Refused::InDoubt => Reason::RequestInDoubt,
        Refused::Restoring => {
            return Failure::of(Reason::Restoring).retry_after(Duration::from_secs(1));
        }
        Refused::NotParked => {
            return Failure::new(Reason::NotFound, "no event of this order is parked");
        }
        Refused::NotKept => {
            let why = "its content is not kept here: its home is asked to ship it again";
            return Failure::new(Reason::NotFound, why);
        }
        Refused::NotAdopted => {
            let why = "its region's orders were taken over, and its copy here is not enough";
            return Failure::new(Reason::NoLawfulRegion, why);
        }
        Refused::OtherVault
        | Refused::NotRestoring
        | Refused::NotSettled
        | Refused::EpochNotNewer => Reason::Internal,
        Refused::TooMany => Reason::LineCountInvalid,
        // The shell looks again before a caller hears of this.
        Refused::KeyChanged | Refused::Shelved | Refused::ShelfChanged => Reason::Unavailable,
        Refused::Erased => Reason::CustomerErased,
        Refused::Left(_) => Reason::CustomerMoved,
        Refused::OrderOpen(_) => Reason::CustomerHasOpenOrders,
        Refused::SubjectNotFound => Reason::CustomerNotFound,
        Refused::ServedSince(_) => {
            let why = "an order from before this erasure has come home, and its customer was \
                       served here since: erase him anew, under another request_id";
            return Failure::new(Reason::FailedPrecondition, why);
        }
    };
    Failure::of(reason)
}

#[cfg(test)]
mod tests;
