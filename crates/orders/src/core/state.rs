//! The state of one orders group: tables, counters, and the indexes rebuilt from them.

pub(in crate::core) mod calls;
mod copies;
mod digests;
mod former;
pub mod listing;
mod place;
mod policy;
mod times;
mod verbs;

use std::collections::{BTreeMap, BTreeSet};

use hansa_pages::Table;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

pub use self::calls::booking;
pub use self::digests::restored_digest;
use self::listing::Listed;
use self::times::Times;
use super::command::{Command, Outcome, Refused};
use super::contents::Contents;
use super::effect::Report;
use super::keys::Keys;
use super::moves::Moves;
use super::near::{self, Near};
use super::order::{Change, Done, Order};
use super::remote::Remote;
use super::repair::Repairs;
use super::restored::Restored;
use super::saga::{self, Now};
use super::settings::Settings;
use super::shelf::OrderShelf;
use super::shelf::leave::Ready;
use super::status::Face;
use super::subjects::{Next, Owed, RegionKey, SubjectId, SubjectRow, Subjects};
use super::takeover::Births;

/// Timers looked at in one step, so that an entry after a long silence stays short.
const TIMERS_MAX: usize = 4_096;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Meta {
    pub settings: Settings,
    /// The LogTime of the last entry.
    pub now: LogTime,
    pub next_work: u64,
    /// The last published event.
    pub seq: u64,
    /// The vault that this group's blocks and fingerprints are made with; never another once set.
    pub vault: Option<u64>,
    /// The region key that new and re-wrapped data keys are under.
    pub wraps: Option<RegionKey>,
    /// The newest region key that wrapped what is erased or given back.
    pub erased_under: Option<RegionKey>,
    /// Events that are no order's: each says that a customer was forgotten.
    pub erasures: u64,
    /// The newest residency policy by which something was placed here, and since when.
    pub policy: u64,
    pub policy_since: LogTime,
    /// Events of former orders whose records made room for what came back of them.
    pub superseded: u64,
    /// Events of orders that left hot state.
    pub left_versions: u64,
    /// How often something was taken that the law does not let this region hold any more. What lay
    /// on a replica's disk before the last time is to be forgotten there.
    pub purges: u64,
}

pub struct State {
    pub meta: Meta,
    pub contents: Table<OrderId, Contents>,
    pub orders: Table<OrderId, Order>,
    pub keys: Keys,
    pub remote: Remote,
    pub subjects: Subjects,
    pub repairs: Repairs,
    /// There once the group came back from a backup.
    pub restored: Option<Restored>,
    pub births: Births,
    pub moves: Moves,
    /// Customers to be forgotten once an order of theirs has ended.
    pub owed: Table<SubjectId, Owed>,
    /// What left.
    pub shelf: OrderShelf,
    /// Outstanding steps in the order they were decided.
    work: BTreeMap<u64, OrderId>,
    timers: BTreeSet<(LogTime, OrderId)>,
    /// Each order under its last event: what a follower that knows up to n still lacks.
    by_seq: BTreeMap<u64, OrderId>,
    /// All orders, by when they were created.
    by_age: BTreeSet<Listed>,
    parked: BTreeSet<OrderId>,
    /// What may leave once nothing has happened to it for long enough.
    pub(in crate::core) ready: Ready,
    /// When the events of this group were made.
    pub times: Times,
    /// Whether the books of its index are in the group's own log: so it began, and so it is.
    pub keeps_books: bool,
}

impl State {
    pub fn new(settings: Settings) -> Self {
        let meta = Meta {
            settings,
            now: LogTime::ZERO,
            next_work: 0,
            seq: 0,
            vault: None,
            wraps: None,
            erased_under: None,
            erasures: 0,
            policy: 0,
            policy_since: LogTime::ZERO,
            superseded: 0,
            left_versions: 0,
            purges: 0,
        };
        Self::rebuild(
            meta,
            Table::new("contents"),
            Table::new("orders"),
            Keys::new(),
            Remote::new(),
            Table::new("subjects"),
        )
    }

