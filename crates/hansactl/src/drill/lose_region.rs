use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use hansa_api::pb::admin::{
    DrainNodeRequest, GetRegionLossResponse, ListMembersRequest, RegionNode,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::probe::{self, Placed};
use crate::args::span;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::invariants::check;
use crate::region::failover::{self, Forced};
use crate::region::plan::{self, Why};
use crate::region::tail;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Customers of the region order all the time, at the gateways of the one that takes over. Every \
node of the region is told to stop; then it is failed over, as `region failover \
--confirm-stopped` does it. RTO is the time from the stop to the first confirmed order of a \
customer of that region; RPO is what was heard of and never received, and which confirmed orders \
are not found. It ends in the invariants of the region that took over. The region stays stopped: \
start it, then `region failback`.

Exit codes: 0 nothing was lost and every invariant holds; 1 an invariant does not hold, a confirmed
order is not found, or none was confirmed again; 2 usage; 4 refused.

Example, on the league of `hansa dev`:
  hansactl drill lose-region eu-west --to eu-central --yes")]
pub struct Args {
    /// The region to lose, such as eu-west.
    #[arg(value_name = "REGION")]
    lost: String,
    /// The region that takes over.
    #[arg(long)]
    to: String,
    /// Yes, stop it.
    #[arg(long, required = true)]
    yes: bool,
    /// Where its customers live, ISO 3166-1 alpha-2.
    #[arg(long, default_value = "DE")]
    country: String,
    /// How its nodes are stopped.
    #[arg(long, value_enum, default_value = "drain")]
    stop: Stop,
    /// How long customers order before the region is lost.
    #[arg(long, default_value = "10s", value_parser = span)]
    load: Duration,
    /// How long to wait for each thing.
    #[arg(long, default_value = "5m", value_parser = span)]
    wait: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Stop {
    /// Each is told to, as `node drain` does.
    Drain,
    /// By you: the drill says when, and waits.
    ByHand,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let told = plan::told(session, &args.to).await?;
    let of = plan::birth(&told, &args.lost)?;
    if of.owner_region != args.lost {
        let what = format!("{} does not own what was born in it: {}", args.lost, of.owner_region);
        return Err(Problem::refused(what, "bring it home first: `region failback`"));
    }
    if !of.heirs.iter().any(|heir| heir.region == args.to) {
        let lawful: Vec<_> = of.heirs.iter().map(|heir| heir.region.as_str()).collect();
        let what = format!("the law admits no take-over by {}", args.to);
        return Err(Problem::refused(what, format!("one of: {}", lawful.join(", "))));
    }
    for region in [&args.lost, &args.to] {
        probe::stock(session, region).await?;
    }
    let (stop, stopped) = watch::channel(false);
    let customers = probe::order(session, &args.to, &args.country, stopped);
    let drill = async {
        let done = lose(session, &args).await;
        stop.send_replace(true);
        done
    };
    let (placed, lost) = tokio::join!(customers, drill);
    report(session, &args, &placed, &lost?).await
}

/// When the region was stopped, and when another one owned.
struct Lost {
    at: Instant,
    owned: Instant,
    told: GetRegionLossResponse,
}

async fn lose(session: &Session, args: &Args) -> Result<Lost, Problem> {
    eprintln!("customers order for {} s", args.load.as_secs());
    sleep(args.load).await;
    let at = Instant::now();
    match args.stop {
        Stop::Drain => drain(session, &args.lost).await?,
        Stop::ByHand => eprintln!("stop every node of {} now", args.lost),
    }
    silent(session, args).await?;
    eprintln!("{} is lost; {} takes over", args.lost, args.to);
    let why = Why { reason: "drill".to_owned(), ticket: "DRILL".to_owned() };
    let forced = Forced {
        birth: args.lost.clone(),
        to: args.to.clone(),
        why,
        confirm_stopped: true,
        leave_unserved: true,
        until: Instant::now() + args.wait,
    };
    let epoch = failover::own(session, &forced).await?;
    let owned = Instant::now();
    let told = failover::settle(session, &forced, epoch).await?;
    // A request may be one that the lost region carried out: those that are surely new are taken
    // once the clocks' difference has passed.
    eprintln!("waiting for the first orders at {}", args.to);
    sleep(AFTER).await;
    Ok(Lost { at, owned, told })
}

/// Longer than a request may be doubted that was first sent after the record.
const AFTER: Duration = Duration::from_secs(15);

async fn nodes(session: &Session, region: &str) -> Result<Vec<RegionNode>, Problem> {
    let request = ListMembersRequest { region: region.to_owned() };
    let told = session
        .in_region(region)
        .call(Role::Operator, request, |mut services, request| async move {
            services.membership.list_members(request).await
        })
        .await?;
    Ok(told.nodes.into_iter().filter(|node| !node.retired && node.reachable).collect())
}

async fn drain(session: &Session, region: &str) -> Result<(), Problem> {
    let there = session.in_region(region);
    for node in nodes(session, region).await? {
        let request = DrainNodeRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            region: region.to_owned(),
            node: node.name.clone(),
        };
        let told = there.call(Role::Operator, request, |mut services, request| async move {
            services.membership.drain_node(request).await
        });
        // The last ones answer nobody any more when they stop with the first.
        match told.await {
            Ok(_) => eprintln!("{} stops", node.name),
            Err(problem) => eprintln!("{}: {}", node.name, problem.text()),
        }
    }
    Ok(())
}

/// Waits until no gateway of the region answers.
async fn silent(session: &Session, args: &Args) -> Result<(), Problem> {
    let until = Instant::now() + args.wait;
    while nodes(session, &args.lost).await.is_ok() {
        if Instant::now() >= until {
            let what = format!("{} still answers", args.lost);
            return Err(Problem::refused(what, "stop its nodes, then begin the drill again"));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn report(
    session: &Session,
    args: &Args,
    placed: &[Placed],
    lost: &Lost,
) -> Result<ExitCode, Problem> {
    let seconds = |since: Instant| since.saturating_duration_since(lost.at).as_secs_f64();
    let before: Vec<Placed> = placed.iter().filter(|p| p.at < lost.at).cloned().collect();
    let after = placed.iter().map(|placed| placed.at).filter(|at| *at >= lost.owned).min();
    eprintln!("orders confirmed before: {}", before.len());
    eprintln!("{} owned after {:.1} s", args.to, seconds(lost.owned));
    match after {
        Some(first) => eprintln!("RTO {:.1} s: the first confirmed order", seconds(first)),
        None => eprintln!("RTO unknown: no order was confirmed within {} s", AFTER.as_secs()),
    }
    let sequences = sequences(&lost.told, &args.lost);
    let missing = probe::missing(session, &args.to, &before).await?;
    eprintln!(
        "RPO {sequences} events heard of and never received, {} of {} confirmed orders not found",
        missing.len(),
        before.len()
    );
    missing.iter().for_each(|name| eprintln!("not found: {name}"));
    let code = check::settled(&session.in_region(&args.to)).await?;
    let (lost, steps) = (&args.lost, tail::steps(&args.lost));
    match sequences > 0 || !missing.is_empty() {
        true => eprintln!("{lost} has what {} never saw: once its nodes run, {steps}", args.to),
        false => eprintln!("if {lost} has what {} never saw, once its nodes run, {steps}", args.to),
    }
    eprintln!(
        "{lost} is stopped: start its nodes, decide on its tail, then `region failback {lost}`"
    );
    match after.is_some() && missing.is_empty() {
        true => Ok(code),
        false => Ok(ExitCode::from(crate::error::WRONG)),
    }
}

/// Events that somebody heard of and the survivor never received.
fn sequences(told: &GetRegionLossResponse, birth: &str) -> u64 {
    let states = told.groups.iter().flat_map(|group| &group.births);
    let takeovers =
        states.filter(|state| state.birth == birth).filter_map(|state| state.takeover.as_ref());
    takeovers.flat_map(|takeover| &takeover.lost).map(|of| of.upto.saturating_sub(of.after)).sum()
}
