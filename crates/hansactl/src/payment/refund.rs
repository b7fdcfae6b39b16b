use hansa_api::pb::payment::RefundPaymentRequest;

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::values;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hansactl payment refund regions/eu-west/orders/0193... 5.00 GBP"
)]
pub struct Args {
    /// regions/<region>/orders/<uuid>
    order: String,
    /// How much, such as 5.00.
    amount: String,
    /// ISO 4217 code.
    currency: String,
    #[arg(long, default_value = "refunded by an operator")]
    reason: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = RefundPaymentRequest {
        order: args.order,
        amount: Some(values::money(&args.amount, &args.currency)?),
        request_id: values::request_id(args.request_id),
        reason: args.reason,
    };
    let response = session
        .call(Role::Finance, request, |mut services, request| async move {
            services.payments.refund_payment(request).await
        })
        .await?;
    let name = "hansa.payment.v1.RefundPaymentResponse";
    output::print(session.format, name, &response, |response| show::rows(response.payment.as_ref()))
}
