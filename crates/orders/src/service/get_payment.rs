//! GetPayment: the money facts of an order.

use hansa_api::convert::payment::GetPayment;
use hansa_api::pb::payment as wire;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use crate::shell::{Shell, deadline};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::GetPaymentRequest>,
) -> Result<wire::GetPaymentResponse, Failure> {
    let due = deadline(&request);
    let get = GetPayment::try_from(request.into_inner())?;
    let (id, hosted) = shell.find(&get.order)?;
    shell.adopt_first(hosted, id, due).await?;
    let look = |order: &_, contents: &_| show::payment(shell, id, order, contents);
    let payment = hosted.read(id, due, look).await?;
    match payment {
        Some(payment) => Ok(wire::GetPaymentResponse { payment: Some(payment) }),
        None => Err(Failure::of(Reason::PaymentNotFound)),
    }
}
