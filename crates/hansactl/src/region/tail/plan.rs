//! `hansactl region tail plan`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::admin::repair::Action;
use hansa_api::pb::admin::{self as pb, DifferenceClass, ListTailResponse};
use hansa_api::pb::node::TailAction::Unspecified;
use hansa_api::pb::node::{TailAction, TailOrder};
use hansa_reconcile::tree::ENTRIES_MAX;
use hansa_types::id::OrderName;

use super::{happened, told};
use crate::connect::Session;
use crate::error::Problem;
use crate::output;
use crate::reconcile::plan::propose;
use crate::reconcile::planned;
use crate::reconcile::scan::Entry;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The plan holds the hash of every order's record as it was listed: one that has changed since is \
not decided on.

Example:
  hansactl region tail plan eu-west --reason 'INC-12: cut off' --out tail.json \\
    --adopt regions/eu-west/orders/…")]
pub struct Args {
    /// Whose births, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    /// The region that is back, if it is not the one of birth.
    #[arg(long)]
    at: Option<String>,
    /// Why; it stays in the audit chain.
    #[arg(long)]
    reason: String,
    /// The plan's file; must not be there yet.
    #[arg(long = "out", value_name = "FILE")]
    file: PathBuf,
    /// It goes on here as it stands: nobody else has gone on with it.
    #[arg(long, value_name = "ORDER")]
    adopt: Vec<String>,
    /// What was charged here is given back.
    #[arg(long, value_name = "ORDER")]
    compensate: Vec<String>,
    /// Nothing has to be undone.
    #[arg(long, value_name = "ORDER")]
    discard: Vec<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let at = args.at.clone().unwrap_or_else(|| args.birth.clone());
    let session = session.in_region(&at);
    let told = told(&session, &args.birth, &at, ENTRIES_MAX).await?;
    whole(&told)?;
    let entries = entries(&told, &args, &chosen(&args)?)?;
    let yours = told.orders.iter().filter(|of| open(of) && of.proposed() == Unspecified);
    for of in yours.filter(|of| !entries.iter().any(|entry| entry.difference.order == of.order)) {
        eprintln!("{}: yours to say, it is not in the plan: {}", of.order, of.why);
    }
    if entries.is_empty() {
        eprintln!("no plan: there is nothing to decide on");
        return Ok(ExitCode::SUCCESS);
    }
    let plan = propose(&session, &args.file, (args.reason, Vec::new()), entries).await?;
    output::print(session.format, "hansa.admin.v1.ReconcilePlan", &plan.plan, planned::rows)?;
    let count = plan.plan.entries.len();
    eprintln!("{}: {count} decisions; plan {}", args.file.display(), plan.plan.hash);
    if told.truncated {
        eprintln!("there are more: plan again once these are carried out");
    }
    Ok(ExitCode::SUCCESS)
}

/// A list that is not all of it, or may shrink, decides nothing.
fn whole(told: &ListTailResponse) -> Result<(), Problem> {
    if !told.silent_nodes.is_empty() {
        let what = format!("no answer from {}", told.silent_nodes.join(", "));
        return Err(Problem::unreachable(what, "start its nodes, then repeat"));
    }
    if !told.groups_not_final.is_empty() {
        let what = "the new owner's stream was not heard to its end yet: it may know the orders";
        let next = "wait a moment, then repeat; of births that came here by force: who was lost \
                    may know the orders, so hand them over in plan first, to whomever";
        return Err(Problem::refused(what, next));
    }
    Ok(())
}

/// What the planner says himself.
fn chosen(args: &Args) -> Result<BTreeMap<&str, TailAction>, Problem> {
    let said = [
        (TailAction::Adopt, &args.adopt),
        (TailAction::Compensate, &args.compensate),
        (TailAction::Discard, &args.discard),
    ];
    let mut chosen = BTreeMap::new();
    for (action, orders) in said {
        for order in orders {
            if chosen.insert(order.as_str(), action).is_some() {
                return Err(Problem::usage(format!("{order} is named twice"), "name it once"));
            }
        }
    }
    Ok(chosen)
}

fn entries(
    told: &ListTailResponse,
    args: &Args,
    chosen: &BTreeMap<&str, TailAction>,
) -> Result<Vec<Entry>, Problem> {
    let listed = |name: &&str| told.orders.iter().any(|of| of.order == **name);
    if let Some(name) = chosen.keys().find(|name| !listed(name)) {
        let next = format!("`region tail {}` lists them", args.birth);
        let what = match told.truncated {
            true => format!("{name} is not among the first {}", told.orders.len()),
            false => format!("{name} is not in the tail"),
        };
        return Err(Problem::usage(what, next));
    }
    let undoes = |of: &&TailOrder| {
        let action = chosen.get(of.order.as_str());
        of.adopted_version > 0 && matches!(action, Some(TailAction::Adopt | TailAction::Compensate))
    };
    if let Some(of) = told.orders.iter().find(undoes) {
        let what = format!("{}: its owner went on with it, by the same charge", of.order);
        return Err(Problem::refused(what, "discard it, and reconcile it at its owner"));
    }
    let gives_back = |of: &&TailOrder| {
        let chosen = chosen.get(of.order.as_str());
        of.known_to_owner && chosen == Some(&TailAction::Compensate)
    };
    if let Some(of) = told.orders.iter().find(gives_back) {
        let what = format!("{}: its owner was told of it and may bring it back", of.order);
        let next = "see to it there (`region not-adopted`), or adopt it and cancel it then";
        return Err(Problem::refused(what, next));
    }
    let planned = |of: &&TailOrder| {
        chosen.contains_key(of.order.as_str()) || open(of) && of.proposed() != Unspecified
    };
    let decided = told.orders.iter().filter(planned).map(|of| {
        let (action, why) = match chosen.get(of.order.as_str()) {
            Some(action) => (*action, args.reason.clone()),
            None => (of.proposed(), of.why.clone()),
        };
        entry(of, action, why)
    });
    decided.collect()
}

/// What was decided and cannot be done is to be decided anew.
pub(super) fn open(of: &TailOrder) -> bool {
    let outcome = of.decision.as_ref().map_or("", |decision| decision.outcome.as_str());
    !matches!(outcome, "OPEN" | "DONE")
}

fn entry(of: &TailOrder, action: TailAction, why: String) -> Result<Entry, Problem> {
    let odd = |_| Problem::failed(format!("{} is no order's name", of.order), "upgrade hansactl");
    let name: OrderName = of.order.parse().map_err(odd)?;
    let side = |source: &str, says| pb::FactSide {
        source: source.to_owned(),
        says,
        ..pb::FactSide::default()
    };
    let owner = match of.adopted_version {
        0 => "no such order".to_owned(),
        version => format!("version {version}"),
    };
    let here = format!("version {}: {}", of.version, happened(of));
    let difference = pb::FoundDifference {
        class: DifferenceClass::UnshippedTail.into(),
        order: of.order.clone(),
        order_id: order_to_bytes(name.id),
        subject: format!("version {}", of.version),
        order_hash: of.hash.clone(),
        order_version: of.version,
        left: Some(side("region that is back", here)),
        right: Some(side("new owner", owner)),
        amount_minor: of.captured_minor - of.refunded_minor,
        currency: of.currency.clone(),
        units: 0,
    };
    let decide = pb::DecideTail { action: action.into() };
    let repair = Some(pb::Repair { action: Some(Action::DecideTail(decide)) });
    Ok(Entry { difference, repair, why })
}
