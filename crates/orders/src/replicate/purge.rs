//! The purger: takes from copies what the law no longer lets this region hold.
//!
//! Level-triggered: it looks at what there is, whoever's policy changed and whatever was missed.
//! Keys that nothing needs any more go as well, whether it took what they open or not.

pub(crate) mod forget;
mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::classes::Allowed;
use hansa_api::classes::{DataClass, Lawful as _};
use hansa_api::pb::replication::OrderView;
use hansa_node::tasks::{OnError, Tasks};
use hansa_pages::FrozenTable;
use hansa_region_router::book::Book;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use prost::Message;
use tokio::time::Instant;

use super::check;
use super::law::Law;
use crate::core::command::Command;
use crate::core::remote::{
    Copy, Held, ParkedEvent, Place, Reduced, Reduction, Remote, RemoteStep, Shown, Terms,
};
use crate::core::subjects::{KEYS_MAX, KeyOf, KeyState, SubjectId};
use crate::metrics;
use crate::shell::{Hosted, Shell};

/// Copies reduced by one command, and their bytes.
const REDUCED_MAX: usize = 256;
const REDUCED_BYTES_MAX: usize = 1 << 20;
const SUBMIT_MAX: Duration = Duration::from_secs(10);
/// Looks again even if nothing was heard: a purge may have failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Views read in one go, for what they are sealed with.
const READ_MAX: usize = 256;
/// Between two commands, so that orders are not held up behind a purge.
const BREATH: Duration = Duration::from_millis(10);

