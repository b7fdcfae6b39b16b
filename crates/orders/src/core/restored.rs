//! A group that came back from a backup: what it cannot know, and what it settles before it takes
//! anything new.
//!
//! Between the backup and its loss the region went on: it answered requests, charged payments,
//! shipped goods. Of that the state knows nothing, so for the lifetime of request keys an unknown
//! request that may be older than the restore has no honest answer but "in doubt".

use std::collections::BTreeMap;

use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::command::{Command, Outcome, Refused};
use super::effect::Reference;
use super::keys::{Key, Seen};
use super::order::{Order, Provider};
use super::state::State;

/// Payments listed at most; more are said to the operator by the provider itself.
const STRAYS_MAX: usize = 10_000;

/// What a restore begins with; the same bytes on every node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Restore {
    /// The backup's id.
    pub backup: String,
    pub epoch: u64,
    /// Wall time of the backup's cut, and of the restore; ms.
    pub cut_ms: u64,
    pub restored_ms: u64,
    /// How far a client's clock may be ahead of it.
    pub skew_ms: u64,
    pub cancel_strays: bool,
}

/// How far the group has come since.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Restored {
    pub restore: Restore,
    pub since: LogTime,
    /// Steps up to this number were under way in the backup.
    pub work_upto: u64,
    /// Events up to this number are the backup's: what came after them was told, and forgotten.
    pub seq_upto: u64,
    /// Whether the provider has said what it knows.
    pub listed: bool,
    /// Payments that the provider knows and the books do not, by key.
    pub strays: BTreeMap<String, Stray>,
    /// Until then nothing new is taken.
    pub restoring: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stray {
    pub order: OrderId,
    pub reference: Reference,
    pub state: StrayState,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StrayState {
    Open,
    Cancelling,
    Cancelled,
    Kept,
}

/// A payment as the provider lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    pub key: String,
    pub order: OrderId,
    pub reference: Reference,
}

/// What happens to a restored group; commands of the shell and of operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    Begin(Box<Restore>),
    /// Some of what the provider knows; `last`: that was all of it. `looked`: orders of them that
    /// were looked for among those that left, too, and are none.
    Listed {
        found: Vec<Found>,
        last: bool,
        looked: Vec<OrderId>,
    },
    /// Of one key, or of every open payment.
    Decide {
        key: Option<String>,
        cancel: bool,
    },
    Cancelled {
        key: String,
    },
    /// Everything is settled: serve.
    End,
}

impl Restored {
    fn began(restore: Restore, since: LogTime, (work_upto, seq_upto): (u64, u64)) -> Self {
        let (listed, strays, restoring) = (false, BTreeMap::new(), true);
        Self { restore, since, work_upto, seq_upto, listed, strays, restoring }
    }

    /// Whether a request that was first sent at `ms` cannot have been seen before the restore.
    fn surely_new(&self, first_sent_ms: Option<u64>) -> bool {
        let bound = self.restore.restored_ms.saturating_add(self.restore.skew_ms);
        first_sent_ms.is_some_and(|sent| sent > bound)
    }

    fn settled(&self) -> bool {
        let open = |stray: &Stray| matches!(stray.state, StrayState::Open | StrayState::Cancelling);
        self.listed && !self.strays.values().any(open)
    }
}

impl State {
    /// Whether an unknown request may be answered with doubt only.
    pub fn doubting(&self) -> bool {
        let ttl = self.meta.settings.key_ttl_ms;
        self.restored.as_ref().is_some_and(|now| self.meta.now < now.since.plus_ms(ttl))
    }

    /// Why a keyed command is not looked at, if it is not. A key that the state knows always is.
    pub(super) fn unanswerable(
        &self,
        command: &Command,
        first_sent_ms: Option<u64>,
    ) -> Option<Refused> {
        let key = key_of(command)?;
        let (order, places) = of_order(command)?;
        let doubt = self.doubts(order.region(), key, first_sent_ms, places);
        if let Some(why) = doubt.or_else(|| self.forgotten(order, key, first_sent_ms)) {
            return Some(why);
        }
        match self.keys.seen(key) {
            Seen::Never => self.forgot(first_sent_ms),
            Seen::Same(_) | Seen::Other | Seen::Lost => None,
        }
    }

    /// Why an unknown request may be one that was forgotten with what came after the backup.
    pub fn forgot(&self, first_sent_ms: Option<u64>) -> Option<Refused> {
        let restored = self.restored.as_ref()?;
        if self.doubting() && !restored.surely_new(first_sent_ms) {
            return Some(Refused::InDoubt);
        }
        restored.restoring.then_some(Refused::Restoring)
    }

