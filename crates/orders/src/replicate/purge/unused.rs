//! Gives back keys of other homes' customers that nothing here needs any more.
//!
//! A purge gives back the keys of what it takes. Of what a narrower view replaced before a purge
//! came to it, or what went while it was lawful, no purge knows which key opened it: that would
//! stay, and be wrapped anew with each region key. So all that is here is looked through: behind
//! each law, behind each purge, and once in a while.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_pages::FrozenTable;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use tokio::time::Instant;

use super::{AGAIN, BREATH, Copies, Limits, READ_MAX, SUBMIT_MAX, Waiting, excess, want_again};
use crate::core::command::Command;
use crate::core::keys::{KeyRow, Scope};
use crate::core::order::Order;
use crate::core::remote::Place;
use crate::core::state::State;
use crate::core::subjects::{KEYS_MAX, KeyOf, KeyStep, SubjectId, SubjectRow};
use crate::shell::{Hosted, Shell};

/// Without a law or a purge: what was withdrawn or let go meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// Looks in a row that follow one another soon: under traffic keys come ahead of what they open
/// all the time, and each look goes through everything.
const SOON_MAX: u32 = 6;

/// By which laws, and behind which purge.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stamp {
    own: u64,
    told: Vec<(Place, Option<u64>)>,
    purges: u64,
}

/// What this office has looked at and done.
#[derive(Default)]
pub(super) struct Looked {
    last: Option<Look>,
    /// By which law keys were last given back, and when.
    gave: Option<(Stamp, Instant)>,
}

struct Look {
    by: Stamp,
    unused: BTreeSet<KeyOf>,
    /// Looks in a row since something was unused that had not been; 0 once nothing was.
    soon: u32,
    at: Instant,
}

impl Looked {
    fn due(&self, stamp: &Stamp) -> bool {
        self.last.as_ref().is_none_or(|last| {
            let soon = (1..SOON_MAX).contains(&last.soon) && !self.gave_by(stamp);
            let after = if soon { AGAIN } else { LOOK_AGAIN };
            last.by != *stamp || last.at.elapsed() >= after
        })
    }

    /// Whether some went back lately by this law: more of them wait.
    fn gave_by(&self, stamp: &Stamp) -> bool {
        let same = |gave: &Stamp| (gave.own, &gave.told) == (stamp.own, &stamp.told);
        self.gave.as_ref().is_some_and(|(by, at)| same(by) && at.elapsed() < LOOK_AGAIN)
    }

    /// Those of the unused that may go: they were unused some time ago, too, so none of them has
    /// just come ahead of what it opens. Each time costs a checkpoint and a rotation, so what keeps
    /// coming and is never used goes once in a while only.
    fn sure(&self, stamp: &Stamp, unused: &BTreeSet<KeyOf>) -> BTreeSet<KeyOf> {
        match &self.last {
            Some(last) if last.at.elapsed() >= AGAIN && !self.gave_by(stamp) => {
                last.unused.intersection(unused).copied().collect()
            }
            _ => BTreeSet::new(),
        }
    }

    fn note(&mut self, by: Stamp, unused: BTreeSet<KeyOf>, gave: bool) {
        let at = Instant::now();
        if gave {
            self.gave = Some((by.clone(), at));
        }
        let last = self.last.as_ref().filter(|last| last.by == by);
        let soon = match last {
            Some(last) if unused.is_subset(&last.unused) => 0,
            Some(last) if last.at.elapsed() < LOOK_AGAIN => last.soon.saturating_add(1),
            _ => 1,
        };
        self.last = Some(Look { by, unused, soon, at });
    }
}

/// The tables that name keys, at one moment.
struct Here {
    subjects: FrozenTable<SubjectId, SubjectRow>,
    copies: Copies,
    parked: Waiting,
    orders: FrozenTable<OrderId, Order>,
    requests: FrozenTable<Scope, KeyRow>,
}

