//! Facts of many groups, walked side by side in order of order id.
//!
//! Each group's facts are put aside into a file without a name as they come, so that no group waits
//! for another one's reader, and memory holds a page of each.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use bytes::Bytes;
use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::admin as pb;
use hansa_types::id::OrderId;
use prost::Message as _;

use crate::judge::{Case, Source};
use crate::statement::{Charge, Charges};

/// Longer than any page.
const PAGE_BYTES_MAX: u32 = 64 << 20;
/// Records of one page, and of one group: more is no group of ours.
const PAGE_RECORDS_MAX: usize = 4_096;
const RECORDS_MAX: u64 = 100_000_000;

/// Facts that prove nothing.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Facts(&'static str),
}

/// One group's facts as they come.
pub struct Spool {
    head: pb::FactsHead,
    file: BufWriter<File>,
    last: Option<OrderId>,
    records: u64,
    pub bytes: u64,
    first_region: Option<u16>,
}

impl Spool {
    /// # Errors
    /// No room for temporary files.
    pub fn begin(head: pb::FactsHead) -> io::Result<Self> {
        let file = BufWriter::new(tempfile::tempfile()?);
        Ok(Self { head, file, last: None, records: 0, bytes: 0, first_region: None })
    }

    /// # Errors
    /// Records that are not in order or too many, or no room.
    pub fn page(&mut self, page: &pb::FactsPage) -> Result<(), Broken> {
        let records = ids(page).count();
        if records > PAGE_RECORDS_MAX || self.records + records as u64 > RECORDS_MAX {
            return Err(Broken::Facts("more records than a group or a page may have"));
        }
        for id in ids(page) {
            let id = order_from_bytes(id).map_err(|_| Broken::Facts("a record of no order"))?;
            if self.last.is_some_and(|last| id < last) {
                return Err(Broken::Facts("records are not in order"));
            }
            self.last = Some(id);
            self.first_region.get_or_insert(id.region().get());
            self.records += 1;
        }
        let bytes = page.encode_to_vec();
        self.bytes += bytes.len() as u64;
        self.file.write_all(&(bytes.len() as u32).to_le_bytes())?;
        self.file.write_all(&bytes)?;
        Ok(())
    }

    /// # Errors
    /// Fewer or more records than the group says it told.
    pub fn end(self, end: pb::FactsEnd) -> Result<Facts, Broken> {
        if end.records != self.records {
            return Err(Broken::Facts("not every record came"));
        }
        let Self { head, records, bytes, first_region, file, .. } = self;
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let (file, queue) = (BufReader::new(file), VecDeque::new());
        Ok(Facts { head, skus: end.skus, records, bytes, first_region, file, queue })
    }
}

/// One group's facts, all of them.
pub struct Facts {
    pub head: pb::FactsHead,
    pub skus: Vec<pb::SkuFacts>,
    pub records: u64,
    pub bytes: u64,
    /// The region in which the first of its orders was born.
    pub first_region: Option<u16>,
    file: BufReader<File>,
    queue: VecDeque<(OrderId, Record)>,
}

enum Record {
    Order(Box<pb::OrderFacts>),
    Stock(pb::StockFacts),
    Money(pb::MoneyFacts),
}

fn ids(page: &pb::FactsPage) -> impl Iterator<Item = &Bytes> {
    let orders = page.orders.iter().map(|facts| &facts.order);
    let stock = page.stock.iter().map(|facts| &facts.order);
    orders.chain(stock).chain(page.money.iter().map(|facts| &facts.order))
}

impl Facts {
    fn next_id(&mut self) -> Result<Option<OrderId>, Broken> {
        while self.queue.is_empty() {
            if !self.load()? {
                return Ok(None);
            }
        }
        Ok(self.queue.front().map(|(id, _)| *id))
    }

