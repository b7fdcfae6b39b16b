use hansa_api::pb::customer::{MoveAction, MoveCustomerRequest, MoveCustomerResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{dash, request_id, time};

/// Regions asked to move him on, one after the other.
const HOPS_MAX: usize = 4;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The customer's id.
    customer: String,
    /// Where he lives; ISO 3166-1 alpha-2. The region where the law puts him is asked first.
    #[arg(long)]
    country: String,
    /// The region where he is to live. Without it, only tells where he does.
    #[arg(long, requires_all = ["reason", "ticket"])]
    to: Option<String>,
    /// How long what he left stays readable there, in milliseconds. Request ids live as long
    /// without it.
    #[arg(long = "window-ms", requires = "to")]
    window_ms: Option<u64>,
    /// Deletes what he left before the window is over.
    #[arg(long, requires_all = ["reason", "ticket"])]
    finish_now: bool,
    #[arg(long)]
    reason: Option<String>,
    #[arg(long)]
    ticket: Option<String>,
    /// Repeats an earlier request.
    #[arg(long)]
    request_id: Option<String>,
}

/// Asks the region where the law puts him; then the one where he lives by now, which is the one to
/// move him on, and the one that he left, which says what became of that.
pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = MoveCustomerRequest {
        residence_country: args.country.clone(),
        customer_id: args.customer.clone(),
        request_id: request_id(args.request_id.clone()),
        to: args.to.clone().unwrap_or_default(),
        window_ms: args.window_ms.unwrap_or(0),
        reason: args.reason.clone().unwrap_or_default(),
        ticket: args.ticket.clone().unwrap_or_default(),
        ..Default::default()
    };
    let step = |action: MoveAction, region: &str| MoveCustomerRequest {
        action: action.into(),
        region: region.to_owned(),
        // A region that is named need not be where the law puts him.
        residence_country: match region {
            "" => args.country.clone(),
            _ => String::new(),
        },
        ..request.clone()
    };
    let first = match args.to.is_some() {
        true => MoveAction::Move,
        false => MoveAction::Unspecified,
    };
    let home = ask(session, step(first, "")).await?;
    let (mut lives_in, mut asked) = (home.lives_in.clone(), home.region.clone());
    let mut told = vec![home];
    if let Some(to) = &args.to {
        while lives_in != *to && lives_in != asked && told.len() < HOPS_MAX {
            let moved =
                ask(&session.in_region(&lives_in), step(MoveAction::Move, &lives_in)).await?;
            (lives_in, asked) = (moved.lives_in.clone(), moved.region.clone());
            told.push(moved);
        }
        if lives_in != *to {
            let what = format!("{asked} says that he lives in {lives_in}, not in {to}");
            return Err(Problem::unreachable(what, "repeat the command without --to"));
        }
    }
    while let Some(region) = unasked(&told) {
        let asked = step(MoveAction::Unspecified, &region);
        let asked = ask(&session.in_region(&region), asked).await;
        told.push(asked.map_err(|problem| {
            let what = format!("{region} does not say where it stands: {}", problem.text());
            Problem::unreachable(what, "repeat the command")
        })?);
    }
    for one in &mut told {
        let left = one.delete_time.is_some() && one.receipt.is_none();
        if left && args.finish_now {
            let finish = step(MoveAction::Finish, &one.region);
            *one = ask(&session.in_region(&one.region), finish).await?;
        }
        output::print(session.format, "hansa.customer.v1.MoveCustomerResponse", one, rows)?;
    }
    Ok(())
}

/// A region that was named and has not been asked.
fn unasked(told: &[MoveCustomerResponse]) -> Option<String> {
    let mut named = told.iter().flat_map(|one| [&one.lives_in, &one.former]);
    let new = |name: &&String| !name.is_empty() && told.iter().all(|one| one.region != **name);
    named.find(new).cloned()
}

async fn ask(
    session: &Session,
    request: MoveCustomerRequest,
) -> Result<MoveCustomerResponse, Problem> {
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.customers.move_customer(request).await
        })
        .await
}

fn rows(told: &MoveCustomerResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "nothing is known");
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("region", told.region.clone());
    add("lives in", told.lives_in.clone());
    if told.former.is_empty() {
        add("moved", "never".to_owned());
        return rows;
    }
    add(
        "moved",
        format!("{} from {}, move {}", time(told.move_time.as_ref()), told.former, told.epoch),
    );
    if told.delete_time.is_some() {
        add("took along", format!("{} orders, {}", told.order_count, dash(&told.digest)));
    }
    match &told.receipt {
        Some(receipt) => {
            add("deleted here", time(receipt.erase_time.as_ref()));
            add("region key", dash(&receipt.region_key));
            add("destroyed by", time(receipt.destroy_time.as_ref()));
            add("kept", receipt.kept.clone());
        }
        None if told.delete_time.is_some() => {
            add("deleted here", format!("after {}", time(told.delete_time.as_ref())));
        }
        None => {}
    }
    if !told.open_orders.is_empty() {
        add("waits for", told.open_orders.join(" "));
    }
    if !told.waits_for.is_empty() {
        add("waits for", told.waits_for.clone());
    }
    rows
}
