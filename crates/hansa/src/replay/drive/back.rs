//! A return's way: goods come back and are refunded, fees are refunded only.

use std::collections::BTreeMap;

use hansa_api::pb;
use hansa_api::pb::order::ReturnItemsResponse;
use hansa_api::status::Failure;

use super::attempt::At;
use super::doubt::{self, nowhere, surely};
use super::found::Found;
use super::wire::{self, Maker};
use crate::replay::core::action::Order;
use crate::replay::core::code::Code;
use crate::replay::core::matching::Matched;
use crate::replay::doors::Door;

/// What one earlier order gets back.
#[derive(Clone, Debug)]
pub struct Part {
    pub order: String,
    /// Units that go back to the warehouse, by 0-based line.
    pub goods: BTreeMap<usize, u32>,
    /// What is paid back for lines without stock.
    pub fees: Option<pb::Money>,
}

/// What came of a return.
#[derive(Debug)]
pub struct Done {
    pub found: Found,
    pub replayed: bool,
    pub refunded: Vec<pb::Money>,
}

/// Splits what was matched in one order into goods and fees.
pub fn part(name: &str, order: &Order, lines: &BTreeMap<usize, u32>) -> Part {
    let mut goods = BTreeMap::new();
    let mut fees_minor: i64 = 0;
    for (index, units) in lines {
        let Some(sold) = order.lines.get(*index) else { continue };
        match sold.code {
            Code::Stock(_) => {
                goods.insert(*index, *units);
            }
            Code::NonStock { .. } => {
                let paid = sold.unit_price_minor.saturating_mul(i64::from(*units));
                fees_minor = fees_minor.saturating_add(paid);
            }
        }
    }
    let fees = (fees_minor > 0).then(|| wire::money(fees_minor, order.currency)).flatten();
    Part { order: name.to_owned(), goods, fees }
}

/// Sends every part; the first refusal ends it.
pub async fn run(
    at: At<'_>,
    maker: &Maker,
    invoice: &str,
    matched: &Matched<usize>,
    parts: &[Part],
) -> Done {
    let mut done = Done {
        found: Found::Returned { matched: matched.rows_matched, unmatched: matched.rows_unmatched },
        replayed: false,
        refunded: Vec::new(),
    };
    for (number, part) in (0..).zip(parts) {
        if let Err(failure) = send(at, maker, invoice, number, part, &mut done).await {
            done.found = Found::Refused(failure.reason().to_string());
            break;
        }
    }
    done
}

async fn send(
    at: At<'_>,
    maker: &Maker,
    invoice: &str,
    number: u32,
    part: &Part,
    done: &mut Done,
) -> Result<(), Failure> {
    if !part.goods.is_empty() {
        let request = maker.give_back(invoice, number, &part.order, &part.goods);
        let send = |mut door: Door, request| async move {
            door.storefront.orders.return_items(request).await
        };
        let look = || returned(at, part);
        let response = surely(at, &request, send, look).await?;
        done.replayed |= response.replayed;
        done.refunded.extend(response.refund);
    }
    if let Some(amount) = &part.fees {
        let request = maker.refund(invoice, number, &part.order, amount.clone());
        let send = |mut door: Door, request| async move {
            door.finance.payments.refund_payment(request).await
        };
        let response = surely(at, &request, send, nowhere).await?;
        done.replayed |= response.replayed;
        done.refunded.push(amount.clone());
    }
    Ok(())
}

/// What came of a return that nobody answered for. Its lines come back on one invoice each.
async fn returned(at: At<'_>, part: &Part) -> Result<Option<ReturnItemsResponse>, Failure> {
    let order = doubt::order(at, &part.order).await?;
    let there = part.goods.iter().all(|(index, units)| {
        order.lines.get(*index).is_some_and(|line| line.returned_quantity >= *units)
    });
    Ok(there.then(|| ReturnItemsResponse { replayed: true, ..ReturnItemsResponse::default() }))
}