    /// The state with its indexes made anew from the tables.
    pub fn rebuild(
        meta: Meta,
        contents: Table<OrderId, Contents>,
        orders: Table<OrderId, Order>,
        keys: Keys,
        remote: Remote,
        subjects: Table<SubjectId, SubjectRow>,
    ) -> Self {
        let (mut work, mut timers) = (BTreeMap::new(), BTreeSet::new());
        let (mut by_seq, mut parked) = (BTreeMap::new(), BTreeSet::new());
        let by_age = orders.iter().map(|(id, order)| Listed::of(*id, order)).collect();
        for (id, order) in orders.iter() {
            work.extend(order.work.iter().map(|work| (work.no, *id)));
            timers.extend(order.wake.map(|at| (at, *id)));
            by_seq.insert(order.last_seq, *id);
            parked.extend(order.parked.as_ref().map(|_| *id));
        }
        let whose = contents.iter().filter_map(|(id, contents)| {
            Some((contents.sealed_with.subject, Listed::of(*id, orders.get(id)?)))
        });
        let subjects = Subjects::rebuild(subjects, whose);
        let times = Times::rebuild(orders.iter().map(|(_, order)| order), (meta.seq, meta.now));
        let restored = None;
        let mut state = Self {
            meta,
            contents,
            orders,
            keys,
            remote,
            subjects,
            repairs: Repairs::new(),
            restored,
            births: Births::new(),
            moves: Moves::new(),
            owed: Table::new("owed"),
            shelf: OrderShelf::new(),
            ready: Ready::default(),
            work,
            timers,
            by_seq,
            by_age,
            parked,
            times,
            keeps_books: false,
        };
        state.ready = state.ready_of_tables();
        state
    }

    /// What time alone brings; once per entry, before its commands.
    pub fn advance(&mut self, at: LogTime) {
        self.meta.now = self.meta.now.max(at);
        self.keys.expire(at, self.meta.settings.key_ttl_ms);
        let due = self.timers.iter().take_while(|(when, _)| *when <= at).take(TIMERS_MAX);
        for (_, id) in due.copied().collect::<Vec<_>>() {
            self.change(id, at, Near::none(), saga::on_time);
        }
        self.let_leave(at);
        self.times.note(self.meta.seq, at);
    }

