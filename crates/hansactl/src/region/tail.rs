//! `hansactl region tail …`: what a region that is back did to orders after their new owner's
//! copies were made, and what becomes of it. Two people decide, on a plan as `reconcile` has it.

mod plan;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use hansa_api::pb::admin::{ListTailRequest, ListTailResponse};
use hansa_api::pb::node::TailOrder;

use crate::connect::{Role, Session};
use crate::error::{self, Problem};
use crate::output::{self, Rows};
use crate::reconcile::kind::Kind;
use crate::reconcile::planned::decision;
use crate::reconcile::show::priced;
use crate::reconcile::{apply, approve};
use crate::region::plan::believed;
use crate::values::dash;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Asked of the region that is back: what it accepted before it heard that another one owns.

Exit codes: 0 when all of it is decided on, 1 while something is not, 3 when not all of it is known.

Example:
  hansactl region tail eu-west
  hansactl region tail plan eu-west --reason 'INC-12: cut off' --out tail.json
  hansactl region tail approve tail.json --ticket OPS-7
  hansactl region tail apply tail.json"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Whose births, such as eu-west.
    #[arg(value_name = "REGION", required = true)]
    birth: Option<String>,
    /// The region that is back, if it is not the one of birth.
    #[arg(long)]
    at: Option<String>,
    /// Orders at most.
    #[arg(long, default_value_t = 1_000)]
    max: u32,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Writes a plan: for each order what is proposed, or what you say, and why.
    Plan(plan::Args),
    /// Shows a plan, and is the second person's word on it; never the planner's own.
    Approve {
        #[arg(value_name = "PLAN")]
        file: PathBuf,
        /// Under which it is known elsewhere.
        #[arg(long)]
        ticket: String,
        /// Yes, without being asked.
        #[arg(long)]
        yes: bool,
    },
    /// Carries out an approved plan. A repeat goes on where a broken call ended; an order whose
    /// record has changed is passed over and named.
    Apply {
        #[arg(value_name = "PLAN")]
        file: PathBuf,
        /// A plan with more decisions than this is refused as a whole.
        #[arg(long, default_value_t = 100)]
        max_decisions: u32,
    },
}

/// What is to be done about a tail, in one line.
pub fn steps(birth: &str) -> String {
    format!(
        "`region tail {birth}` lists it, `region tail plan {birth} --reason … --out tail.json` \
         plans, another person says `region tail approve tail.json --ticket …`, and `region tail \
         apply tail.json` carries it out"
    )
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    match args.verb {
        Some(Verb::Plan(args)) => plan::run(session, args).await,
        Some(Verb::Approve { file, ticket, yes }) => {
            approve::run(session, (&file, Kind::Tail), ticket, yes).await
        }
        Some(Verb::Apply { file, max_decisions }) => {
            apply::run(session, (&file, Kind::Tail), max_decisions).await
        }
        None => list(session, args).await,
    }
}

/// What the region `at` has of these births that their new owner never saw.
async fn told(
    session: &Session,
    birth: &str,
    at: &str,
    max: u32,
) -> Result<ListTailResponse, Problem> {
    // Before it has heard of a new owner, it has no tail to tell of.
    believed(session, at, birth).await?;
    let request = ListTailRequest { region: at.to_owned(), birth_region: birth.to_owned(), max };
    let session = session.in_region(at);
    let call = session.call(Role::Operator, request, |mut services, request| async move {
        services.region_loss.list_tail(request).await
    });
    call.await
}

async fn list(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let birth = args.birth.unwrap_or_default();
    let at = args.at.unwrap_or_else(|| birth.clone());
    let told = told(session, &birth, &at, args.max).await?;
    output::print(session.format, "hansa.admin.v1.ListTailResponse", &told, rows)?;
    if !told.groups_not_final.is_empty() {
        eprintln!("the new owner's stream was not heard to its end yet: the list may shrink");
    }
    if !told.silent_nodes.is_empty() {
        eprintln!("no answer from {}: what they lead is missing", told.silent_nodes.join(", "));
    }
    // What is to be decided on comes first, so a list that was cut shows it.
    let undecided = told.orders.iter().filter(|of| plan::open(of)).count();
    if undecided > 0 {
        eprintln!("{undecided} of them are to be decided on");
    }
    Ok(match (told.silent_nodes.is_empty() && told.groups_not_final.is_empty(), undecided) {
        (false, _) => ExitCode::from(error::NO_ANSWER),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(error::WRONG),
    })
}

fn rows(told: &ListTailResponse) -> Rows {
    let header = [
        "order",
        "version here",
        "owner has",
        "what happened",
        "charged",
        "proposed",
        "why",
        "decided",
    ];
    let mut rows = Rows::new(&header, "the new owner has seen all of it");
    for of in &told.orders {
        let decided = of.decision.as_ref().map(|decision| {
            format!("{}: {}", self::decision(decision.action()), decision.outcome.to_lowercase())
        });
        rows.add([
            of.order.clone(),
            of.version.to_string(),
            of.adopted_version.to_string(),
            dash(&happened(of)),
            priced(of.captured_minor - of.refunded_minor, &of.currency),
            decision(of.proposed()),
            dash(&of.why),
            dash(&decided.unwrap_or_default()),
        ]);
    }
    rows
}

fn happened(of: &TailOrder) -> String {
    let states = of.events.iter().map(|event| event.state.as_str());
    // What was shipped is seen from the last.
    let goods = of.events.last().map(|event| event.fulfillment_state.as_str());
    states.chain(goods).collect::<Vec<_>>().join(" ")
}