/// Purges one group's copies whenever this node leads it.
pub async fn run(shell: Arc<Shell>, hosted: Arc<Hosted>, book: Book) {
    let stop = shell.env.tasks.stop_token();
    let (mut changes, mut heard) = (book.changes(), shell.heard.changes());
    let mut leadership = hosted.group.leadership();
    let mut looked = unused::Looked::default();
    loop {
        changes.borrow_and_update();
        heard.borrow_and_update();
        let mine = leadership.borrow_and_update().mine;
        let turn = async {
            match mine {
                true => {
                    purge(&shell, &hosted).await;
                    unused::give_back(&shell, &hosted, &mut looked).await;
                }
                false => looked = unused::Looked::default(),
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = turn => {}
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

type Copies = FrozenTable<OrderId, Copy>;
type Waiting = FrozenTable<OrderId, Vec<ParkedEvent>>;

/// What may be held of each origin's orders.
struct Limits {
    own: Arc<Law>,
    told: BTreeMap<Place, Option<Arc<Terms>>>,
}

impl Limits {
    fn now(shell: &Shell, hosted: &Hosted) -> Option<Self> {
        let own = Law::of(&*shell.map.now().ok()?, &shell.region);
        let places = hosted.group.peek(|machine| machine.state.remote.places());
        let office = hosted.office();
        let told = places.iter().map(|place| (*place, shell.heard.terms(office, *place)));
        Some(Self { own, told: told.collect() })
    }

    /// Whether either side has said something else since.
    fn stale(&self, shell: &Shell, hosted: &Hosted) -> bool {
        let office = hosted.office();
        let own = shell.map.now().map_or(0, |now| now.policy.version());
        let same = |(place, was): (&Place, &Option<Arc<Terms>>)| {
            let told = shell.heard.terms(office, *place);
            told.map(|told| told.version) == was.as_ref().map(|was| was.version)
        };
        own != self.own.terms.version || !self.told.iter().all(same)
    }

    fn told(&self, place: Place) -> Option<&Terms> {
        self.told.get(&place)?.as_deref()
    }

    /// Whether a law here is from before what a content was made by, and may take what that allowed
    /// since: who is behind takes nothing before he has caught up.
    fn behind(&self, place: Place, shown: Shown) -> bool {
        let (own, of) = (&self.own.terms, shown.residence);
        let lags = own.version < shown.terms;
        self.told(place).map_or(lags, |told| {
            told.version < shown.terms || lags && told.of(of).wider_than(own.of(of))
        })
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

    /// Whether the block of such a view, and its key, may stay.
    fn keeps(&self, place: Place, residence: Option<Country>) -> bool {
        self.allowed(place, residence).has(DataClass::Personal)
    }

    /// The key that a view's block is sealed with, if it may not be kept; a home's own ones only.
    fn keys(&self, place: Place, residence: Option<Country>, view: &Bytes) -> Vec<KeyOf> {
        let kept = view.is_empty() || self.keeps(place, residence);
        let key = (!kept).then(|| key_of(view)).flatten();
        key.filter(|of| of.subject.home == place.0).into_iter().collect()
    }

    /// What opens the copies and waiting events that may show who ordered.
    async fn kept(&self, copies: &Copies, parked: &Waiting) -> BTreeSet<KeyOf> {
        let copies = copies.iter().map(|(_, copy)| (copy.origin, copy.shown, &copy.view));
        let waiting = parked.iter().flat_map(|(_, events)| events);
        let waiting = waiting.map(|of| (of.origin, of.event.shown, &of.event.view));
        let mut kept = BTreeSet::new();
        for (n, (origin, shown, view)) in copies.chain(waiting).enumerate() {
            if n % READ_MAX == READ_MAX - 1 {
                tokio::task::yield_now().await;
            }
            let place = origin.place();
            if self.keeps(place, shown.residence) || self.behind(place, shown) {
                kept.extend(keys_of(view));
            }
        }
        kept
    }
}

async fn purge(shell: &Shell, hosted: &Hosted) {
    while let Some(limits) = Limits::now(shell, hosted) {
        let excess = hosted.group.peek(|machine| excess(&machine.state.remote, &limits));
        metrics::to_purge(hosted.group.id(), excess);
        if excess == 0 {
            break;
        }
        // A view that later writes do not change: the scan holds nobody up.
        let (copies, parked) = hosted.group.peek(|machine| {
            (machine.state.remote.copies.freeze(), machine.state.remote.parked.freeze())
        });
        let over = copies.iter().filter(|(_, copy)| {
            let (place, shown) = (copy.origin.place(), copy.shown);
            limits.held(place, shown.residence).exceeded_by(shown) && !limits.behind(place, shown)
        });
        let waiting = parked.iter();
        let waiting = waiting.flat_map(|(order, events)| strip(*order, events, &limits));
        let (mut part, mut found, mut kept) = (Part::default(), false, None);
        let mut given = BTreeSet::new();
        let over = over.map(|(order, copy)| reduce(*order, copy, &limits));
        for mut next in over.chain(waiting) {
            if !next.keys.is_empty() {
                // Another order of the customer may be under another law.
                if kept.is_none() {
                    kept = Some(limits.kept(&copies, &parked).await);
                }
                next.keys.retain(|of| kept.as_ref().is_none_or(|kept| !kept.contains(of)));
            }
            if part.full(&next) {
                if limits.stale(shell, hosted) {
                    break;
                }
                if !part.submit(hosted).await {
                    return;
                }
            }
            given.extend(&next.keys);
            part.add(next);
            found = true;
        }
        // What was found by another law counts no more: the next turn looks again.
        if limits.stale(shell, hosted) {
            want_again(shell, hosted, &limits, &given).await;
            continue;
        }
        let done = found && part.submit(hosted).await;
        want_again(shell, hosted, &limits, &given).await;
        if !done {
            break;
        }
    }
}

/// Asks again for copies that came while their key was given back.
async fn want_again(shell: &Shell, hosted: &Hosted, limits: &Limits, given: &BTreeSet<KeyOf>) {
    if given.is_empty() {
        return;
    }
    let copies: Copies = hosted.group.peek(|machine| machine.state.remote.copies.freeze());
    for (n, (order, copy)) in copies.iter().enumerate() {
        if n % READ_MAX == READ_MAX - 1 {
            tokio::task::yield_now().await;
        }
        let place = copy.origin.place();
        if !limits.keeps(place, copy.shown.residence) {
            continue;
        }
        let Some(of) = key_of(&copy.view).filter(|of| given.contains(of)) else { continue };
        if hosted.group.peek(|machine| machine.state.subjects.key(of)) == KeyState::Unknown {
            shell.heard.want(place, *order);
        }
    }
}

fn excess(remote: &Remote, limits: &Limits) -> u64 {
    let over = |place| remote.excess(place, |residence| limits.held(place, residence));
    remote.places().into_iter().map(over).sum()
}

/// The copy with what may stay.
fn reduce(order: OrderId, copy: &Copy, limits: &Limits) -> Reduction {
    let place = copy.origin.place();
    let held = limits.held(place, copy.shown.residence);
    let allowed = limits.allowed(place, copy.shown.residence);
    let keys = limits.keys(place, copy.shown.residence, &copy.view);
    let view = OrderView::decode(copy.view.clone()).ok();
    let view = view.filter(|_| allowed.has(DataClass::Operational)).map(|mut view| {
        view.retain_by(&allowed);
        view.encode_to_vec().into()
    });
    let terms = limits.told(place).map_or(0, |told| told.version);
    let (version, from) = (copy.version, copy.shown.terms);
    let of = Reduced { order, version, from, terms, allowed: held, view };
    Reduction { of, waiting: None, keys }
}

/// What opens the personal block of a view, or compares requests that came with it where there is
/// none.
pub(crate) fn key_of(view: &Bytes) -> Option<KeyOf> {
    opens(&OrderView::decode(view.clone()).ok()?)
}

fn opens(view: &OrderView) -> Option<KeyOf> {
    match &view.sealed {
        Some(block) => named(block.home, &block.subject, block.generation),
        None => {
            let subject = view.succession.as_ref()?.subject.as_ref()?;
            named(subject.home, &subject.hash, subject.generation)
        }
    }
}

/// The same, and what compares requests that were heard before it was sealed with that.
fn keys_of(view: &Bytes) -> BTreeSet<KeyOf> {
    let Ok(view) = OrderView::decode(view.clone()) else { return BTreeSet::new() };
    let opens = opens(&view);
    let heard = view.succession.iter().flat_map(|succession| &succession.requests);
    let heard = heard.filter_map(|request| match request.home {
        0 => opens.map(|of| KeyOf { generation: request.generation, ..of }),
        home => named(home, &request.key_subject, request.generation),
    });
    heard.chain(opens).collect()
}

fn named(home: u32, hash: &Bytes, generation: u32) -> Option<KeyOf> {
    let home = RegionNumber::try_from(u16::try_from(home).ok()?).ok()?;
    let hash = u128::from_be_bytes(hash.as_ref().try_into().ok()?);
    Some(KeyOf { subject: SubjectId { home, hash }, generation })
}

/// Only the waiting events lose their content, and what it was sealed with: each by the law of
/// where it came from.
fn strip(order: OrderId, events: &[ParkedEvent], limits: &Limits) -> Vec<Reduction> {
    let mut from: BTreeMap<(Place, Option<Country>), BTreeSet<KeyOf>> = BTreeMap::new();
    let shown = |of: &ParkedEvent| (of.origin.place(), of.event.shown);
    let behind = events.iter().map(shown).filter(|(place, shown)| limits.behind(*place, *shown));
    let behind: Vec<_> = behind.map(|(place, shown)| (place, shown.residence)).collect();
    for ParkedEvent { origin, event, .. } in events {
        let (place, residence) = (origin.place(), event.shown.residence);
        // All of a place and country go together.
        if behind.contains(&(place, residence)) {
            continue;
        }
        let over = limits.held(place, residence).exceeded_by(event.shown);
        if over && !event.view.is_empty() {
            let keys = limits.keys(place, residence, &event.view);
            from.entry((place, residence)).or_default().extend(keys);
        }
    }
    let stripped = |((place, residence), keys): ((Place, Option<Country>), BTreeSet<KeyOf>)| {
        let allowed = limits.held(place, residence);
        // Of no copy.
        let of = Reduced { order, version: 0, from: 0, terms: 0, allowed, view: None };
        let waiting = Some((place, residence));
        Reduction { of, waiting, keys: keys.into_iter().collect() }
    };
    from.into_iter().map(stripped).collect()
}

#[derive(Default)]
struct Part {
    reductions: Vec<Reduction>,
    keys: usize,
    bytes: usize,
}

impl Part {
    fn full(&self, next: &Reduction) -> bool {
        let more = next.of.view.as_ref().map_or(0, Bytes::len);
        let full = self.bytes + more > REDUCED_BYTES_MAX
            || self.reductions.len() == REDUCED_MAX
            || self.keys + next.keys.len() > KEYS_MAX;
        full && !self.reductions.is_empty()
    }

    fn add(&mut self, next: Reduction) {
        self.keys += next.keys.len();
        self.bytes += next.of.view.as_ref().map_or(0, Bytes::len);
        self.reductions.push(next);
    }

    /// `false` when this is not the place to go on.
    async fn submit(&mut self, hosted: &Hosted) -> bool {
        let part = std::mem::take(self);
        if part.reductions.is_empty() {
            return true;
        }
        let purge = Command::Remote(RemoteStep::Reduce(part.reductions));
        if hosted.submit(&purge, Instant::now() + SUBMIT_MAX).await.is_err() {
            return false;
        }
        tokio::time::sleep(BREATH).await;
        true
    }
}

/// Starts the purger of a group, and beside it what has this replica's disk forget.
pub fn start(tasks: &Tasks, shell: Arc<Shell>, hosted: Arc<Hosted>, book: Book) {
    let id = hosted.group.id();
    let forgetter = forget::run(shell.clone(), hosted.clone(), book.clone());
    tasks.spawn(format!("{id}-forgetter"), OnError::StopNode, forgetter);
    tasks.spawn(format!("{id}-purger"), OnError::StopNode, run(shell, hosted, book));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(version: u64, classes: u8) -> Arc<Terms> {
        let of = vec![("DE".parse().unwrap(), Held { classes, raised: 0 })];
        Arc::new(Terms { version, of })
    }

    /// Whether laws of such versions and classes take nothing from what was made under terms 5,
    /// because they are from before those.
    fn behind((own, classes): (u64, u8), told: Option<(u64, u8)>) -> bool {
        let place = (2_u16.try_into().unwrap(), 0);
        let law = Law { terms: Terms::clone(&terms(own, classes)), ..Law::default() };
        let told = told.map(|(version, classes)| terms(version, classes));
        let limits = Limits { own: Arc::new(law), told: BTreeMap::from([(place, told)]) };
        let shown = Shown {
            residence: Some("DE".parse().unwrap()),
            classes: 7,
            terms: 5,
            ..Shown::default()
        };
        assert!(limits.held(place, shown.residence).exceeded_by(shown), "there is what to take");
        limits.behind(place, shown)
    }

    #[test]
    fn who_is_behind_what_a_copy_was_made_by_takes_nothing_of_it() {
        // The law of both is known.
        assert!(
            !behind((5, 1), Some((5, 7))) && !behind((6, 1), None) && !behind((5, 7), Some((6, 1)))
        );
        // An origin's leader is back from before, or was told to a former office.
        assert!(behind((5, 7), Some((4, 1))) && behind((6, 1), Some((4, 7))));
        // This node's directory lags.
        assert!(behind((4, 1), None) && behind((4, 1), Some((5, 7))));
        // It lags, and yet the origin alone takes: here nothing less was ever allowed.
        assert!(!behind((4, 7), Some((6, 1))));
    }
}
