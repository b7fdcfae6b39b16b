//! The purger: takes from copies what the law no longer lets this region hold.
//!
//! Level-triggered: it looks at what there is, whoever's policy changed and whatever was missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::classes::Allowed;
use hansa_api::classes::{DataClass, Lawful as _};
use hansa_api::pb::replication::OrderView;
use hansa_node::tasks::Tasks;
use hansa_region_router::book::Book;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use prost::Message;
use tokio::time::Instant;

use super::check;
use super::law::Law;
use crate::core::command::Command;
use crate::core::remote::{Copy, Held, ParkedEvent, Place, Reduced, Remote, RemoteStep, Terms};
use crate::core::subjects::{KEYS_MAX, KeyOf, KeyStep, SubjectId};
use crate::metrics;
use crate::shell::{Hosted, Shell};

/// Copies reduced by one command, and their bytes.
const REDUCED_MAX: usize = 256;
const REDUCED_BYTES_MAX: usize = 1 << 20;
const SUBMIT_MAX: Duration = Duration::from_secs(10);
/// Looks again even if nothing was heard: a purge may have failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two commands, so that orders are not held up behind a purge.
const BREATH: Duration = Duration::from_millis(10);

/// Purges one group's copies whenever this node leads it.
pub async fn run(shell: Arc<Shell>, hosted: Arc<Hosted>, book: Book) {
    let stop = shell.env.tasks.stop_token();
    let (mut changes, mut heard) = (book.changes(), shell.heard.changes());
    let mut leadership = hosted.group.leadership();
    loop {
        changes.borrow_and_update();
        heard.borrow_and_update();
        if leadership.borrow_and_update().mine {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = purge(&shell, &hosted) => {}
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            changed = heard.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// What may be held of each origin's orders.
struct Limits {
    own: Arc<Law>,
    told: BTreeMap<Place, Option<Arc<Terms>>>,
}

impl Limits {
    fn now(shell: &Shell, hosted: &Hosted) -> Option<Self> {
        let own = Law::of(&*shell.map.now().ok()?, &shell.region);
        let places = hosted.group.peek(|machine| machine.state.remote.places());
        let told = places.iter().map(|place| (*place, shell.heard.terms(*place)));
        Some(Self { own, told: told.collect() })
    }

    /// Whether either side has said something else since.
    fn stale(&self, shell: &Shell) -> bool {
        let own = shell.map.now().map_or(0, |now| now.policy.version());
        let same = |(place, was): (&Place, &Option<Arc<Terms>>)| {
            let told = shell.heard.terms(*place);
            told.map(|told| told.version) == was.as_ref().map(|was| was.version)
        };
        own != self.own.terms.version || !self.told.iter().all(same)
    }

    fn told(&self, place: Place) -> Option<&Terms> {
        self.told.get(&place)?.as_deref()
    }

    fn held(&self, place: Place, copy: Option<Country>) -> Held {
        let own = self.own.terms.of(copy);
        self.told(place).map_or(own, |told| own.within(told, copy))
    }

    fn allowed(&self, place: Place, residence: Option<Country>) -> Allowed {
        let Some(residence) = residence else { return Allowed::default() };
        match self.told(place) {
            Some(told) => check::allowed(residence, told, &self.own),
            // Nothing was told since this node took office: our own policy counts.
            None => self.own.allowed(residence).cloned().unwrap_or_default(),
        }
    }

    /// The key that a view's block is sealed with, if it may not be kept; a home's own ones only.
    fn keys(&self, place: Place, residence: Option<Country>, view: &Bytes) -> Vec<KeyOf> {
        let kept = view.is_empty() || self.allowed(place, residence).has(DataClass::Personal);
        let key = (!kept).then(|| key_of(view)).flatten();
        key.filter(|of| of.subject.home == place.0).into_iter().collect()
    }
}

async fn purge(shell: &Shell, hosted: &Hosted) {
    while let Some(limits) = Limits::now(shell, hosted) {
        let excess = hosted.group.peek(|machine| excess(&machine.state.remote, &limits));
        metrics::to_purge(hosted.group.id(), excess);
        if excess == 0 {
            return;
        }
        // A view that later writes do not change: the scan holds nobody up.
        let (copies, parked) = hosted.group.peek(|machine| {
            (machine.state.remote.copies.freeze(), machine.state.remote.parked.freeze())
        });
        let over = copies.iter().filter(|(_, copy)| {
            limits.held(copy.origin.place(), copy.shown.residence).exceeded_by(copy.shown)
        });
        let waiting = parked.iter().filter(|(_, events)| {
            let over = |p: &ParkedEvent| {
                let held = limits.held(p.origin.place(), p.event.shown.residence);
                !p.event.view.is_empty() && held.exceeded_by(p.event.shown)
            };
            events.iter().any(over)
        });
        let waiting = waiting.filter_map(|(order, events)| strip(*order, events, &limits));
        let (mut part, mut found) = (Part::default(), false);
        let over = over.filter_map(|(order, copy)| reduce(*order, copy, &limits));
        for (reduced, keys) in over.chain(waiting) {
            if part.full(&reduced) {
                if limits.stale(shell) {
                    break;
                }
                if !part.submit(hosted).await {
                    return;
                }
            }
            part.add(reduced, keys);
            found = true;
        }
        // What was found by another law counts no more: the next turn looks again.
        if limits.stale(shell) {
            continue;
        }
        if !found || !part.submit(hosted).await {
            return;
        }
    }
}

fn excess(remote: &Remote, limits: &Limits) -> u64 {
    let over = |place| remote.excess(place, |residence| limits.held(place, residence));
    remote.places().into_iter().map(over).sum()
}

/// The copy with what may stay.
fn reduce(order: OrderId, copy: &Copy, limits: &Limits) -> Option<(Reduced, Vec<KeyOf>)> {
    let place = copy.origin.place();
    let held = limits.held(place, copy.shown.residence);
    let allowed = limits.allowed(place, copy.shown.residence);
    // A customer lives under one law: what his other orders are sealed with goes as well.
    let keys = limits.keys(place, copy.shown.residence, &copy.view);
    let view = OrderView::decode(copy.view.clone()).ok();
    let view = view.filter(|_| allowed.has(DataClass::Operational)).map(|mut view| {
        view.retain_by(&allowed);
        view.encode_to_vec().into()
    });
    let terms = limits.told(place).map_or(0, |told| told.version);
    let (version, from) = (copy.version, copy.shown.terms);
    Some((Reduced { order, version, from, terms, allowed: held, view }, keys))
}

/// What opens the personal block of a view.
pub(super) fn key_of(view: &Bytes) -> Option<KeyOf> {
    let block = OrderView::decode(view.clone()).ok()?.sealed?;
    let home = RegionNumber::try_from(u16::try_from(block.home).ok()?).ok()?;
    let hash = u128::from_be_bytes(block.subject.as_ref().try_into().ok()?);
    Some(KeyOf { subject: SubjectId { home, hash }, generation: block.generation })
}

/// Only the waiting events lose their content, and what it was sealed with.
fn strip(order: OrderId, events: &[ParkedEvent], limits: &Limits) -> Option<(Reduced, Vec<KeyOf>)> {
    let first = events.first()?;
    let allowed = limits.held(first.origin.place(), first.event.shown.residence);
    let keys = events.iter().flat_map(|ParkedEvent { origin, event, .. }| {
        limits.keys(origin.place(), event.shown.residence, &event.view)
    });
    // No copy has this version: it stays as it is.
    let reduced = Reduced { order, version: 0, from: 0, terms: 0, allowed, view: None };
    Some((reduced, keys.collect()))
}

#[derive(Default)]
struct Part {
    reduced: Vec<Reduced>,
    /// Keys of blocks that go.
    keys: Vec<KeyOf>,
    bytes: usize,
}

impl Part {
    fn full(&self, next: &Reduced) -> bool {
        let more = next.view.as_ref().map_or(0, Bytes::len);
        let full = self.bytes + more > REDUCED_BYTES_MAX || self.reduced.len() == REDUCED_MAX;
        full && !self.reduced.is_empty()
    }

    fn add(&mut self, next: Reduced, keys: Vec<KeyOf>) {
        self.keys.extend(keys);
        self.bytes += next.view.as_ref().map_or(0, Bytes::len);
        self.reduced.push(next);
    }

    /// `false` when this is not the place to go on.
    async fn submit(&mut self, hosted: &Hosted) -> bool {
        let part = std::mem::take(self);
        if part.reduced.is_empty() {
            return true;
        }
        // Keys first: a crash between the two leaves blocks that nobody opens, never the reverse.
        let keys = part.keys.chunks(KEYS_MAX).map(|keys| KeyStep::GiveBack(keys.to_vec()));
        let purge = Command::Remote(RemoteStep::Purge(part.reduced));
        for command in keys.map(Command::Keys).chain([purge]) {
            if hosted.submit(&command, Instant::now() + SUBMIT_MAX).await.is_err() {
                return false;
            }
        }
        tokio::time::sleep(BREATH).await;
        true
    }
}

/// Starts the purger of a group.
pub fn start(tasks: &Tasks, shell: Arc<Shell>, hosted: Arc<Hosted>, book: Book) {
    let name = format!("{}-purger", hosted.group.id());
    tasks.spawn(name, hansa_node::tasks::OnError::StopNode, run(shell, hosted, book));
}
