//! A payment as a table.

use hansa_api::pb::payment::Payment;

use crate::output::Rows;
use crate::values::{amount, dash, short};

pub fn rows(payment: Option<&Payment>) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no such payment");
    let Some(payment) = payment else { return rows };
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("payment", payment.payment.clone());
    add("order", payment.order.clone());
    add("state", short(payment.state().as_str_name(), "PAYMENT_STATE_"));
    add("authorized", amount(payment.authorized.as_ref()));
    add("captured", amount(payment.captured.as_ref()));
    add("refunded", amount(payment.refunded.as_ref()));
    add("provider", dash(&payment.provider));
    add("provider reference", dash(&payment.provider_reference));
    rows
}
