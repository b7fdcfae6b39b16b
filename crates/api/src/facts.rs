//! Facts on their way to whoever reconciles: pages of bounded size, to a reader that may be slow.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_types::id::OrderId;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout_at};

use crate::pb::admin::read_facts_response::Part;
use crate::pb::admin::{
    FactsEnd, FactsHead, FactsPage, MoneyFacts, OrderFacts, ReadFactsResponse, SkuFacts, StockFacts,
};

/// Records of one page.
const PAGE_RECORDS: usize = 500;
/// A reader that takes no page for so long has gone: what is frozen for it is let go.
const SEND_MAX: Duration = Duration::from_secs(60);
/// A whole telling takes no longer: pages stay frozen for it, and the group copies what it changes.
const TELL_MAX: Duration = Duration::from_secs(900);
/// Orders that one question may name.
pub const ONLY_MAX: usize = 10_000;
/// Records looked at between two breaths.
pub const BREATH: usize = 4_096;

/// What is asked of one group, and where the answer goes.
pub struct Asked {
    /// Only these orders; all when there are none.
    pub only: BTreeSet<OrderId>,
    /// No records, only the totals of the end.
    pub totals_only: bool,
    pub to: Sender<ReadFactsResponse>,
}

impl Asked {
    pub fn wants(&self, order: OrderId) -> bool {
        self.only.is_empty() || self.only.contains(&order)
    }
}

/// The reader has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// One group's facts on their way.
pub struct Telling {
    to: Sender<ReadFactsResponse>,
    page: FactsPage,
    records: u64,
    totals_only: bool,
    until: Instant,
}

impl Telling {
    pub fn new(asked: &Asked) -> Self {
        let (to, totals_only) = (asked.to.clone(), asked.totals_only);
        let until = Instant::now() + TELL_MAX;
        Self { to, page: FactsPage::default(), records: 0, totals_only, until }
    }

    /// # Errors
    /// The reader has gone, as for all that is told.
    pub async fn head(&mut self, head: FactsHead) -> Result<(), Gone> {
        self.send(Part::Head(head)).await
    }

    /// # Errors
    /// As [`Self::head`].
    pub async fn order(&mut self, facts: OrderFacts) -> Result<(), Gone> {
        if self.totals_only {
            return Ok(());
        }
        self.page.orders.push(facts);
        self.told(self.page.orders.len()).await
    }

    /// # Errors
    /// As [`Self::head`].
    pub async fn stock(&mut self, facts: StockFacts) -> Result<(), Gone> {
        if self.totals_only {
            return Ok(());
        }
        self.page.stock.push(facts);
        self.told(self.page.stock.len()).await
    }

    /// # Errors
    /// As [`Self::head`].
    pub async fn money(&mut self, facts: MoneyFacts) -> Result<(), Gone> {
        if self.totals_only {
            return Ok(());
        }
        self.page.money.push(facts);
        self.told(self.page.money.len()).await
    }

    /// Says that this was all: only with this is anything of it worth anything.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn end(mut self, skus: Vec<SkuFacts>) -> Result<(), Gone> {
        self.flush().await?;
        let records = self.records;
        self.send(Part::End(FactsEnd { records, skus })).await
    }

    async fn told(&mut self, in_page: usize) -> Result<(), Gone> {
        self.records += 1;
        if in_page < PAGE_RECORDS {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let page = std::mem::take(&mut self.page);
        if page == FactsPage::default() {
            return Ok(());
        }
        self.send(Part::Page(page)).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn send(&self, part: Part) -> Result<(), Gone> {
        let message = ReadFactsResponse { part: Some(part) };
        // Ended without its end: that proves nothing to the reader, and he knows it.
        let until = self.until.min(Instant::now() + SEND_MAX);
        match timeout_at(until, self.to.send(message)).await {
            Ok(Ok(())) if Instant::now() < self.until => Ok(()),
            Ok(_) | Err(_) => Err(Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_slow_for_ever_is_told_no_end() {
        let (to, mut pages) = tokio::sync::mpsc::channel(1);
        let asked = Asked { only: BTreeSet::new(), totals_only: false, to };
        let mut telling = Telling::new(&asked);
        drop(asked);
        let tell = async move {
            telling.head(FactsHead::default()).await?;
            for _ in 0..1_000 * PAGE_RECORDS {
                telling.order(OrderFacts::default()).await?;
            }
            telling.end(Vec::new()).await
        };
        // Never silent for as long as a page may wait, and never done.
        let read = async {
            let mut told = 0;
            while let Some(message) = pages.recv().await {
                assert!(!matches!(message.part, Some(Part::End(_))));
                told += 1;
                tokio::time::sleep(SEND_MAX / 2).await;
            }
            told
        };
        let began = Instant::now();
        let (ended, told) = tokio::join!(tell, read);
        assert_eq!(ended, Err(Gone));
        assert!(told < 100 && began.elapsed() < TELL_MAX + 2 * SEND_MAX, "{told} pages");
    }
}
