use hansa_api::pb::order::{ReturnItemsRequest, ReturnLine};

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::values;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hansactl order return regions/eu-west/orders/0193... --line 1:2"
)]
pub struct Args {
    /// regions/<region>/orders/<uuid>
    order: String,
    /// What comes back, LINE:QUANTITY, lines counted from 1; may be repeated.
    #[arg(long = "line", value_name = "LINE:QUANTITY", required = true, value_parser = line)]
    lines: Vec<ReturnLine>,
    /// Why, for the order's history.
    #[arg(long, default_value = "returned")]
    reason: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = ReturnItemsRequest {
        order: args.order,
        request_id: values::request_id(args.request_id),
        lines: args.lines,
        reason: args.reason,
    };
    let response = session
        .call(Role::Storefront, request, |mut services, request| async move {
            services.orders.return_items(request).await
        })
        .await?;
    eprintln!("refund {}", values::amount(response.refund.as_ref()));
    output::print(session.format, "hansa.order.v1.ReturnItemsResponse", &response, |response| {
        show::facts(response.order.as_ref())
    })
}

fn line(text: &str) -> Result<ReturnLine, String> {
    let wrong = || "expected LINE:QUANTITY, such as 1:2".to_owned();
    let (line, quantity) = text.split_once(':').ok_or_else(wrong)?;
    let line = line.parse().map_err(|_| wrong())?;
    Ok(ReturnLine { line, quantity: quantity.parse().map_err(|_| wrong())? })
}
