//! The read view of account entries: every posting under both of its accounts.
//!
//! Fed from the archive, which keeps every posting for ever; so a view that is lost is built anew,
//! and one that lags is only late.

use std::sync::Arc;
use std::time::Duration;

use hansa_consensus::{ArchiveError, Group};
use hansa_types::id::{AccountId, TransferId};
use hansa_views::{Batch, Range, View};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::core::kernel::Posting;
use crate::core::payments::Payments;
use crate::machine::POSTINGS;
use crate::metrics;

/// The version of keys and values: account (16 bytes), transfer id (16 bytes) → postcard `Posting`.
pub const SCHEMA: u32 = 1;

/// Archive records taken in with one batch of the view.
const CHUNKS_MAX: usize = 256;

/// The view of one payments group; clones are one view.
#[derive(Clone)]
pub struct Entries {
    view: Arc<dyn View>,
    position: watch::Sender<u64>,
}

/// Why the view stopped taking in postings. It is built anew.
#[derive(Debug, Error)]
pub enum FeedError {
    #[error("the account view")]
    View(#[from] hansa_views::Error),
    #[error("the archive")]
    Archive(#[from] ArchiveError),
    #[error("the archive's postings do not decode")]
    Decode(#[from] postcard::Error),
    #[error("the archive has postings from {found} on, {expected} was expected")]
    Gap { expected: u64, found: u64 },
}

/// Why entries cannot be listed.
#[derive(Debug, Error)]
pub enum ListError {
    #[error("the view has not caught up within the deadline")]
    Behind,
    #[error("the view")]
    View(#[from] hansa_views::Error),
    #[error("an entry of the view does not decode")]
    Decode(#[from] postcard::Error),
}

impl Entries {
    pub fn new(view: Arc<dyn View>) -> Self {
        Self { view, position: watch::Sender::new(0) }
    }

    pub fn view(&self) -> Arc<dyn View> {
        self.view.clone()
    }

    /// Takes in postings as they are made, until the group stops; a failure resets the view first.
    pub async fn feed(&self, group: Group<Payments>) -> Result<(), FeedError> {
        let fed = self.follow(&group).await;
        if let Err(error) = &fed {
            tracing::warn!(group = %group.id(), %error, "account view is built anew");
            metrics::view_rebuilt(group.id());
            self.position.send_replace(0);
            self.view.reset()?;
        }
        fed
    }

    async fn follow(&self, group: &Group<Payments>) -> Result<(), FeedError> {
        /// Records are readable from their apply on: this only bounds a lost wake-up.
        const LOOK_AGAIN: Duration = Duration::from_secs(5);
        let mut applied = group.applied();
        loop {
            applied.borrow_and_update();
            while self.take_in(group)? {
                tokio::task::yield_now().await;
            }
            match tokio::time::timeout(LOOK_AGAIN, applied.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(_)) => return Ok(()),
            }
        }
    }

    /// Takes in what follows the view's position; whether there may be more.
    fn take_in(&self, group: &Group<Payments>) -> Result<bool, FeedError> {
        let mut next = self.view.position()?.unwrap_or(0);
        let end = group.peek(|machine| machine.kernel().journal().next());
        metrics::view_lag(group.id(), end.saturating_sub(next));
        if next > end {
            // The view outlived the log it was made from.
            return Err(FeedError::Gap { expected: next, found: end });
        }
        let chunks = group.archive_scan(POSTINGS, &next.to_be_bytes(), CHUNKS_MAX)?;
        let mut batch = Batch::default();
        for (key, value) in &chunks {
            let first = key.as_ref().try_into().map_or(u64::MAX, u64::from_be_bytes);
            if first != next {
                return Err(FeedError::Gap { expected: next, found: first });
            }
            let postings: Vec<Posting> = postcard::from_bytes(value)?;
            for posting in &postings {
                let value = postcard::to_allocvec(posting)?;
                batch.put(key_of(posting.debit, posting.id), value.clone());
                batch.put(key_of(posting.credit, posting.id), value);
            }
            next += postings.len() as u64;
        }
        if !batch.is_empty() {
            self.view.apply(batch, next)?;
        }
        self.position.send_replace(next);
        Ok(chunks.len() == CHUNKS_MAX)
    }

    /// Entries of an account after the transfer named, oldest first, once the view has taken in
    /// all postings below `reached`.
    ///
    /// # Errors
    /// `Behind` when it has not by the deadline.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<TransferId>,
        max: usize,
        reached: u64,
        deadline: Instant,
    ) -> Result<Vec<Posting>, ListError> {
        let mut position = self.position.subscribe();
        let caught_up = timeout_at(deadline, position.wait_for(|at| *at >= reached)).await;
        if !matches!(caught_up, Ok(Ok(_))) {
            return Err(ListError::Behind);
        }
        let all = Range::prefix(&account.to_bytes());
        let range = match after {
            Some(after) => all.after(&key_of(account, after)),
            None => all,
        };
        let entries = self.view.scan(&range, max)?;
        entries.iter().map(|(_, value)| Ok(postcard::from_bytes(value)?)).collect()
    }
}

/// The payment that a row of the view is about; `None` for a row that is not one, to its last byte.
pub fn row(key: &[u8], value: &[u8]) -> Option<u128> {
    let posting: Posting = postcard::from_bytes(value).ok()?;
    let named = [posting.debit, posting.credit].map(|account| key_of(account, posting.id));
    let whole = postcard::to_allocvec(&posting).is_ok_and(|again| again == value);
    (whole && named.iter().any(|of| of.as_slice() == key)).then_some(posting.reference.0)
}

fn key_of(account: AccountId, transfer: TransferId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&account.to_bytes());
    key[16..].copy_from_slice(&transfer.to_bytes());
    key
}