    pub(super) fn restore_step(&mut self, at: LogTime, step: Step) -> Outcome {
        if let Step::Begin(restore) = step {
            return self.begin_restore(at, *restore);
        }
        let unknown: Vec<Found> = match &step {
            Step::Listed { found, looked, .. } => {
                let stray = |found: &&Found| self.is_stray(found, looked);
                found.iter().filter(stray).cloned().collect()
            }
            _ => Vec::new(),
        };
        let open = self.open_steps();
        let Some(restored) = self.restored.as_mut().filter(|now| now.restoring) else {
            return Outcome::Refused(Refused::NotRestoring);
        };
        match step {
            Step::Begin(_) => {}
            Step::Listed { last, .. } => {
                let cancel = restored.restore.cancel_strays;
                let state = if cancel { StrayState::Cancelling } else { StrayState::Open };
                for Found { key, order, reference } in unknown {
                    if restored.strays.len() < STRAYS_MAX {
                        let stray = Stray { order, reference, state };
                        restored.strays.entry(key).or_insert(stray);
                    }
                }
                restored.listed |= last;
            }
            Step::Decide { key, cancel } => {
                let state = if cancel { StrayState::Cancelling } else { StrayState::Kept };
                let asked = |(of, stray): &(&String, &mut Stray)| {
                    let decided = match stray.state {
                        StrayState::Open => false,
                        // The provider will not: somebody else must.
                        StrayState::Cancelling => cancel,
                        StrayState::Cancelled | StrayState::Kept => true,
                    };
                    !decided && key.as_ref().is_none_or(|key| key == *of)
                };
                for (_, stray) in restored.strays.iter_mut().filter(asked) {
                    stray.state = state;
                }
            }
            Step::Cancelled { key } => {
                if let Some(stray) = restored.strays.get_mut(&key) {
                    stray.state = StrayState::Cancelled;
                }
            }
            Step::End if restored.settled() && open == 0 => restored.restoring = false,
            Step::End => return Outcome::Refused(Refused::NotRestoring),
        }
        Outcome::Noted
    }

    /// # Outcomes
    /// `EpochNotNewer` of one that is not beyond all that this group knows, of whatever births: two
    /// forks of an order would have one name.
    fn begin_restore(&mut self, at: LogTime, restore: Restore) -> Outcome {
        let rows = self.births.iter().map(|(_, row)| row.epoch);
        if restore.epoch <= rows.fold(self.meta.settings.epoch, u64::max) {
            return Outcome::Refused(Refused::EpochNotNewer);
        }
        self.meta.settings.epoch = restore.epoch;
        self.renew_births(restore.epoch);
        let upto = (self.meta.next_work, self.meta.seq);
        self.restored = Some(Restored::began(restore, at, upto));
        Outcome::Noted
    }

    /// Whether a payment belongs to this group and to no order that it knows.
    fn is_stray(&self, found: &Found, looked: &[OrderId]) -> bool {
        let settings = &self.meta.settings;
        let slot = found.order.slot().get() % settings.groups.max(1);
        slot == settings.index
            && found.order.region() == settings.region
            && !self.orders.contains(&found.order)
            && (looked.contains(&found.order) || !self.may_have_left(found.order))
    }

    /// Steps of the backup that the provider or the books have not answered since. One that is in
    /// doubt was asked: its order goes on asking, as it would without a restore.
    pub fn open_steps(&self) -> usize {
        let Some(restored) = &self.restored else { return 0 };
        let open = |(_, id): &(&u64, &OrderId)| {
            self.orders.get(id).is_some_and(|order: &Order| {
                let asked = matches!(
                    order.provider,
                    Provider::InDoubt { .. } | Provider::Cancelling { .. } | Provider::Looking
                );
                !asked && order.parked.is_none()
            })
        };
        self.work_of_upto(restored.work_upto).filter(open).count()
    }

    /// The last step that may begin now: while the provider is being asked, those of the backup.
    pub fn steps_upto(&self) -> u64 {
        let restoring = self.restored.as_ref().filter(|now| now.restoring);
        restoring.map_or(u64::MAX, |now| now.work_upto)
    }
}

/// Which order a command is about, and whether it places it.
fn of_order(command: &Command) -> Option<(OrderId, bool)> {
    match command {
        Command::Accept(accept) => Some((accept.order, true)),
        Command::Cancel { order, .. }
        | Command::Ship { order, .. }
        | Command::Return { order, .. }
        | Command::Refund { order, .. } => Some((*order, false)),
        _ => None,
    }
}

fn key_of(command: &Command) -> Option<Key> {
    match command {
        Command::Accept(accept) => Some(accept.key),
        Command::Cancel { key, .. }
        | Command::Ship { key, .. }
        | Command::Return { key, .. }
        | Command::Refund { key, .. } => Some(*key),
        _ => None,
    }
}
