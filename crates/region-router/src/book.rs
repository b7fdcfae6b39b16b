//! The directory as the whole process reads it: the newest snapshot, swapped in one step.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hansa_types::region::RegionName;
use tokio::sync::watch;

use crate::core::directory::Snapshot;

/// A handle on the newest directory snapshot; cheap to clone, never waits.
#[derive(Clone)]
pub struct Book {
    newest: Arc<ArcSwapOption<Snapshot>>,
    version: Arc<watch::Sender<u64>>,
}

impl Default for Book {
    fn default() -> Self {
        Self::empty()
    }
}

impl Book {
    /// A book that nothing was written in yet.
    pub fn empty() -> Self {
        Self { newest: Arc::default(), version: Arc::new(watch::Sender::new(0)) }
    }

    /// A book with one page, for tests and tools.
    pub fn of(snapshot: Snapshot) -> Self {
        let book = Self::empty();
        book.publish(snapshot);
        book
    }

    /// The newest snapshot, `None` until the first one is known.
    pub fn now(&self) -> Option<Arc<Snapshot>> {
        self.newest.load_full()
    }

    /// The version of the newest snapshot, as it changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The first snapshot; waits for it.
    pub async fn ready(&self) -> Arc<Snapshot> {
        let mut changes = self.changes();
        loop {
            if let Some(snapshot) = self.now() {
                return snapshot;
            }
            // The sender lives in `self`, so this ends only with a change.
            let _ = changes.changed().await;
        }
    }

    /// Waits a bounded time until a version is known; false when it is not.
    pub async fn reached(&self, version: u64, within: std::time::Duration) -> bool {
        let mut changes = self.changes();
        let reached = changes.wait_for(|known| *known >= version);
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }

    /// The name of this region, once known.
    pub fn here(&self) -> Option<RegionName> {
        Some(self.now()?.own_region()?.name.clone())
    }

    /// Takes a snapshot unless a newer one is known.
    pub fn publish(&self, snapshot: Snapshot) {
        let version = snapshot.version;
        // Our own replica and a keeper that is followed may both write: look and store in one step.
        self.version.send_if_modified(|known| {
            let newer = self.now().is_none_or(|held| held.version < version);
            if newer {
                self.newest.store(Some(Arc::new(snapshot)));
                *known = version;
            }
            newer
        });
    }
}
