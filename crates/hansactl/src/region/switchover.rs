use std::process::ExitCode;
use std::time::Duration;

use hansa_api::pb::admin::{
    CancelSwitchoverRequest, SwitchoverRequest, SwitchoverResponse, SwitchoverStep,
};
use hansa_api::pb::directory::OwnershipRecord;
use tokio::time::{Instant, sleep};

use super::plan::{self, Why};
use super::status;
use super::watch::{self, BETWEEN, Said};
use crate::args::span;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::values::{request_id, short};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The owner takes no new order of them, ships to its last sequence, and only then the other region \
owns. An interrupted command is repeated as it was; --cancel gives it up before it is recorded.

Example:
  hansactl region switchover eu-west --to eu-central --reason maintenance --ticket OPS-7")]
pub struct Args {
    /// Whose births, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    /// The new owner.
    #[arg(long, required_unless_present = "cancel")]
    to: Option<String>,
    #[command(flatten)]
    why: Option<Why>,
    /// Gives up a switchover that is not recorded yet.
    #[arg(long, conflicts_with_all = ["to", "reason", "ticket"])]
    cancel: bool,
    /// Residents whose law does not admit the new owner are refused while it owns.
    #[arg(long)]
    leave_unserved: bool,
    /// Orders that the new owner cannot open, for a data key is missing, are not waited for and not
    /// adopted: `region not-adopted` lists them then.
    #[arg(long)]
    leave_unopened: bool,
    /// How long to wait for all of it.
    #[arg(long, default_value = "10m", value_parser = span)]
    wait: Duration,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    if args.cancel {
        return cancel(session, &args.birth).await;
    }
    let missing = || Problem::usage("--reason and --ticket are required", "say why, and where");
    let (why, to) = (args.why.ok_or_else(missing)?, args.to.unwrap_or_default());
    let plan = Plan {
        birth: args.birth,
        to,
        kind: "switchover",
        why,
        accept_refused_laws: args.leave_unserved,
        accept_unopened: args.leave_unopened,
        until: Instant::now() + args.wait,
    };
    hand_over(session, plan).await
}

/// A switchover, whichever way.
pub struct Plan {
    pub birth: String,
    pub to: String,
    pub kind: &'static str,
    pub why: Why,
    pub accept_refused_laws: bool,
    pub accept_unopened: bool,
    pub until: Instant,
}

pub async fn hand_over(session: &Session, plan: Plan) -> Result<ExitCode, Problem> {
    let Plan { birth, to, .. } = &plan;
    let owner = plan::believed(session, to, birth).await?.1.owner_region;
    // By the owner itself: others may not have heard of its epoch.
    let told = plan::told(session, &owner).await?;
    let of = plan::birth(&told, birth)?.clone();
    let epoch = match of.owner_region == *to {
        true => {
            eprintln!("{to} owns what was born in {birth} already, in epoch {}", of.epoch);
            of.epoch
        }
        false => {
            let newest = plan::newest(session, birth, &of).await;
            let record = OwnershipRecord {
                birth_region: birth.clone(),
                owner_region: to.clone(),
                epoch: newest + 1,
                ends_epoch: of.epoch,
                kind: plan.kind.to_owned(),
                ..OwnershipRecord::default()
            };
            let record = plan::signed(session, record, &plan.why)?;
            let begun = Instant::now();
            drive(session, &of.owner_region, &plan, record).await?;
            let took = begun.elapsed().as_secs_f64();
            eprintln!("handed over in {took:.1} s from the first step to the record");
            newest + 1
        }
    };
    let told = watch::adopted(session, to, birth, epoch, plan.until).await?;
    status::print(session, &told)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the owner again and again until it says that the record is made.
async fn drive(
    session: &Session,
    owner: &str,
    plan: &Plan,
    record: OwnershipRecord,
) -> Result<(), Problem> {
    let request = SwitchoverRequest {
        request_id: request_id(None),
        region: owner.to_owned(),
        record: Some(record),
        accept_refused_laws: plan.accept_refused_laws,
        accept_unopened: plan.accept_unopened,
    };
    let (session, mut said) = (session.in_region(owner), Said::default());
    loop {
        let asked =
            session.call(Role::Operator, request.clone(), |mut services, request| async move {
                services.region_loss.switchover(request).await
            });
        let answer = asked.await?;
        said.say(line(&answer));
        if answer.step() == SwitchoverStep::Recorded {
            return Ok(());
        }
        if Instant::now() >= plan.until {
            let what = format!("not handed over yet: {}", answer.detail);
            let next = "repeat it to go on, or give it up: `region switchover … --cancel`";
            return Err(Problem::unreachable(what, next));
        }
        sleep(BETWEEN).await;
    }
}

fn line(answer: &SwitchoverResponse) -> String {
    let step = short(answer.step().as_str_name(), "SWITCHOVER_STEP_").to_lowercase();
    let mut line = format!("{step}: {} of {} groups", answer.groups_done, answer.groups);
    match answer.step() {
        SwitchoverStep::Recorded => line = format!("recorded in epoch {}", answer.epoch),
        SwitchoverStep::Waiting => line = "waiting for the new owner; nothing is drained".into(),
        _ => {}
    }
    if !answer.detail.is_empty() {
        line = format!("{line} ({})", answer.detail);
    }
    if !answer.untold_regions.is_empty() {
        let who = answer.untold_regions.join(", ");
        line = format!("{line}; not told yet, hear at first contact: {who}");
    }
    line
}

async fn cancel(session: &Session, birth: &str) -> Result<ExitCode, Problem> {
    let session = session.here()?;
    let told = plan::told(&session, &session.region()).await?;
    let owner = plan::birth(&told, birth)?.owner_region.clone();
    let request = CancelSwitchoverRequest {
        request_id: request_id(None),
        region: owner.clone(),
        birth_region: birth.to_owned(),
    };
    let asked = session.in_region(&owner);
    let answer = asked
        .call(Role::Operator, request, |mut services, request| async move {
            services.region_loss.cancel_switchover(request).await
        })
        .await?;
    match answer.cancelled {
        true => eprintln!("given up; {owner} goes on in epoch {}", answer.epoch),
        false => eprintln!("nothing was being handed over; {owner} owns in epoch {}", answer.epoch),
    }
    Ok(ExitCode::SUCCESS)
}
