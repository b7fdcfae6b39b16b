//! What the file asks the league to do: orders, returns, stock adjustments.

use super::code::Code;

/// Who buys. One customer under two countries is two buyers, with two homes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Buyer {
    /// `None` for a guest.
    pub customer: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: &'static str,
}

/// One thing to do, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Order(Order),
    Return(Return),
    Adjust(Adjust),
}

/// An invoice as an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub invoice: String,
    pub buyer: Buyer,
    /// ISO 4217; the file's GBP, or the synthetic home's own.
    pub currency: &'static str,
    /// `YYYY-MM-DD HH:MM`, as in the file.
    pub date: String,
    pub lines: Vec<Line>,
}

/// A line of an order; lines of one SKU stay apart, as in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub code: Code,
    pub description: String,
    /// At least 1.
    pub quantity: u32,
    /// Minor units each. 0: a sample. Negative: a discount, on lines without stock only.
    pub unit_price_minor: i64,
}

/// A `C…` invoice: goods that come back. The file does not name the invoice they were bought on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    pub invoice: String,
    pub buyer: Buyer,
    pub rows: Vec<ReturnRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnRow {
    pub code: Code,
    pub quantity: u32,
}

/// A stock correction: something written off, or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjust {
    pub invoice: String,
    /// 1-based position in the invoice.
    pub position: u32,
    /// Whose home's stock it is.
    pub country: &'static str,
    pub sku: String,
    /// Units, signed.
    pub delta: i64,
    /// The description, or what the row amounts to when that is empty.
    pub reason: String,
}

/// A well-formed row that is neither order, return nor correction.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Left {
    pub line: u64,
    pub why: &'static str,
}

impl Order {
    /// What the order comes to, in minor units.
    #[must_use]
    pub fn total_minor(&self) -> i128 {
        self.lines.iter().map(Line::total_minor).sum()
    }

    /// Units of each SKU that has stock, repeated lines summed, in SKU order.
    #[must_use]
    pub fn demand(&self) -> std::collections::BTreeMap<&str, u64> {
        let mut demand = std::collections::BTreeMap::new();
        for line in &self.lines {
            if let Code::Stock(sku) = &line.code {
                *demand.entry(sku.as_str()).or_default() += u64::from(line.quantity);
            }
        }
        demand
    }
}

impl Line {
    #[must_use]
    pub fn total_minor(&self) -> i128 {
        i128::from(self.quantity) * i128::from(self.unit_price_minor)
    }
}
