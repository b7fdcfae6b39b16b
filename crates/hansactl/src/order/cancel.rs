use hansa_api::pb::order::CancelOrderRequest;

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// regions/<region>/orders/<uuid>
    order: String,
    /// Why, for the order's history.
    #[arg(long, default_value = "cancelled by an operator")]
    reason: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = CancelOrderRequest {
        order: args.order,
        request_id: values::request_id(args.request_id),
        reason: args.reason,
    };
    let response = session
        .call(Role::Storefront, request, |mut services, request| async move {
            services.orders.cancel_order(request).await
        })
        .await?;
    output::print(session.format, "hansa.order.v1.CancelOrderResponse", &response, |response| {
        show::facts(response.order.as_ref())
    })
}
