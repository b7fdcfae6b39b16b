//! Batches and refills into copies.

use std::cmp::Ordering;

use hansa_types::time::LogTime;

use crate::core::order::Fork;

use super::{
    Asked, Batch, Copy, Origin, ParkedWhy, Received, Refill, Remote, RemoteEvent, Sweep, Terms,
};

/// What is to become of an event.
enum Verdict {
    Take,
    /// Known, or overtaken.
    Leave,
    Park(ParkedWhy),
}

impl Copy {
    /// Whether its writer went on since from less than this, and so came back from a backup: what
    /// the copy shows of after that is in nothing that it has written since, whatever version that
    /// is.
    fn outlived(&self, forks: &[Fork]) -> bool {
        let since = self.epoch().max(self.kept);
        let own = |fork: &&Fork| fork.owner == self.origin.region && fork.epoch > since;
        forks.iter().filter(own).any(|fork| fork.version < self.version)
    }
}

impl Remote {
    pub fn apply(&mut self, at: LogTime, batch: &Batch) -> Received {
        let mut cursor = self.cursors.get(&batch.origin).copied().unwrap_or_default();
        if batch.after > cursor.applied {
            return Received { applied: cursor.applied, gap: true, ..Received::default() };
        }
        if self.full(batch.origin.place()) {
            return Received { applied: cursor.applied, full: true, ..Received::default() };
        }
        let mut parked = 0;
        for event in &batch.events {
            let fresh = event.sequence > cursor.applied && event.sequence <= batch.upto;
            if fresh && !self.take(at, batch.origin, event) {
                parked += 1;
            }
        }
        cursor.applied = cursor.applied.max(batch.upto);
        if let Some(ms) = batch.current_as_of_ms.filter(|_| cursor.applied == batch.upto) {
            cursor.current_as_of_ms = cursor.current_as_of_ms.max(ms);
        }
        self.cursors.insert(batch.origin, cursor);
        Received { applied: cursor.applied, parked, ..Received::default() }
    }

    /// Takes what was shipped again, by version and view: the cursor stays.
    pub fn refill(&mut self, at: LogTime, refill: Refill) -> Received {
        let Refill { origin, sweep, lowered, held, events } = refill;
        let applied = self.cursors.get(&origin).map_or(0, |cursor| cursor.applied);
        if self.full(origin.place()) {
            return Received { applied, full: true, ..Received::default() };
        }
        let parked = events.iter().filter(|event| !self.take(at, origin, event)).count();
        if let Some(held) = held {
            self.hold(origin, held, lowered);
        } else if let Some(sweep) = sweep {
            self.swept(origin, sweep, lowered);
        }
        Received { applied, parked: parked as u32, ..Received::default() }
    }

    /// A sweep that an earlier leader sent must not take a later one back, and one that was
    /// planned before copies became less does not know which.
    fn swept(&mut self, origin: Origin, sweep: Sweep, lowered: u64) {
        let mut views = self.views.get(&origin).cloned().unwrap_or_default();
        let ahead = views.sweep.is_some_and(|now| {
            now.terms > sweep.terms || (now.terms == sweep.terms && now.swept > sweep.swept)
        });
        let (held, whole) = (views.held.version, views.whole == views.lowered);
        let due = held < sweep.terms || (held == sweep.terms && !whole);
        if !ahead && due && views.lowered == lowered {
            views.sweep = Some(sweep);
            self.views.insert(origin, views);
        }
    }

    /// Everything of the origin is as wide as `terms` allow, unless something was made less since
    /// that was found.
    pub fn hold(&mut self, origin: Origin, terms: Terms, lowered: u64) {
        let mut views = self.views.get(&origin).cloned().unwrap_or_default();
        if terms.version >= views.held.version && views.lowered == lowered {
            views.sweep = views.sweep.filter(|sweep| sweep.terms > terms.version);
            (views.held, views.whole) = (terms, lowered);
            self.views.insert(origin, views);
        }
    }

