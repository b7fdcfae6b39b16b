use hansa_api::pb::inventory::ReceiveStockRequest;

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    sku: String,
    /// Units, at least 1.
    quantity: i64,
    /// The region's default warehouse when not given.
    #[arg(long, default_value = "")]
    warehouse: String,
    /// Delivery note or other document.
    #[arg(long, default_value = "")]
    document: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = ReceiveStockRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        sku: args.sku,
        warehouse: args.warehouse,
        quantity: args.quantity,
        document: args.document,
    };
    let response = session
        .call(Role::Warehouse, request, |mut services, request| async move {
            services.inventory.receive_stock(request).await
        })
        .await?;
    let name = "hansa.inventory.v1.ReceiveStockResponse";
    output::print(session.format, name, &response, |response| show::rows(&response.stock))
}