impl Here {
    fn of(state: &State) -> Self {
        Self {
            subjects: state.subjects.table.freeze(),
            copies: state.remote.copies.freeze(),
            parked: state.remote.parked.freeze(),
            orders: state.orders.freeze(),
            requests: state.keys.table.freeze(),
        }
    }

    /// Living keys of other homes that open nothing that may stay, and compare no request.
    async fn unused(
        &self,
        limits: &Limits,
        (here, hosted): (RegionNumber, &Hosted),
    ) -> BTreeSet<KeyOf> {
        let mut unused = BTreeSet::new();
        for (n, (subject, row)) in self.subjects.iter().enumerate() {
            pause(n).await;
            if subject.home != here {
                let of = |(generation, _)| KeyOf { subject: *subject, generation };
                unused.extend(row.living().map(of));
            }
        }
        if unused.is_empty() {
            return unused;
        }
        for of in limits.kept(&self.copies, &self.parked).await {
            unused.remove(&of);
        }
        self.served(&mut unused, hosted).await;
        unused
    }

    /// Leaves those that nothing which this region took over needs: a former home's key tells
    /// repeats of what was asked there apart. Of what was erased here, or left and deleted, that is
    /// over with the requests.
    async fn served(&self, unused: &mut BTreeSet<KeyOf>, hosted: &Hosted) {
        for (n, (id, order)) in self.orders.iter().enumerate() {
            if unused.is_empty() {
                return;
            }
            pause(n).await;
            let adopted = order.adopted.iter().map(|adoption| adoption.sealed);
            let heard = order.requests.iter().filter_map(|heard| heard.under);
            let names: Vec<KeyOf> = adopted.chain(heard).filter(|of| unused.contains(of)).collect();
            let gone = || hosted.group.peek(|machine| machine.state.is_erased(*id));
            if !names.is_empty() && !gone() {
                unused.retain(|of| !names.contains(of));
            }
        }
        for (n, (_, row)) in self.requests.iter().enumerate() {
            if unused.is_empty() {
                return;
            }
            pause(n).await;
            if let Some(of) = row.under {
                unused.remove(&of);
            }
        }
    }
}

async fn pause(n: usize) {
    if n % READ_MAX == READ_MAX - 1 {
        tokio::task::yield_now().await;
    }
}

/// Looks, if that is due, once nothing exceeds the law.
pub(super) async fn give_back(shell: &Shell, hosted: &Hosted, looked: &mut Looked) {
    let Some(limits) = Limits::now(shell, hosted) else { return };
    let told = limits.told.iter().map(|(place, told)| (*place, told.as_ref().map(|t| t.version)));
    let (own, told) = (limits.own.terms.version, told.collect());
    let (purges, excess) = hosted
        .group
        .peek(|machine| (machine.state.meta.purges, excess(&machine.state.remote, &limits)));
    let stamp = Stamp { own, told, purges };
    if excess > 0 || !looked.due(&stamp) {
        return;
    }
    let here = hosted.group.peek(|machine| Here::of(&machine.state));
    let unused = here.unused(&limits, (shell.number, hosted)).await;
    drop(here);
    // What was found by another law counts no more: the next turn looks again.
    if limits.stale(shell, hosted) {
        return;
    }
    let sure = looked.sure(&stamp, &unused);
    let done = submit(hosted, &sure).await;
    want_again(shell, hosted, &limits, &sure).await;
    if done {
        looked.note(stamp, unused, !sure.is_empty());
    }
}

