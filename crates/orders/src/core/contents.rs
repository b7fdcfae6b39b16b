//! What an order asks for: fixed when it is accepted, never changed after.

use std::fmt;

use bytes::Bytes;
use hansa_types::country::Country;
use hansa_types::id::{RequestId, Sku};
use hansa_types::money::Currency;
use serde::{Deserialize, Serialize};

use super::subjects::KeyOf;

/// The immutable part of an order, apart from the moving one so that a step of the saga does not
/// copy or hash it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Contents {
    /// The client that placed it, by the last part of its SPIFFE path.
    pub caller: String,
    /// Whose order it is, as a pseudonym, and which of his keys seals it. Who he is stands in the
    /// personal block.
    pub sealed_with: KeyOf,
    /// A guest is nobody's customer: his order is a subject of its own.
    pub guest: bool,
    pub residence: Country,
    pub request: RequestId,
    pub currency: Currency,
    pub lines: Vec<Line>,
    /// Minor units; the sum of quantity times price.
    pub total_minor: i64,
    pub token: Token,
    /// The personal block with the customer id, sealed by the shell before submit; `None` for a
    /// guest who said nothing of himself.
    pub personal: Option<Sealed>,
    /// Index of the payments group that keeps this order's books.
    pub payment_group: u16,
    /// The caller's own reference, such as an invoice number.
    pub reference: String,
    /// When the caller says that it was placed, wall clock ms; informative.
    pub placed_ms: Option<u64>,
}

/// One priced line; its number is its place, counted from 1.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Line {
    pub kind: LineKind,
    /// There for every stock line.
    pub sku: Option<Sku>,
    pub description: String,
    pub quantity: u32,
    pub price_minor: i64,
    /// Index of the inventory group that keeps the SKU; `None` for postage, fees and the like.
    pub stock_group: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum LineKind {
    Stock,
    Fee,
    Discount,
    NonStock,
}

impl Contents {
    /// The stock lines of one inventory group with their places.
    pub fn of_group(&self, group: u16) -> impl Iterator<Item = (u16, &Line)> {
        (0_u16..).zip(&self.lines).filter(move |(_, line)| line.stock_group == Some(group))
    }

    /// The inventory groups that this order touches, in ascending order.
    pub fn groups(&self) -> Vec<u16> {
        let mut groups: Vec<u16> = self.lines.iter().filter_map(|line| line.stock_group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Units on stock lines: what there is to ship.
    pub fn stock_units(&self) -> u64 {
        let stock = self.lines.iter().filter(|line| line.stock_group.is_some());
        stock.map(|line| u64::from(line.quantity)).sum()
    }
}

/// A payment service provider's token for a card or account; financial, so never printed.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Authenticated ciphertext of a personal block, under the data key that [`Contents::sealed_with`]
/// names. The log, apply and digests see nothing else.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sealed {
    pub nonce: [u8; 12],
    pub ciphertext: Bytes,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed { [redacted] }")
    }
}
