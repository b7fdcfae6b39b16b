//! Stock as a table.

use hansa_api::pb::inventory::Stock;

use crate::output::Rows;

pub fn rows<'a>(stocks: impl IntoIterator<Item = &'a Stock>) -> Rows {
    let header = [
        "sku",
        "warehouse",
        "sellable",
        "available",
        "reserved",
        "committed",
        "picked",
        "quarantine",
        "damaged",
        "on hand",
    ];
    let mut rows = Rows::new(&header, "no stock");
    for stock in stocks {
        rows.add([
            stock.sku.clone(),
            stock.warehouse.clone(),
            stock.sellable_quantity.to_string(),
            stock.available_quantity.to_string(),
            stock.reserved_quantity.to_string(),
            stock.committed_quantity.to_string(),
            stock.picked_quantity.to_string(),
            stock.quarantine_quantity.to_string(),
            stock.damaged_quantity.to_string(),
            stock.on_hand_quantity.to_string(),
        ]);
    }
    rows
}
