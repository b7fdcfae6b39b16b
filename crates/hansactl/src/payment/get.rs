use hansa_api::pb::payment::GetPaymentRequest;

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
    let request = GetPaymentRequest { order: args.order };
    let response = session
        .call(Role::Finance, request, |mut services, request| async move {
            services.payments.get_payment(request).await
        })
        .await?;
    output::print(session.format, "hansa.payment.v1.GetPaymentResponse", &response, |response| {
        show::rows(response.payment.as_ref())
    })
}
