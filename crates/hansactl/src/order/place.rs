use std::process::ExitCode;

use hansa_api::pb::order::{
    LineKind, OrderState, PersonalDetails, PlaceOrderLine, PlaceOrderRequest,
};

use super::show;
use crate::connect::{Role, Session};
use crate::error::{self, Problem};
use crate::output;
use crate::values;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hansactl order place --country DE --customer 12583 --currency EUR \\
      --line 85123A:2:2.55 --line 22633:1:1.85 --fee POST:1:18.00")]
pub struct Args {
    /// Residence of the customer, ISO 3166-1 alpha-2: decides the home region.
    #[arg(long)]
    country: String,
    /// The customer; leave out for a guest.
    #[arg(long, default_value = "")]
    customer: String,
    /// Goods from stock, SKU:QUANTITY:PRICE; may be repeated.
    #[arg(long = "line", value_name = "SKU:QUANTITY:PRICE", required = true)]
    lines: Vec<String>,
    /// A fee without stock, CODE:QUANTITY:PRICE; may be repeated.
    #[arg(long = "fee", value_name = "CODE:QUANTITY:PRICE")]
    fees: Vec<String>,
    /// ISO 4217 code of all prices.
    #[arg(long, default_value = "GBP")]
    currency: String,
    /// The payment provider's token, never a card number.
    #[arg(long, default_value = "tok_approve", value_name = "TOKEN")]
    payment_token: String,
    #[arg(long, default_value = "")]
    name: String,
    #[arg(long, default_value = "")]
    email: String,
    /// Your own reference, such as an invoice number.
    #[arg(long, default_value = "")]
    reference: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let mut lines = Vec::with_capacity(args.lines.len() + args.fees.len());
    for (texts, kind) in [(&args.lines, LineKind::Stock), (&args.fees, LineKind::Fee)] {
        for text in texts {
            lines.push(line(text, kind, &args.currency)?);
        }
    }
    let personal = PersonalDetails { name: args.name, email: args.email, ..Default::default() };
    let request = PlaceOrderRequest {
        residence_country: args.country,
        customer_id: args.customer,
        request_id: values::request_id(args.request_id),
        lines,
        payment_token: args.payment_token,
        personal: (personal != PersonalDetails::default()).then_some(personal),
        client_reference: args.reference,
        placed_time: None,
    };
    let response = session
        .call(Role::Storefront, request, |mut services, request| async move {
            services.orders.place_order(request).await
        })
        .await?;
    let name = "hansa.order.v1.PlaceOrderResponse";
    output::print(session.format, name, &response, |response| {
        show::facts(response.order.as_ref())
    })?;
    Ok(exit_code(response.order.unwrap_or_default().state()))
}

/// A script that places an order wants to know whether it stands.
fn exit_code(state: OrderState) -> ExitCode {
    match state {
        OrderState::Confirmed | OrderState::Completed => ExitCode::SUCCESS,
        OrderState::Rejected | OrderState::Cancelled => ExitCode::from(error::REFUSED),
        OrderState::Pending | OrderState::Parked | OrderState::Unspecified => {
            eprintln!("next: `order watch` follows it");
            ExitCode::from(error::NO_ANSWER)
        }
    }
}

fn line(text: &str, kind: LineKind, currency: &str) -> Result<PlaceOrderLine, Problem> {
    let wrong = || {
        let what = format!("`{text}` is not SKU:QUANTITY:PRICE");
        Problem::usage(what, "write lines like 85123A:2:2.55")
    };
    // From the right: a SKU may hold anything but the last two parts.
    let mut parts = text.rsplitn(3, ':');
    let (price, quantity, sku) = (parts.next(), parts.next(), parts.next());
    let (Some(price), Some(quantity), Some(sku)) = (price, quantity, sku) else {
        return Err(wrong());
    };
    Ok(PlaceOrderLine {
        kind: kind.into(),
        sku: sku.to_owned(),
        description: String::new(),
        quantity: quantity.parse().map_err(|_| wrong())?,
        unit_price: Some(values::money(price, currency)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_three_parts() {
        let good = line("85123A:2:2.55", LineKind::Stock, "GBP").expect("a line");
        assert_eq!((good.sku.as_str(), good.quantity), ("85123A", 2));
        for wrong in ["85123A", "85123A:2", "85123A:two:2.55", "85123A:2:2.555"] {
            assert!(line(wrong, LineKind::Stock, "GBP").is_err(), "{wrong}");
        }
    }
}