    /// Applies one event, or parks it: `false`.
    pub(super) fn take(&mut self, at: LogTime, origin: Origin, event: &RemoteEvent) -> bool {
        let verdict = self.judge(origin, event);
        let waits = self.parked.contains(&event.order);
        let freed = waits.then(|| self.freed_by(origin, event)).flatten();
        let why = match (verdict, freed) {
            (Verdict::Leave, _) => return true,
            (Verdict::Take, _) if !waits => {
                self.keep(at, origin, event);
                return true;
            }
            // An operator has let what waits here go.
            (Verdict::Take, Some(_)) | (Verdict::Park(_), Some(Asked::Theirs))
                if event.fault.is_none() =>
            {
                self.unpark(event.order);
                self.keep(at, origin, event);
                return true;
            }
            (Verdict::Take, _) => ParkedWhy::Follows,
            (Verdict::Park(why), _) => why,
        };
        self.park(at, origin, event, why);
        false
    }

    pub(super) fn keep(&mut self, at: LogTime, origin: Origin, event: &RemoteEvent) {
        let RemoteEvent { sequence, order, version, view, shown, forks, .. } = event.clone();
        let (received, kept) = (at, self.copies.get(&order).map_or(0, |copy| copy.kept));
        self.put(order, Copy { origin, sequence, version, view, shown, forks, received, kept });
    }

    /// One writer per order and epoch: versions grow with sequences, and one version has one
    /// content under the same terms.
    fn judge(&self, origin: Origin, event: &RemoteEvent) -> Verdict {
        let copy = self.copies.get(&event.order);
        let epoch = event.epoch(origin);
        // Another region took the order over, or had it since: what is gone on with replaces what
        // was written before, whatever that had reached.
        let taken_over = |copy: &&Copy| {
            let since = |fork: &Fork| fork.epoch > copy.epoch() && fork.owner != copy.origin.region;
            let other = origin.region != copy.origin.region || event.forks.iter().any(since);
            epoch > copy.epoch() && other && event.fault.is_none()
        };
        if copy.filter(taken_over).is_some() {
            return Verdict::Take;
        }
        if let Some(copy) = copy.filter(|copy| event.version < copy.version) {
            // A home that came back from a backup has lost what this copy still knows.
            return match epoch > copy.epoch() && origin.region == copy.origin.region {
                true => Verdict::Park(ParkedWhy::VersionBack),
                false => Verdict::Leave,
            };
        }
        if let Some(fault) = event.fault {
            return Verdict::Park(ParkedWhy::Fault(fault));
        }
        let Some(copy) = copy else { return Verdict::Take };
        let (old, new) = (epoch < copy.epoch(), epoch > copy.epoch());
        let terms = event.shown.terms.cmp(&copy.shown.terms);
        let reduced = copy.shown.reduced;
        match event.version.cmp(&copy.version) {
            Ordering::Less => Verdict::Leave,
            Ordering::Greater if old => Verdict::Park(ParkedWhy::OldEpoch),
            Ordering::Greater if copy.outlived(&event.forks) => {
                Verdict::Park(ParkedWhy::VersionBack)
            }
            Ordering::Greater => Verdict::Take,
            Ordering::Equal if event.view == copy.view => {
                match new || terms.is_gt() || (reduced && terms.is_eq()) {
                    true => Verdict::Take,
                    false => Verdict::Leave,
                }
            }
            Ordering::Equal if old && !reduced => Verdict::Park(ParkedWhy::Conflict),
            // The same version in other terms: the later terms are the law.
            Ordering::Equal if terms.is_lt() || old => Verdict::Leave,
            // What was made less here is not what home would send by the same terms.
            Ordering::Equal if reduced => Verdict::Take,
            // Terms that say the same of this customer excuse nothing.
            Ordering::Equal if terms.is_gt() && !event.shown.alike(copy.shown) => Verdict::Take,
            Ordering::Equal => Verdict::Park(ParkedWhy::Conflict),
        }
    }
}
