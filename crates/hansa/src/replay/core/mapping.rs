//! Rows to actions: the file's dirt, read honestly. Pure, and the same for every run.

use super::action::{Action, Adjust, Buyer, Left, Line, Order, Return, ReturnRow};
use super::code::{self, Code};
use super::country;
use super::row::{Malformed, Row};
use super::synthetic::{self, Shares};

/// The file's currency.
const FILE_CURRENCY: &str = "GBP";

/// The whole file, mapped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// In file order.
    pub actions: Vec<Action>,
    /// Lines that say nothing usable, with their line numbers.
    pub malformed: Vec<Malformed>,
    /// Lines that are well-formed and no business of an order platform.
    pub left: Vec<Left>,
    /// Invoices whose buyer was moved: labelled, because it is not in the data.
    pub rehomed_invoices: u64,
}

/// Maps every row; rows of one invoice that follow one another are one invoice.
#[must_use]
pub fn map(rows: &[Row], shares: &Shares) -> Mapped {
    let mut mapped = Mapped::default();
    for rows in rows.chunk_by(|a, b| a.invoice == b.invoice) {
        Invoice::open(rows, shares, &mut mapped).map(&mut mapped);
    }
    mapped
}

/// The usable rows of an invoice with their 1-based positions, and who they are for.
struct Invoice<'a> {
    number: &'a str,
    date: &'a str,
    buyer: Buyer,
    currency: &'static str,
    rows: Vec<(u32, &'a Row)>,
}

impl<'a> Invoice<'a> {
    fn open(rows: &'a [Row], shares: &Shares, mapped: &mut Mapped) -> Self {
        let first = &rows[0];
        let mut usable = Vec::with_capacity(rows.len());
        let mut home = None;
        for (position, row) in (1u32..).zip(rows) {
            let Some(code) = country::iso(&row.country) else {
                let why = format!("`{}` names no country", row.country);
                mapped.malformed.push(Malformed { line: row.line, why });
                continue;
            };
            if row.quantity.unsigned_abs() > u64::from(hansa_types::limits::LINE_QUANTITY_MAX) {
                let why = format!("Quantity {} is over the limit of a line", row.quantity);
                mapped.malformed.push(Malformed { line: row.line, why });
                continue;
            }
            home.get_or_insert(code);
            usable.push((position, row));
        }
        let mut country = home.unwrap_or("GB");
        let mut currency = FILE_CURRENCY;
        let customer = (!first.customer.is_empty()).then(|| first.customer.clone());
        // Corrections have no buyer, so nobody to move: the stock lies where the shop is.
        let goods = usable.iter().any(|(_, row)| row.unit_price_minor != 0);
        if country == "GB" && (goods || customer.is_some()) {
            let subject = customer.as_deref().unwrap_or(&first.invoice);
            if let Some(moved) = synthetic::moved(shares, subject) {
                (country, currency) = moved;
                mapped.rehomed_invoices += 1;
            }
        }
        let buyer = Buyer { customer, country };
        Self { number: &first.invoice, date: &first.date, buyer, currency, rows: usable }
    }

    fn map(self, mapped: &mut Mapped) {
        match self.number.as_bytes().first() {
            Some(b'C' | b'c') => self.returned(mapped),
            Some(first) if first.is_ascii_digit() => self.ordered(mapped),
            _ => self.leave_all("an accounting entry, not an order", mapped),
        }
    }

    fn leave_all(&self, why: &'static str, mapped: &mut Mapped) {
        mapped.left.extend(self.rows.iter().map(|(_, row)| Left { line: row.line, why }));
    }

    fn returned(self, mapped: &mut Mapped) {
        let mut rows = Vec::with_capacity(self.rows.len());
        for (_, row) in &self.rows {
            match u32::try_from(-row.quantity) {
                Ok(quantity) => {
                    rows.push(ReturnRow { code: code::read(&row.stock_code), quantity })
                }
                Err(_) => mapped
                    .left
                    .push(Left { line: row.line, why: "a positive quantity on a cancellation" }),
            }
        }
        if !rows.is_empty() {
            let (invoice, buyer) = (self.number.to_owned(), self.buyer);
            mapped.actions.push(Action::Return(Return { invoice, buyer, rows }));
        }
    }

    fn ordered(self, mapped: &mut Mapped) {
        // Nothing is sold and nobody buys: every row corrects the stock.
        let nobody = self.buyer.customer.is_none();
        let correction = nobody && self.rows.iter().all(|(_, row)| row.unit_price_minor == 0);
        let mut lines = Vec::with_capacity(self.rows.len());
        for (position, row) in &self.rows {
            match read_row(row, correction) {
                Read::Line(line) => lines.push(line),
                Read::Leave(why) => mapped.left.push(Left { line: row.line, why }),
                Read::Adjust(sku) => mapped.actions.push(Action::Adjust(Adjust {
                    invoice: self.number.to_owned(),
                    position: *position,
                    country: self.buyer.country,
                    sku,
                    delta: row.quantity,
                    reason: reason(row),
                })),
            }
        }
        if lines.is_empty() {
            return;
        }
        let (invoice, buyer) = (self.number.to_owned(), self.buyer.clone());
        let (currency, date) = (self.currency, self.date.to_owned());
        let order = Order { invoice, buyer, currency, date, lines };
        if order.total_minor() < 0 {
            return self
                .leave_all("discounts above the goods: a credit note, not an order", mapped);
        }
        mapped.actions.push(Action::Order(order));
    }
}

enum Read {
    Line(Line),
    Adjust(String),
    Leave(&'static str),
}

/// What one row of a plain invoice is. The order of the checks is the rule.
fn read_row(row: &Row, correction: bool) -> Read {
    let code = code::read(&row.stock_code);
    let line = |code, unit_price_minor| {
        Read::Line(Line {
            code,
            description: row.description.clone(),
            quantity: u32::try_from(row.quantity.unsigned_abs()).unwrap_or(u32::MAX),
            unit_price_minor,
        })
    };
    match code {
        Code::Stock(sku) if correction || row.quantity < 0 => Read::Adjust(sku),
        Code::Stock(_) if row.unit_price_minor < 0 => Read::Leave("goods at a negative price"),
        // Price 0 beside paid goods, or for a known customer: a sample.
        Code::Stock(_) => line(code, row.unit_price_minor),
        Code::NonStock { .. } if row.unit_price_minor == 0 => Read::Leave("a fee of nothing"),
        // -1 × 5.00 and 1 × -5.00 are one discount of 5.00.
        Code::NonStock { .. } => line(code, row.unit_price_minor * row.quantity.signum()),
    }
}

fn reason(row: &Row) -> String {
    match (row.description.as_str(), row.quantity < 0) {
        ("", true) => "written off, no reason given".to_owned(),
        ("", false) => "found, no reason given".to_owned(),
        (text, _) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
