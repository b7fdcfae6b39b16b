use hansa_api::pb::inventory::GetStockRequest;

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    sku: String,
    /// All warehouses when not given.
    #[arg(long, default_value = "")]
    warehouse: String,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request =
        GetStockRequest { region: session.region(), sku: args.sku, warehouse: args.warehouse };
    let response = session
        .call(Role::Warehouse, request, |mut services, request| async move {
            services.inventory.get_stock(request).await
        })
        .await?;
    let name = "hansa.inventory.v1.GetStockResponse";
    output::print(session.format, name, &response, |response| show::rows(&response.stocks))
}
