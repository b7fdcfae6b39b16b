//! An order as a table: its facts, then its lines.

use hansa_api::pb::order::{Order, OrderLine, PersonalState};

use crate::output::Rows;
use crate::values::{amount, dash, short, time};

/// The order's own facts.
pub fn facts(order: Option<&Order>) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no such order");
    let Some(order) = order else { return rows };
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("order", order.name.clone());
    add("state", state(order));
    add("payment", payment(order));
    add("fulfillment", fulfillment(order));
    if let Some(rejection) = &order.rejection {
        let reason = short(rejection.reason().as_str_name(), "REJECT_REASON_");
        add("rejected", format!("{reason} {} (line {})", dash(&rejection.sku), rejection.line));
    }
    if !order.parked_reason.is_empty() {
        add("parked", order.parked_reason.clone());
        add("detail", dash(&order.parked_detail));
    }
    add("customer", dash(&order.customer_id));
    match order.personal_state() {
        PersonalState::Unspecified => {}
        PersonalState::Erased => add("personal", "ERASED".to_owned()),
        PersonalState::Moved => add("personal", "MOVED".to_owned()),
    }
    add("country", order.residence_country.clone());
    add("home", order.home_region.clone());
    add("version", order.version.to_string());
    add("reference", dash(&order.client_reference));
    add("total", amount(order.total.as_ref()));
    if let Some(facts) = &order.payment {
        add("captured", amount(facts.captured.as_ref()));
        add("refunded", amount(facts.refunded.as_ref()));
    }
    add("created", time(order.create_time.as_ref()));
    for line in &order.lines {
        add(&format!("line {}", line.line), line_text(line));
    }
    rows
}

fn line_text(line: &OrderLine) -> String {
    let mut text = format!(
        "{} × {} {} at {}",
        line.quantity,
        line.sku,
        short(line.kind().as_str_name(), "LINE_KIND_").to_lowercase(),
        amount(line.unit_price.as_ref()),
    );
    if line.shipped_quantity > 0 {
        text.push_str(&format!(", shipped {}", line.shipped_quantity));
    }
    if line.returned_quantity > 0 {
        text.push_str(&format!(", returned {}", line.returned_quantity));
    }
    text
}

/// One line per order.
pub fn list(orders: &[Order]) -> Rows {
    let header =
        ["order", "created", "state", "payment", "fulfillment", "customer", "lines", "total"];
    let mut rows = Rows::new(&header, "no orders");
    for order in orders {
        rows.add([
            order.name.clone(),
            time(order.create_time.as_ref()),
            state(order),
            payment(order),
            fulfillment(order),
            dash(&order.customer_id),
            order.lines.len().to_string(),
            amount(order.total.as_ref()),
        ]);
    }
    rows
}

pub fn state(order: &Order) -> String {
    short(order.state().as_str_name(), "ORDER_STATE_")
}

pub fn payment(order: &Order) -> String {
    short(order.payment_state().as_str_name(), "PAYMENT_STATE_")
}

pub fn fulfillment(order: &Order) -> String {
    short(order.fulfillment_state().as_str_name(), "FULFILLMENT_STATE_")
}
