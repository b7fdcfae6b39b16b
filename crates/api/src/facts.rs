//! Facts on their way to whoever reconciles: pages of bounded size, to a reader that may be slow.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_types::id::OrderId;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use crate::pb::admin::read_facts_response::Part;
use crate::pb::admin::{
    FactsEnd, FactsHead, FactsPage, MoneyFacts, OrderFacts, ReadFactsResponse, SkuFacts, StockFacts,
};

/// Records of one page.
const PAGE_RECORDS: usize = 500;
/// A reader that takes no page for so long has gone: what is frozen for it is let go.
const SEND_MAX: Duration = Duration::from_secs(60);
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
}

impl Telling {
    pub fn new(asked: &Asked) -> Self {
        let (to, totals_only) = (asked.to.clone(), asked.totals_only);
        Self { to, page: FactsPage::default(), records: 0, totals_only }
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
        match timeout(SEND_MAX, self.to.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
