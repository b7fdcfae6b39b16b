use hansa_api::pb::payment::{GetPaymentRequest, payment_service_client::PaymentServiceClient};

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// regions/<region>/orders/<uuid>
    order: String,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let mut payments = PaymentServiceClient::new(session.channel(Role::Finance).await?);
    let request = GetPaymentRequest { order: args.order };
    let response = payments.get_payment(session.request(request)).await?.into_inner();
    output::print(session.format, "hansa.payment.v1.GetPaymentResponse", &response, |response| {
        show::rows(response.payment.as_ref())
    })
}
