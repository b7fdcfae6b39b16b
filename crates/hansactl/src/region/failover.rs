use std::process::ExitCode;
use std::time::Duration;

use hansa_api::pb::admin::{
    BirthOwner, FailoverRequest, FailoverResponse, FailoverStep, GetRegionLossResponse,
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
Only to a region that the law of those who live there admits. A region that serves while it is \
cut off cannot be fenced: --confirm-stopped says that you have seen its machines off. One with \
leases is fenced in a majority of regions, and taken over when no lease can be held. What it \
accepted and nobody received is lost, and listed. An interrupted command is repeated as it was.

Example:
  hansactl region failover eu-west --to eu-central --confirm-stopped \\
    --reason 'flood in Dublin' --ticket INC-12")]
pub struct Args {
    /// Whose births, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    /// The region that takes over.
    #[arg(long)]
    to: String,
    #[command(flatten)]
    why: Why,
    /// The machines of the present owner are off: you have seen to it.
    #[arg(long)]
    confirm_stopped: bool,
    /// Residents whose law does not admit the new owner are refused while it owns.
    #[arg(long)]
    leave_unserved: bool,
    /// How long to wait for all of it.
    #[arg(long, default_value = "10m", value_parser = span)]
    wait: Duration,
}

/// A failover that somebody ordered.
pub struct Forced {
    pub birth: String,
    pub to: String,
    pub why: Why,
    pub confirm_stopped: bool,
    pub leave_unserved: bool,
    pub until: Instant,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let begun = Instant::now();
    let forced = Forced {
        birth: args.birth,
        to: args.to,
        why: args.why,
        confirm_stopped: args.confirm_stopped,
        leave_unserved: args.leave_unserved,
        until: begun + args.wait,
    };
    let epoch = own(session, &forced).await?;
    eprintln!("{} owns, {:.1} s after the command began", forced.to, begun.elapsed().as_secs_f64());
    let told = settle(session, &forced, epoch).await?;
    status::print(session, &told)?;
    Ok(ExitCode::SUCCESS)
}

/// Goes on until the region that takes over owns; in which epoch.
pub async fn own(session: &Session, forced: &Forced) -> Result<u64, Problem> {
    let Forced { birth, to, .. } = forced;
    let of = plan::believed(session, to, birth).await?.1;
    // A region that fails over to itself gives up what others began: that is never done already.
    if of.owner_region == *to && birth != to {
        eprintln!("{to} owns what was born in {birth} already, in epoch {}", of.epoch);
        return Ok(of.epoch);
    }
    let record = record(session, forced, &of).await?;
    let epoch = record.epoch;
    drive(session, forced, record).await?;
    Ok(epoch)
}

/// Waits until everything is adopted; what the new owner says then.
pub async fn settle(
    session: &Session,
    forced: &Forced,
    epoch: u64,
) -> Result<GetRegionLossResponse, Problem> {
    watch::adopted(session, &forced.to, &forced.birth, epoch, forced.until).await
}

async fn record(
    session: &Session,
    forced: &Forced,
    of: &BirthOwner,
) -> Result<OwnershipRecord, Problem> {
    let newest = plan::newest(session, &forced.birth, of).await;
    let record = OwnershipRecord {
        birth_region: forced.birth.clone(),
        owner_region: forced.to.clone(),
        epoch: epoch(of, &forced.to, newest),
        ends_epoch: newest,
        kind: "failover".to_owned(),
        confirmed_stopped: forced.confirm_stopped,
        ..OwnershipRecord::default()
    };
    plan::signed(session, record, &forced.why)
}

/// A promise that was made for this very region is used; beyond one for another it goes.
fn epoch(of: &BirthOwner, to: &str, newest: u64) -> u64 {
    match of.fence_epoch > newest && of.fence_to == to {
        true => of.fence_epoch,
        false => newest.max(of.fence_epoch) + 1,
    }
}

/// Asks the survivor again and again until it says that the record is made.
async fn drive(session: &Session, forced: &Forced, record: OwnershipRecord) -> Result<(), Problem> {
    let request = FailoverRequest {
        request_id: request_id(None),
        region: forced.to.clone(),
        record: Some(record),
        accept_refused_laws: forced.leave_unserved,
    };
    let (session, mut said) = (session.in_region(&forced.to), Said::default());
    loop {
        let asked =
            session.call(Role::Operator, request.clone(), |mut services, request| async move {
                services.region_loss.failover(request).await
            });
        let answer = asked.await?;
        said.say(line(&answer));
        if answer.step() == FailoverStep::Recorded {
            return Ok(());
        }
        if Instant::now() >= forced.until {
            let what = format!("not taken over yet: {}", answer.detail);
            let next = "repeat the command to go on; a majority of regions must answer, or the \
                        machines be off for certain (--confirm-stopped)";
            return Err(Problem::unreachable(what, next));
        }
        sleep(BETWEEN).await;
    }
}

fn line(answer: &FailoverResponse) -> String {
    let step = short(answer.step().as_str_name(), "FAILOVER_STEP_").to_lowercase();
    let mut line = match answer.step() {
        FailoverStep::Recorded => format!("recorded in epoch {}", answer.epoch),
        _ => format!("{step}: {}", answer.detail),
    };
    for (what, who) in [
        ("no promise from", &answer.unfenced_regions),
        ("refused while it owns, by their law", &answer.refused_laws),
        ("not told yet, hear at first contact", &answer.untold_regions),
    ] {
        if !who.is_empty() {
            line = format!("{line}; {what}: {}", who.join(", "));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_uses_the_promise_that_was_made_for_it() {
        let of = |fence_epoch, fence_to: &str| BirthOwner {
            fence_epoch,
            fence_to: fence_to.into(),
            ..BirthOwner::default()
        };
        assert_eq!(epoch(&of(0, ""), "eu-central", 3), 4);
        assert_eq!(epoch(&of(4, "eu-central"), "eu-central", 3), 4);
        assert_eq!(epoch(&of(4, "us-east"), "eu-central", 3), 5, "another operator's");
        assert_eq!(epoch(&of(3, "eu-central"), "eu-central", 3), 4, "it is over");
    }
}
