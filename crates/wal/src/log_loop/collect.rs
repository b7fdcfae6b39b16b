//! Gives disk space back: the oldest segments go when nothing in them lives, and when the log grows
//! above its limit, or what is dead is to leave the disk, their live records are copied forward, so
//! that no lagging group holds the disk.
//!
//! Segments go strictly oldest first. A floor record, queued behind everything that makes them
//! dead, is durable before a file is removed: whatever replays the rest sees the same log.

use super::LogLoop;
use crate::index::{Index, Key, Place, Slot};
use crate::record::{Kind, Seed};
use crate::segment;
use crate::shared::{Core, Phase, Task};
use crate::wal::fetch::{self, Wanted};

/// Bytes copied between two looks at the queue: what a client's append may have to wait for.
const STEP_BYTES: u64 = 1 << 20;

impl LogLoop {
    /// Queues what brings the log back under its limit, a step at a time.
    ///
    /// # Errors
    /// A live record of the segment to be emptied does not read back.
    pub(super) fn collect(&mut self) -> Result<(), String> {
        let shared = self.shared.clone();
        let (victim, wanted, file) = {
            let mut core = shared.core.lock();
            if self.moving > 0 || core.phase != Phase::Open {
                return Ok(());
            }
            let kept = self.raise_floor(&mut core);
            let Some(victim) = self.victim(&mut core, kept) else { return Ok(()) };
            resave(&mut core, victim);
            core.urgent |= !core.queue.is_empty();
            let Some(segment) = core.segments.get(&victim) else { return Ok(()) };
            (victim, live_entries(&core.index, victim), segment.file.clone())
        };
        let seed = Seed::new(shared.log, victim);
        let path = segment::path(&shared.dir, victim);
        let entries = fetch::entries(file.as_ref(), seed, &path, &wanted);
        let entries = entries.map_err(|e| e.to_string())?;

        let mut core = shared.core.lock();
        for (wanted, entry) in wanted.iter().zip(entries) {
            let key = Key::Entry(wanted.group, wanted.index);
            let was = Slot::at(wanted.place);
            // Truncated or purged while we read: then there is nothing to save.
            if core.index.slot(key) != Some(was) {
                continue;
            }
            self.moving += 1;
            core.enqueue(Task {
                kind: Some(Kind::Copy),
                group: Some(wanted.group),
                index: entry.index,
                head: entry.head,
                body: entry.payload,
                moves: Some((key, was)),
                ..Task::default()
            });
        }
        core.urgent |= !core.queue.is_empty();
        Ok(())
    }

    /// Queues the end of the segments in which nothing lives; answers the oldest that stays.
    fn raise_floor(&mut self, core: &mut Core) -> u32 {
        let active = self.position.segment;
        let kept = core.index.live().first().unwrap_or(active).min(active);
        if core.segments.keys().next().is_some_and(|first| *first < kept) {
            self.moving += 1;
            let kind = Some(Kind::Floor);
            core.enqueue(Task { kind, index: u64::from(kept), ..Task::default() });
        }
        kept
    }

    /// The segment to be emptied, if the log is above its limit and copying helps, or if what is
    /// dead in it is to leave the disk whatever that costs.
    fn victim(&self, core: &mut Core, kept: u32) -> Option<u32> {
        let staying = core.segments.range(kept..).map(|(_, segment)| u64::from(segment.bytes));
        let staying: u64 = staying.sum();
        let prep = self.shared.prep.lock();
        let spares = prep.ready.len() as u64 * u64::from(self.shared.config.segment_bytes);
        let short = prep.error.is_some();
        drop(prep);
        let above = staying + spares > self.shared.config.disk_bytes_max || short;
        // Copying what lives gains nothing when most of it does: some group must purge first.
        let live = core.index.live();
        let moved: u64 = live.shares(kept).map(|(_, share)| share.bytes).sum();
        // On a full disk copies take what votes and ticks live from: only what surely pays back.
        let safe = !short || core.active_left + spares >= 2 * moved;
        let helps = live.bytes() * 2 <= staying && safe;
        if above && !helps && !core.counts.pinned {
            let dir = self.shared.dir.display();
            tracing::warn!(%dir, "log above its limit, most of it live");
        }
        core.counts.pinned = above && !helps;
        // Each record is copied once for it: none lives below the segment that then begins.
        let rolled = kept < core.emptied && safe;
        ((above && helps || rolled) && kept < self.position.segment).then_some(kept)
    }
}

/// Queues again the votes, committed ids and purges that live in `victim`.
fn resave(core: &mut Core, victim: u32) {
    let groups: Vec<_> = core.index.live().shares(victim).map(|(id, _)| id).collect();
    for id in groups {
        for (key, kind) in [
            (Key::Vote(id), Kind::Vote),
            (Key::Committed(id), Kind::Committed),
            (Key::Purged(id), Kind::Purge),
        ] {
            let Some(was) = core.index.slot(key) else { continue };
            if was.place().is_none_or(|place| place.segment != victim) {
                continue;
            }
            let Some((index, value)) = core.index.value(key) else { continue };
            let now = Slot::waiting(core.tickets(1));
            core.index.moved(key, was, now);
            core.enqueue(Task::keep(kind, id, index, value, (key, now)));
        }
    }
}

/// A step's worth of the entries that live in `victim`.
fn live_entries(index: &Index, victim: u32) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut bytes = 0;
    for (group, share) in index.live().shares(victim) {
        let Some(entries) = index.group(group) else { continue };
        let here = |slot: Slot| slot.place().filter(|place: &Place| place.segment == victim);
        let mut left = share.records;
        for (index, slot) in entries.slots_from(0) {
            if left == 0 || bytes >= STEP_BYTES {
                break;
            }
            let Some(place) = here(slot) else { continue };
            left -= 1;
            bytes += u64::from(place.len);
            wanted.push(Wanted { group, index, place });
        }
    }
    wanted
}