    fn load(&mut self) -> Result<bool, Broken> {
        let mut len = [0; 4];
        match self.file.read_exact(&mut len) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let len = u32::from_le_bytes(len);
        if len > PAGE_BYTES_MAX {
            return Err(Broken::Facts("a page that is too long"));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact(&mut bytes)?;
        let page = pb::FactsPage::decode(bytes.as_slice());
        let page = page.map_err(|_| Broken::Facts("a page that does not read back"))?;
        let id = |bytes: &Bytes| {
            order_from_bytes(bytes).map_err(|_| Broken::Facts("a record of no order"))
        };
        for facts in page.orders {
            self.queue.push_back((id(&facts.order)?, Record::Order(Box::new(facts))));
        }
        for facts in page.stock {
            self.queue.push_back((id(&facts.order)?, Record::Stock(facts)));
        }
        for facts in page.money {
            self.queue.push_back((id(&facts.order)?, Record::Money(facts)));
        }
        Ok(true)
    }

    /// Moves everything about `order` into the case.
    fn take(&mut self, order: OrderId, source: Source, case: &mut Case) -> Result<(), Broken> {
        while self.next_id()? == Some(order) {
            match self.queue.pop_front() {
                Some((_, Record::Order(facts))) => case.order = Some((source, *facts)),
                Some((_, Record::Stock(facts))) => case.stock.push((source, facts)),
                Some((_, Record::Money(facts))) => case.money.push((source, facts)),
                None => {}
            }
        }
        Ok(())
    }
}

/// Times between which a statement has every movement; Unix ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coverage {
    pub from_ms: u64,
    pub until_ms: u64,
    /// How late a movement may be written down.
    pub settle_ms: u64,
}

impl Coverage {
    /// Whether every movement of a case must be in the statement: its first one lies well after the
    /// beginning, its last one well before the end. At the edges it is not known, for the
    /// provider's clock is not ours and it writes late.
    pub fn covers(&self, id: OrderId, case: &Case) -> bool {
        let born = id.born().ms();
        let last = case.order.as_ref().map_or(born, |(_, order)| order.updated_ms.max(born));
        born >= self.from_ms.saturating_add(self.settle_ms)
            && last.saturating_add(self.settle_ms) <= self.until_ms
    }
}

/// A statement being walked along.
pub struct Along {
    charges: Charges,
    next: Option<Charge>,
    pub coverage: Coverage,
    pub keys: u64,
    /// Cases with lines that the statement does not cover as a whole.
    pub not_covered: u64,
}

impl Along {
    /// # Errors
    /// A run of the sorted statement that cannot be read back.
    pub fn new(mut charges: Charges, coverage: Coverage) -> io::Result<Self> {
        let next = charges.next_charge()?;
        Ok(Self { charges, next, coverage, keys: 0, not_covered: 0 })
    }

    fn next_id(&self) -> Option<OrderId> {
        self.next.as_ref().and_then(Charge::order)
    }

    fn take(&mut self) -> io::Result<Option<Charge>> {
        let taken = self.next.take();
        self.keys += u64::from(taken.is_some());
        self.next = self.charges.next_charge()?;
        Ok(taken)
    }
}

/// Hands every order that any side knows to `each`, in order; keys of no order last, without an id.
///
/// # Errors
/// Facts that cannot be read back.
pub fn walk(
    facts: &mut [Facts],
    mut along: Option<&mut Along>,
    mut each: impl FnMut(Option<OrderId>, Case),
) -> Result<(), Broken> {
    loop {
        let mut least = along.as_ref().and_then(|along| along.next_id());
        for facts in facts.iter_mut() {
            least = match (least, facts.next_id()?) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let Some(id) = least else { break };
        let mut case = Case::default();
        for (n, facts) in facts.iter_mut().enumerate() {
            facts.take(id, Source(n), &mut case)?;
        }
        if let Some(along) = along.as_deref_mut() {
            if along.next_id() == Some(id) {
                case.charge = along.take()?;
            }
            // What nobody here knows of is not known whatever the statement covers.
            let unknown = case.order.is_none() && case.money.is_empty();
            let covered = unknown || along.coverage.covers(id, &case);
            along.not_covered += u64::from(!covered && case.charge.is_some());
            case.covered = Some(covered);
        }
        each(Some(id), case);
    }
    while let Some(charge) = along.as_deref_mut().map(Along::take).transpose()?.flatten() {
        each(None, Case { charge: Some(charge), covered: Some(true), ..Case::default() });
    }
    Ok(())
}
