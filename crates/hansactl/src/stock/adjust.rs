use hansa_api::pb::inventory::AdjustStockRequest;

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;
use crate::values;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hansactl stock adjust 85123A -3 --reason 'damaged in transit'")]
pub struct Args {
    sku: String,
    /// Signed change of the available units.
    #[arg(allow_negative_numbers = true)]
    delta: i64,
    #[arg(long)]
    reason: String,
    /// The region's default warehouse when not given.
    #[arg(long, default_value = "")]
    warehouse: String,
    /// Count sheet or other document.
    #[arg(long, default_value = "")]
    document: String,
    /// Refuse unless this many units are on hand before the change.
    #[arg(long)]
    expect_on_hand: Option<i64>,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = AdjustStockRequest {
        request_id: values::request_id(args.request_id),
        region: session.region(),
        sku: args.sku,
        warehouse: args.warehouse,
        delta: args.delta,
        reason: args.reason,
        document: args.document,
        expected_on_hand: args.expect_on_hand,
    };
    let response = session
        .call(Role::Warehouse, request, |mut services, request| async move {
            services.inventory.adjust_stock(request).await
        })
        .await?;
    let name = "hansa.inventory.v1.AdjustStockResponse";
    output::print(session.format, name, &response, |response| show::rows(&response.stock))
}