/// `false` when this is not the place to go on.
async fn submit(hosted: &Hosted, unused: &BTreeSet<KeyOf>) -> bool {
    let all: Vec<KeyOf> = unused.iter().copied().collect();
    for part in all.chunks(KEYS_MAX) {
        let back = Command::Keys(KeyStep::GiveBack(part.to_vec()));
        if hosted.submit(&back, Instant::now() + SUBMIT_MAX).await.is_err() {
            return false;
        }
        tokio::time::sleep(BREATH).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(own: u64, purges: u64) -> Stamp {
        Stamp { own, told: Vec::new(), purges }
    }

    fn keys(of: &[u128]) -> BTreeSet<KeyOf> {
        let home = RegionNumber::try_from(2).unwrap();
        let key = |hash| KeyOf { subject: SubjectId { home, hash }, generation: 1 };
        of.iter().map(|hash| key(*hash)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_goes_back_only_if_it_was_unused_a_while_ago_too() {
        let mut looked = Looked::default();
        assert!(looked.due(&stamp(1, 0)) && looked.sure(&stamp(1, 0), &keys(&[1, 2])).is_empty());
        looked.note(stamp(1, 0), keys(&[1, 2]), false);
        assert!(looked.due(&stamp(1, 1)), "behind a purge");
        assert!(looked.sure(&stamp(1, 1), &keys(&[1, 2])).is_empty(), "it may only just have come");
        tokio::time::sleep(AGAIN).await;
        // What the second opens has come, and the third key has.
        assert_eq!(looked.sure(&stamp(1, 0), &keys(&[1, 3])), keys(&[1]));
        looked.note(stamp(1, 0), keys(&[1, 3]), true);
        tokio::time::sleep(AGAIN).await;
        assert!(looked.sure(&stamp(1, 1), &keys(&[1, 3])).is_empty(), "it keeps coming");
        assert_eq!(looked.sure(&stamp(2, 1), &keys(&[3])), keys(&[3]), "another law");
        tokio::time::sleep(LOOK_AGAIN).await;
        assert_eq!(looked.sure(&stamp(1, 1), &keys(&[1, 3])), keys(&[1, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_found_unused_is_looked_at_again_soon() {
        let by = stamp(1, 0);
        let mut looked = Looked::default();
        for unused in [&[][..], &[]] {
            looked.note(by.clone(), keys(unused), false);
        }
        tokio::time::sleep(AGAIN).await;
        assert!(!looked.due(&by), "nothing was found twice");
        tokio::time::sleep(LOOK_AGAIN).await;
        looked.note(by.clone(), keys(&[1]), false);
        tokio::time::sleep(AGAIN).await;
        assert!(looked.due(&by), "what it opens may only be late");
        assert_eq!(looked.sure(&by, &keys(&[1])), keys(&[1]));
        looked.note(by.clone(), keys(&[1]), true);
        tokio::time::sleep(AGAIN).await;
        assert!(!looked.due(&by));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_keep_coming_are_looked_at_soon_a_few_times_only() {
        let by = stamp(1, 0);
        let mut looked = Looked::default();
        for _ in 0..2 {
            // Each comes ahead of what it opens, and that has come by the next look.
            for n in 1..=u128::from(SOON_MAX) {
                assert!(looked.due(&by), "look {n}");
                looked.note(by.clone(), keys(&[n]), false);
                tokio::time::sleep(AGAIN).await;
            }
            assert!(!looked.due(&by), "each look goes through everything");
            assert!(looked.due(&stamp(1, 1)), "behind a purge at once");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_soon_for_what_waits_for_what_went_back_lately() {
        let mut looked = Looked::default();
        looked.note(stamp(1, 0), keys(&[1]), false);
        tokio::time::sleep(AGAIN).await;
        looked.note(stamp(1, 0), keys(&[1]), true);
        // That counted as a purge.
        assert!(looked.due(&stamp(1, 1)));
        looked.note(stamp(1, 1), keys(&[2]), false);
        tokio::time::sleep(AGAIN).await;
        assert!(!looked.due(&stamp(1, 1)), "it may not go yet");
        tokio::time::sleep(LOOK_AGAIN).await;
        assert_eq!(looked.sure(&stamp(1, 1), &keys(&[2])), keys(&[2]));
    }
}
