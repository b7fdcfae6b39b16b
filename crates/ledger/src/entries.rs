//! The read view of account entries: every posting under both of its accounts.
//!
//! Fed from the archive, which keeps every posting for ever; so a view that is lost is built anew,
//! and one that lags is only late. It is fed each second and whenever somebody asks, not with each
//! entry of the log: an account's postings of a second are one row.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use hansa_consensus::{ArchiveError, Group};
use hansa_types::id::AccountId;
use hansa_views::{Batch, Order, Range, View};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::kernel::Posting;
use crate::core::payments::Payments;
use crate::machine::POSTINGS;
use crate::metrics;

/// The version of keys and values: account (16 bytes), number of the row's first posting (8 bytes,
/// big endian) → postcard `Vec<Entry>`. 1 had a row for each posting of an account.
pub const SCHEMA: u32 = 2;

/// Archive records taken in with one batch of the view.
const RECORDS_MAX: usize = 64;
/// Postings of an account in a row, and rows looked at together: what a page reads beyond itself.
const ROW_MAX: usize = 128;
const ROWS_AT_ONCE: usize = 16;
/// How often postings are taken in that nobody has asked for.
const FEED_EVERY: Duration = Duration::from_secs(1);

/// A posting as the journal numbers it, from 0 on without gaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub number: u64,
    pub posting: Posting,
}

/// The view of one payments group; clones are one view.
#[derive(Clone)]
pub struct Entries {
    view: Arc<dyn View>,
    position: watch::Sender<u64>,
    asked: Arc<Notify>,
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
        Self { view, position: watch::Sender::new(0), asked: Arc::default() }
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
        let mut applied = group.applied();
        loop {
            // Whoever asks from here on is seen: `asked` keeps one ring.
            while self.take_in(group)? {
                tokio::task::yield_now().await;
            }
            let _nobody_asked = timeout(FEED_EVERY, self.asked.notified()).await;
            if applied.has_changed().is_err() {
                return Ok(());
            }
            applied.borrow_and_update();
        }
    }

    /// Takes in what follows the view's position; whether there may be more.
    fn take_in(&self, group: &Group<Payments>) -> Result<bool, FeedError> {
        let from = self.view.position()?.unwrap_or(0);
        let end = group.peek(|machine| machine.kernel().journal().next());
        metrics::view_lag(group.id(), end.saturating_sub(from));
        if from > end {
            // The view outlived the log it was made from.
            return Err(FeedError::Gap { expected: from, found: end });
        }
        let records = match from == end {
            true => Vec::new(),
            false => group.archive_scan(POSTINGS, &from.to_be_bytes(), RECORDS_MAX)?,
        };
        let mut next = from;
        let mut accounts: BTreeMap<AccountId, Vec<Entry>> = BTreeMap::new();
        for (key, value) in &records {
            let first = key.as_ref().try_into().map_or(u64::MAX, u64::from_be_bytes);
            if first != next {
                return Err(FeedError::Gap { expected: next, found: first });
            }
            for posting in postcard::from_bytes::<Vec<Posting>>(value)? {
                for account in [posting.debit, posting.credit] {
                    accounts.entry(account).or_default().push(Entry { number: next, posting });
                }
                next += 1;
            }
        }
        if next > from {
            self.view.apply(batch(&accounts)?, next)?;
        }
        self.position.send_replace(next);
        Ok(records.len() == RECORDS_MAX)
    }

    /// Entries of an account after the numbered one, oldest first, once the view has taken in all
    /// postings below `reached`.
    ///
    /// # Errors
    /// `Behind` when it has not by the deadline.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<u64>,
        max: usize,
        reached: u64,
        deadline: Instant,
    ) -> Result<Vec<Entry>, ListError> {
        let mut position = self.position.subscribe();
        if *position.borrow_and_update() < reached {
            self.asked.notify_one();
        }
        let caught_up = timeout_at(deadline, position.wait_for(|at| *at >= reached)).await;
        if !matches!(caught_up, Ok(Ok(_))) {
            return Err(ListError::Behind);
        }
        let mut range = Range::prefix(&account.to_bytes());
        if let Some(after) = after
            && let Some(row) = self.row_with(account, after)?
        {
            range.from = Bound::Included(row);
        }
        let mut found = Vec::new();
        loop {
            let rows = self.view.scan(&range, ROWS_AT_ONCE)?;
            for (_, value) in &rows {
                let row: Vec<Entry> = postcard::from_bytes(value)?;
                found.extend(row.into_iter().filter(|of| after.is_none_or(|n| of.number > n)));
            }
            match rows.last() {
                Some((key, _)) if rows.len() == ROWS_AT_ONCE && found.len() < max => {
                    range = range.after(key);
                }
                _ => break,
            }
        }
        found.truncate(max);
        Ok(found)
    }

    /// The key of the last row of an account that begins at a number or before it.
    fn row_with(&self, account: AccountId, number: u64) -> Result<Option<Vec<u8>>, ListError> {
        let range = Range {
            from: Bound::Included(account.to_bytes().to_vec()),
            to: Bound::Included(key_of(account, number).to_vec()),
            order: Order::Descending,
        };
        Ok(self.view.scan(&range, 1)?.pop().map(|(key, _)| key))
    }
}

/// Rows of new entries, at most `ROW_MAX` to one.
fn batch(accounts: &BTreeMap<AccountId, Vec<Entry>>) -> Result<Batch, postcard::Error> {
    let mut batch = Batch::default();
    for (account, entries) in accounts {
        for row in entries.chunks(ROW_MAX) {
            let first = row.first().map_or(0, |entry| entry.number);
            batch.put(key_of(*account, first), postcard::to_allocvec(row)?);
        }
    }
    Ok(batch)
}

/// The payments that a row of the view is about; `None` for a row that is not one, to its last
/// byte.
pub fn row(key: &[u8], value: &[u8]) -> Option<Vec<u128>> {
    let entries: Vec<Entry> = postcard::from_bytes(value).ok()?;
    let whole = postcard::to_allocvec(&entries).is_ok_and(|again| again == value);
    let account = AccountId::from_bytes(key.get(..16)?.try_into().ok()?);
    let first = entries.first()?.number;
    let of = |entry: &Entry| [entry.posting.debit, entry.posting.credit].contains(&account);
    let ours = entries.iter().all(of) && key == key_of(account, first);
    (whole && ours).then(|| entries.iter().map(|entry| entry.posting.reference.0).collect())
}

fn key_of(account: AccountId, number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&account.to_bytes());
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}
