//! ListStock: a region's stock by SKU and warehouse, in pages, merged from its groups.

use std::collections::BTreeMap;

use hansa_api::convert::inventory::ListStock;
use hansa_api::convert::page::Position;
use hansa_api::pb::inventory as pb;
use hansa_api::status::Failure;
use hansa_consensus::{Group, ReadError};
use hansa_types::id::GroupId;
use hansa_types::time::LogTime;
use tokio::time::Instant;
use tonic::Request;

use super::groups::{not_read, serving};
use super::{Shell, request, wire};
use crate::core::inventory::{Inventory, Stock};

/// A listing is read from hot state, so it is never behind what this node has applied. A group
/// that another node leads is read from this node's replica: each entry says as of when.
pub async fn run(
    shell: &Shell,
    call: Request<pb::ListStockRequest>,
) -> Result<pb::ListStockResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = ListStock::try_from(call.into_inner())?;
    let warehouse = asked.warehouse.as_ref().map(|warehouse| warehouse.as_str());
    let size = asked.page.size;
    let mut found: Vec<(GroupId, Stock, LogTime)> = Vec::new();
    for place in &shell.inventory {
        // Rows must not be missing without a word.
        let group = serving(place)?;
        let after = asked.page.after(group.id()).and_then(|key| std::str::from_utf8(key).ok());
        // One more than fits tells whether another page follows.
        let look =
            |machine: &Inventory| (machine.list_stock(after, warehouse, size + 1), machine.now());
        let (stocks, now) = read(group, deadline, look).await?;
        found.extend(stocks.into_iter().map(|stock| (group.id(), stock, now)));
    }
    found.sort_by(|(_, a, _), (_, b, _)| (&a.sku, &a.warehouse).cmp(&(&b.sku, &b.warehouse)));
    let end = end_of_page(&found, size);
    let mut positions: BTreeMap<GroupId, Vec<u8>> = BTreeMap::new();
    for position in &asked.page.after {
        positions.insert(position.group, position.key.clone());
    }
    for (group, stock, _) in &found[..end] {
        positions.insert(*group, stock.sku.clone().into_bytes());
    }
    let more = end < found.len();
    let positions: Vec<_> =
        positions.into_iter().map(|(group, key)| Position { group, key }).collect();
    let next_page_token = if more { asked.page.next(&positions)? } else { String::new() };
    found.truncate(end);
    let stocks = found.into_iter().map(|(_, stock, now)| wire::stock(stock, now)).collect();
    Ok(pb::ListStockResponse { stocks, next_page_token })
}

async fn read<R>(
    group: &Group<Inventory>,
    deadline: Instant,
    look: impl Fn(&Inventory) -> R,
) -> Result<R, Failure> {
    match group.read(deadline, &look).await {
        Err(ReadError::NotLeader { .. }) => Ok(group.peek(look)),
        answer => answer.map_err(not_read),
    }
}

/// Where a page of whole SKUs ends: a token names a SKU, so none is split, and one that has more
/// warehouses than a page has room for is a page of its own.
fn end_of_page(found: &[(GroupId, Stock, LogTime)], size: usize) -> usize {
    if found.len() <= size {
        return found.len();
    }
    let sku = |nth: usize| found.get(nth).map(|(_, stock, _)| stock.sku.as_str());
    let cut = sku(size);
    let begin = (0..size).rev().take_while(|nth| sku(*nth) == cut).last().unwrap_or(size);
    if begin > 0 {
        return begin;
    }
    (size..found.len()).find(|nth| sku(*nth) != cut).unwrap_or(found.len())
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;

    fn page(skus: &[&str], size: usize) -> usize {
        let group = GroupId::new(GroupKind::Inventory, 0);
        let stock = |sku: &&str| {
            let stock = Stock { sku: (*sku).to_owned(), ..Stock::default() };
            (group, stock, LogTime::ZERO)
        };
        end_of_page(&skus.iter().map(stock).collect::<Vec<_>>(), size)
    }

    #[test]
    fn a_page_never_splits_a_sku() {
        assert_eq!(page(&["A", "B", "C"], 2), 2);
        assert_eq!(page(&["A", "B", "B"], 2), 1);
        assert_eq!(page(&["A", "A", "A", "B"], 2), 3);
        assert_eq!(page(&["A", "A", "A"], 2), 3);
        assert_eq!(page(&["A"], 2), 1);
        assert_eq!(page(&[], 2), 0);
    }
}
