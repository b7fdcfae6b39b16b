use hansa_api::pb::customer::{EraseCustomerRequest, EraseCustomerResponse, ErasureReceipt};

use super::Who;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{dash, request_id, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: Who,
    /// Repeats an earlier request, such as one that not every region answered.
    #[arg(long)]
    request_id: Option<String>,
}

/// Asks the home first: it refuses while an order is open, and knows where else he may be.
pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let id = request_id(args.request_id);
    let request = EraseCustomerRequest {
        residence_country: args.who.country(),
        customer_id: args.who.customer(),
        order: args.who.order(),
        request_id: id.clone(),
        ..Default::default()
    };
    let home = ask(session, request).await?;
    show(session, &home)?;
    let receipt = home.receipt.unwrap_or_default();
    let mut known = receipt.key.is_some();
    let mut silent = Vec::new();
    for region in receipt.lawful_regions.iter().filter(|region| **region != receipt.region) {
        let request = EraseCustomerRequest {
            customer_id: args.who.customer(),
            order: args.who.order(),
            request_id: id.clone(),
            region: region.clone(),
            copies: receipt.key.iter().cloned().collect(),
            ..Default::default()
        };
        // Its own gateway: nobody else needs to hear who it is about.
        match ask(&session.in_region(region), request).await {
            Ok(answer) => {
                let told = answer.receipt.as_ref();
                known |= told.is_some_and(|told| told.key.is_some() || told.copy_count > 0);
                show(session, &answer)?;
            }
            Err(problem) => silent.push(format!("{region}: {}", problem.text())),
        }
    }
    if !silent.is_empty() {
        let what =
            format!("not every lawful region has erased the customer; {}", silent.join("; "));
        return Err(Problem::unreachable(what, format!("repeat with --request-id {id}")));
    }
    match known {
        true => Ok(()),
        false => Err(Problem::not_found(
            "no lawful region knows the customer",
            "check the id and the country in which he lived when he ordered",
        )),
    }
}

async fn ask(
    session: &Session,
    request: EraseCustomerRequest,
) -> Result<EraseCustomerResponse, Problem> {
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.customers.erase_customer(request).await
        })
        .await
}

fn show(session: &Session, answer: &EraseCustomerResponse) -> Result<(), Problem> {
    output::print(session.format, "hansa.customer.v1.EraseCustomerResponse", answer, rows)
}

fn rows(answer: &EraseCustomerResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no receipt");
    let Some(receipt) = &answer.receipt else { return rows };
    let ErasureReceipt { region, key, order_count, region_key, kept, copy_count, .. } = receipt;
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("region", region.clone());
    let Some(key) = key else {
        add("erased", format!("nothing of his own here, {copy_count} copies of his key"));
        return rows;
    };
    add("erased", time(receipt.erase_time.as_ref()));
    add("before", if answer.replayed { "yes, by an earlier request" } else { "no" }.to_owned());
    add("pseudonym", format!("{} generation {}", key.subject, key.generation));
    add("orders kept", order_count.to_string());
    add("kept", kept.clone());
    add("region key", dash(region_key));
    add("destroyed by", time(receipt.destroy_time.as_ref()));
    add("lawful regions", receipt.lawful_regions.join(" "));
    rows
}
