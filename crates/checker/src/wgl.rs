//! Is there an order in which all this could have happened, one thing at a time?
//!
//! The search of Wing & Gong with Lowe's memoisation, in its breadth-first, just-in-time form: time
//! is walked once; the set of *configurations* (which of the pending entries have taken effect, and
//! the state that this led to) is kept; when an entry's time is up, every configuration is extended
//! by pending entries until that one has taken effect, and those in which it cannot are dropped. No
//! configuration left: the entries begun so far cannot be explained, and no shorter prefix fails.
//! Delaying every effect to the last moment loses nothing, because what has not taken effect yet
//! may still do so anywhere before its own deadline.
//!
//! An entry without a deadline is an unknown outcome: it may take effect at any time after it was
//! begun, or never. Entries may depend on each other ([`Entry::after`], [`Entry::not_with`]), so
//! that one request whose effect comes in steps is several entries.
//!
//! Where no pending entry can be refused, and only some of them observe the state
//! ([`Model::observes`]), the others commute, and the search leaves out what cannot matter: an
//! entry that observes nothing happens at its deadline or just before an observation; what happens
//! between two observations is a set, not a sequence; and of two configurations with one state the
//! one that has used up less is enough, for it can do the rest at any moment and lose nothing.
//!
//! Where one measure could fall so far that something is refused ([`Model::room`]), most of this
//! still holds: what only lowers it can always wait; what raises it may come first (`search/kinds`
//! says of which entries that is true); and what comes to nothing between two observations (held
//! and released again) may be left out. So an outage that leaves dozens of outcomes unknown costs
//! their counts, not their subsets. Two such measures at once are searched the long way.
//!
//! All of this is tried first with a few configurations at a time, in the hope of an explanation.
//!
//! # Source
//! Wing & Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for
//! Linearizability" (2017), §3.2 (just-in-time linearization) and §3.4 (memoisation).
//! P-compositionality (one history per key, Horn & Kroening 2015) is the models' business.

mod mask;
mod search;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::hash::Hash;

/// What a kind of object does, one thing at a time.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Op: Clone + Debug;

    fn initial(&self) -> Self::State;

    /// Adds every state that `op` may lead to; none: it cannot happen here.
    fn step(&self, state: &Self::State, op: &Self::Op, next: &mut Vec<Self::State>);

    /// What `op` adds to each measure of the state, wherever it happens.
    fn adds(&self, _op: &Self::Op) -> Measures {
        Measures::default()
    }

    /// Whether `op` could happen once pending ops have changed each measure by something between
    /// `least` and `most`. Where it could not, the search does not look further.
    fn may(
        &self,
        _state: &Self::State,
        _op: &Self::Op,
        _least: &Measures,
        _most: &Measures,
    ) -> bool {
        true
    }

    /// Whether `op` happens or not depending on the state in another way than by a lower bound on
    /// the measures. What does not observe changes the state by what it [`Model::adds`], wherever
    /// it happens: such ops commute.
    fn observes(&self, _op: &Self::Op) -> bool {
        true
    }

    /// How far each measure may fall before an op is refused that lowers it and does not observe,
    /// [`NO_FLOOR`] where none is; such ops are refused for nothing else. `None`: the model does
    /// not say.
    fn room(&self, _state: &Self::State) -> Option<Measures> {
        None
    }
}

/// Configurations of one state that are followed, and of each as many ways on, one try after the
/// other. An outage at a key that is nearly sold out leaves more than a million ways to each read,
/// and almost any does.
const BEAMS: [usize; 4] = [8, 2, 32, 128];

/// Numbers of a state that ops add to; what a model does not use stays 0.
pub type Measures = [i64; 5];

/// The room of a measure that may fall as far as it likes.
pub const NO_FLOOR: i64 = i64::MAX;

/// One thing that took effect, or may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<Op> {
    pub op: Op,
    pub invoked: u64,
    /// Until when it took effect, if it did; `None`: at any time.
    pub by: Option<u64>,
    pub need: Need,
    /// It can take effect only after this entry has. An earlier place in the list.
    pub after: Option<usize>,
    /// It cannot take effect once this entry has, nor the other way round.
    pub not_with: Option<usize>,
    /// Which others it is like.
    pub twin: Option<Twin>,
}

/// Whether an entry must have taken effect by its deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    Always,
    Never,
    /// Only if that entry did. An earlier place in the list.
    IfDone(usize),
    /// Only if the first did and the second did not.
    IfDoneWithout(usize, usize),
}

/// Entries of one class can stand for each other from here on: same effect, same need, nothing
/// else rests on them but entries that are twins of each other as well. Of those that are pending
/// only the one with the least `rank` (deadline) is tried: any explanation that takes another
/// first is still one after the two are exchanged. Without this, many unknown outcomes of one kind
/// cost a power of two.
///
/// Deadlines within a class may differ where every entry, and every one that follows from it, must
/// take effect; and where what may be left out can be handed over: whoever must be over first goes
/// first, and at its deadline another takes its place between two instants, and nobody sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Twin {
    pub class: u64,
    pub rank: u64,
}

impl<Op> Entry<Op> {
    /// An entry that took effect between the two instants.
    pub fn done(op: Op, invoked: u64, by: u64) -> Self {
        let (by, need) = (Some(by), Need::Always);
        Self { op, invoked, by, need, after: None, not_with: None, twin: None }
    }

    /// One that took effect at any time after the instant, or never.
    pub fn open(op: Op, invoked: u64) -> Self {
        Self { by: None, need: Need::Never, ..Self::done(op, invoked, 0) }
    }

    #[must_use]
    pub fn after(self, entry: usize) -> Self {
        Self { after: Some(entry), ..self }
    }

    #[must_use]
    pub fn not_with(self, entry: usize) -> Self {
        Self { not_with: Some(entry), ..self }
    }

    #[must_use]
    pub fn needed(self, need: Need) -> Self {
        Self { need, ..self }
    }

    #[must_use]
    pub fn twin(self, class: u64, rank: u64) -> Self {
        Self { twin: Some(Twin { class, rank }), ..self }
    }
}

/// A number for what twins have in common.
pub fn class(of: &impl Debug) -> u64 {
    let text = format!("{of:?}");
    // FNV-1a: two classes that fell together would be a wrong verdict, at 2^-64.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// An order exists. `steps`: what the search cost.
    Explained {
        steps: u64,
    },
    Refuted(Refuted),
    /// More steps than the budget, or more pending entries than fit.
    GaveUp {
        why: String,
    },
}

/// The shortest prefix that has no explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refuted {
    /// The entry whose time was up and which could not have taken effect.
    pub entry: usize,
    /// When its time was up: entries invoked before are the prefix.
    pub at: u64,
    /// States that the prefix without it could have led to; a few.
    pub states: Vec<String>,
}

/// Looks for an explanation of all entries in at most `budget` steps.
///
/// Instants at which one entry ends and another begins at once are taken as overlapping.
pub fn check<M: Model>(model: &M, entries: &[Entry<M::Op>], budget: u64) -> Found {
    // An explanation is one, however few ways were looked at; that there is none needs them all.
    let few = |beam| search::Search::new(model, entries, budget / 8, beam).run();
    let found = BEAMS.into_iter().map(few).find(|found| matches!(found, Found::Explained { .. }));
    found.unwrap_or_else(|| whole(model, entries, budget))
}

/// The same without a look at few of them first.
pub(crate) fn whole<M: Model>(model: &M, entries: &[Entry<M::Op>], budget: u64) -> Found {
    search::Search::new(model, entries, budget, usize::MAX).run()
}