    pub fn next_due(&self) -> Option<LogTime> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.next_leaving()).min()
    }

    pub fn apply(&mut self, at: LogTime, command: Command) -> Outcome {
        self.apply_with(at, command, Near::none())
    }

    /// The same, with the books that are in the group's own log.
    pub fn apply_with(&mut self, at: LogTime, command: Command, near: Near<'_>) -> Outcome {
        let command = match self.under_policy(at, command) {
            Ok(command) => command,
            Err(outcome) => return outcome,
        };
        let (resident, command) = match command {
            Command::Resident { epoch, command } => (epoch, *command),
            plain => (0, plain),
        };
        let (first_sent_ms, command) = match command {
            Command::Dated { first_sent_ms, command } => (Some(first_sent_ms), *command),
            plain => (None, plain),
        };
        let minted = match &command {
            Command::Accept(accept) => {
                accept.mint.clone().map(|minted| (accept.contents.sealed_with.subject, minted))
            }
            _ => None,
        };
        let refused = self.not_owned(&command);
        let refused = refused.or_else(|| self.lives_elsewhere(&command, resident));
        let outcome = match refused.or_else(|| self.unanswerable(&command, first_sent_ms)) {
            Some(why) => Outcome::Refused(why),
            None => self.act(at, command, near),
        };
        // A person who got no order, and whom no erasure will find: the log has the block and its
        // key. One that only lost a race comes again under the customer's own key.
        if let (Outcome::Refused(why), Some((subject, minted))) = (&outcome, minted)
            && (*why != Refused::KeyChanged || !self.subjects.has_room(subject))
        {
            self.logged(&minted);
        }
        self.times.note(self.meta.seq, at);
        outcome
    }

    fn act(&mut self, at: LogTime, command: Command, near: Near<'_>) -> Outcome {
        match command {
            // Once is enough: a date says nothing twice.
            Command::Dated { .. } | Command::UnderPolicy { .. } | Command::Resident { .. } => {
                Outcome::Refused(Refused::Malformed)
            }
            Command::Restore(step) => self.restore_step(at, step),
            Command::Accept(accept) => self.accept(at, *accept, near),
            Command::Report(reports) => self.report(at, reports, near),
            Command::Cancel { order, key, reason } => self.cancel(at, order, key, reason, near),
            Command::Ship { order, key, lines, note } => {
                self.ship(at, order, key, (lines, note), near)
            }
            Command::Return { order, key, lines, note } => {
                self.take_back(at, order, key, (&lines, note), near)
            }
            Command::Refund { order, key, amount_minor, note } => {
                self.refund(at, order, key, (amount_minor, note), near)
            }
            Command::Resume { order } => self.resume(at, order),
            Command::Keys(step) => self.key_step(at, step),
            Command::Erase(erase) => self.erase(at, erase),
            Command::ApplyRemote(mut batch) => {
                let origin = batch.origin;
                batch.events.retain(|event| !self.is_late(origin, event));
                Outcome::Received(self.remote.apply(at, &batch))
            }
            Command::BindVault { vault } => match *self.meta.vault.get_or_insert(vault) == vault {
                true => Outcome::Noted,
                false => Outcome::Refused(Refused::OtherVault),
            },
            Command::ResolveRemote { order, keep_mine } => {
                self.resolve_remote(at, order, keep_mine)
            }
            Command::Remote(step) => self.remote_step(at, step),
            Command::Repair(step) => self.repair_step(at, step),
            Command::Takeover(step) => self.takeover_step(at, step, near),
            Command::Moves(step) => self.move_step(at, step),
            Command::Shelf(step) => self.shelf_step(step, &near),
        }
    }

    fn report(&mut self, at: LogTime, reports: Vec<Report>, mut near: Near<'_>) -> Outcome {
        for Report { order, no, result } in reports {
            // Late or repeated: spares the copy of a record that would not change.
            if self.work.get(&no) == Some(&order) {
                self.change(order, at, near.lend(), |order, contents, now| {
                    let result = near::finish(order, contents, no, result, now);
                    saga::on(order, contents, no, result, now);
                });
            }
        }
        Outcome::Noted
    }

    /// Changes one order, has near books do what that decided, publishes an event if it shows, and
    /// keeps the indexes in step.
    fn change<R>(
        &mut self,
        id: OrderId,
        at: LogTime,
        mut near: Near<'_>,
        how: impl FnOnce(&mut Order, &Contents, &mut Now<'_>) -> R,
    ) -> Option<R> {
        // Of births that may not change here nothing does, whoever asks.
        if !self.moves(id, self.orders.get(&id)?) {
            return None;
        }
        self.unready(id);
        let contents = self.contents.get(&id)?;
        let begins = self.begins_now(id);
        let Meta { settings, next_work, seq, .. } = &mut self.meta;
        let forgot = self.restored.as_ref().map(|of| (of.seq_upto, of.restore.epoch));
        let first_new = *next_work + 1;
        let (mut old_work, mut old_wake, mut old_seq) = (Vec::new(), None, 0);
        let result = self.orders.update(&id, |order| {
            old_work.extend(order.work.iter().map(|work| work.no));
            (old_wake, old_seq) = (order.wake, order.last_seq);
            let mut now = Now { at, id, settings, next_work, near: near.lend() };
            let result = how(order, contents, &mut now);
            if begins {
                near::settle(order, contents, first_new, &mut now);
            }
            let from = order.version;
            publish(order, contents, at, seq, settings.history_max);
            // What it told of this order after the backup begins at the same version.
            let forgot = forgot.filter(|(upto, _)| old_seq <= *upto && order.version > from);
            if let Some((_, epoch)) = forgot {
                order.fork_again(epoch, settings.region, from);
            }
            result
        })?;
        let order = self.orders.get(&id)?;
        for no in old_work.into_iter().filter(|no| order.work.iter().all(|work| work.no != *no)) {
            self.work.remove(&no);
        }
        let added = order.work.iter().filter(|work| work.no >= first_new);
        self.work.extend(added.map(|work| (work.no, id)));
        if old_wake != order.wake {
            old_wake.map(|at| self.timers.remove(&(at, id)));
            order.wake.map(|at| self.timers.insert((at, id)));
        }
        if old_seq != order.last_seq {
            self.by_seq.remove(&old_seq);
            self.by_seq.insert(order.last_seq, id);
        }
        match order.parked {
            Some(_) => self.parked.insert(id),
            None => self.parked.remove(&id),
        };
        self.ready_again(id);
        Some(result)
    }

    /// Work and timers of orders that may not change here are not looked for.
    pub(super) fn unindex(&mut self) {
        let still = |state: &Self, id: &OrderId| {
            state.orders.get(id).is_some_and(|order| state.moves(*id, order))
        };
        let work = std::mem::take(&mut self.work);
        let timers = std::mem::take(&mut self.timers);
        self.work = work.into_iter().filter(|(_, id)| still(self, id)).collect();
        self.timers = timers.into_iter().filter(|(_, id)| still(self, id)).collect();
    }

    /// Births whose orders may change again.
    pub(super) fn reindex(&mut self, birth: RegionNumber) {
        let again =
            |(id, order): &(&OrderId, &Order)| id.region() == birth && self.moves(**id, order);
        let (mut work, mut timers) = (Vec::new(), Vec::new());
        for (id, order) in self.orders.iter().filter(again) {
            work.extend(order.work.iter().map(|work| (work.no, *id)));
            timers.extend(order.wake.map(|at| (at, *id)));
        }
        self.work.extend(work);
        self.timers.extend(timers);
    }

    /// With the births that a checkpoint had.
    pub fn with_births(mut self, births: Births) -> Self {
        self.births = births;
        self.unindex();
        self
    }

    /// Adds a new order with its first event.
    pub(super) fn insert(
        &mut self,
        at: LogTime,
        id: OrderId,
        contents: Contents,
        mut order: Order,
    ) {
        let history_max = self.meta.settings.history_max;
        publish(&mut order, &contents, at, &mut self.meta.seq, history_max);
        self.bring(id, contents, order);
    }

    /// What the next order of a subject is sealed with.
    pub fn next_key(&self, subject: SubjectId) -> Next {
        self.subjects.next(subject, self.meta.wraps, self.meta.settings.epoch)
    }

    pub fn outstanding(&self, no: u64) -> bool {
        self.work.contains_key(&no)
    }

    /// Outstanding steps up to number `upto`, with their orders.
    pub(super) fn work_of_upto(&self, upto: u64) -> impl Iterator<Item = (&u64, &OrderId)> {
        self.work.range(..=upto)
    }

    pub fn work_len(&self) -> usize {
        self.work.len()
    }

    pub fn parked(&self) -> impl Iterator<Item = &OrderId> {
        self.parked.iter()
    }

    /// Orders that changed after event `after`, each once, under its last event.
    pub fn changed_after(&self, after: u64) -> impl Iterator<Item = (u64, OrderId)> {
        self.by_seq.range(after + 1..).map(|(seq, id)| (*seq, *id))
    }

    /// A new order with the steps that it begins with, those that near books do done.
    pub(in crate::core) fn begun(
        &mut self,
        (id, at): (OrderId, LogTime),
        contents: &Contents,
        mut near: Near<'_>,
        how: impl FnOnce(&mut Now<'_>) -> Order,
    ) -> Order {
        let begins = self.begins_now(id);
        let Meta { settings, next_work, .. } = &mut self.meta;
        let first = *next_work + 1;
        let mut now = Now { at, id, settings, next_work, near: near.lend() };
        let mut order = how(&mut now);
        if begins {
            near::settle(&mut order, contents, first, &mut now);
        }
        order
    }
}

/// Gives the order's change the group's next sequence, if a caller can see that it changed.
fn publish(order: &mut Order, contents: &Contents, at: LogTime, seq: &mut u64, max: u16) {
    let face = order.face(contents);
    if order.history.last().is_some_and(|last| last.face == face) {
        return;
    }
    tell(order, face, at, seq, max);
}

fn tell(order: &mut Order, face: Face, at: LogTime, seq: &mut u64, max: u16) {
    *seq += 1;
    order.version += 1;
    order.last_seq = *seq;
    order.updated = at;
    let version = order.version;
    let show = |state: &Done, shown: &mut u64| {
        if *state == Done::Done && *shown == 0 {
            *shown = version;
        }
    };
    let moved = order.shipments.iter_mut().chain(&mut order.returns);
    moved.for_each(|movement| show(&movement.state, &mut movement.version));
    order.refunds.iter_mut().for_each(|refund| show(&refund.state, &mut refund.version));
    if order.history.len() >= usize::from(max) {
        order.history.remove(0);
    }
    order.history.push(Change { version, seq: *seq, at, face });
}
