use std::process::ExitCode;
use std::time::Duration;

use hansa_api::pb::admin::GetRegionLossResponse;
use hansa_api::pb::node::BirthPhase;
use tokio::time::Instant;

use super::plan::{self, Why};
use super::switchover::{Plan, hand_over};
use super::tail;
use crate::args::span;
use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The region must be back, must have heard that it does not own, and must have settled what it \
accepted and its new owner never saw (`region tail`). Then it is a switchover home.

Example:
  hansactl region failback eu-west --reason 'Dublin is dry' --ticket INC-12")]
pub struct Args {
    /// The region that is back, such as eu-west.
    #[arg(value_name = "REGION")]
    birth: String,
    #[command(flatten)]
    why: Why,
    /// How long to wait for all of it.
    #[arg(long, default_value = "10m", value_parser = span)]
    wait: Duration,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    check(session, &args.birth).await?;
    let plan = Plan {
        to: args.birth.clone(),
        birth: args.birth,
        kind: "failback",
        why: args.why,
        // Home is lawful for whoever was born there.
        accept_refused_laws: false,
        until: Instant::now() + args.wait,
    };
    hand_over(session, plan).await
}

/// Refuses to hand births home to a region that has something to decide on first.
pub async fn check(session: &Session, birth: &str) -> Result<(), Problem> {
    let (told, of) = plan::believed(session, birth, birth).await?;
    if of.owner_region == birth {
        return Ok(());
    }
    settled(&told, birth)?;
    // Also by every group: one without a leader says nothing above.
    tail::whole(session, birth).await
}

/// Whether nothing is left to decide on, and everybody who knows has said so.
fn settled(told: &GetRegionLossResponse, birth: &str) -> Result<(), Problem> {
    if !told.silent_nodes.is_empty() || told.groups.is_empty() {
        let what = format!("not all of {birth} answers: {}", told.silent_nodes.join(", "));
        return Err(Problem::unreachable(what, "start its nodes, then repeat"));
    }
    let states = told.groups.iter().filter_map(|group| {
        let state = group.births.iter().find(|state| state.birth == birth)?;
        Some((&group.name, state))
    });
    for (group, state) in states {
        if state.phase() != BirthPhase::Elsewhere {
            let what = format!("{group} of {birth} has not heard yet that it owns no longer");
            return Err(Problem::refused(what, "wait a moment: `region status` shows it"));
        }
        if state.tail == 0 && !state.tail_final {
            let what = format!("{group} has not heard the new owner's stream to its end yet");
            return Err(Problem::refused(what, "wait a moment: `region tail` shows it"));
        }
        if state.tail > 0 {
            let (count, so_far) = (state.tail, if state.tail_final { "" } else { " so far" });
            let what = format!(
                "{group} has {count} orders{so_far} that the new owner never saw in full, on which \
                 nobody has decided"
            );
            return Err(Problem::refused(what, tail::steps(birth)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::node::{BirthState, GroupTakeover};

    use super::*;

    #[test]
    fn nobody_goes_home_before_his_tail_is_settled() {
        let told = |phase: BirthPhase, tail, tail_final| {
            let birth = "eu-west".to_owned();
            let phase = phase.into();
            let state = BirthState { birth, phase, tail, tail_final, ..BirthState::default() };
            let group = GroupTakeover { births: vec![state], ..GroupTakeover::default() };
            GetRegionLossResponse { groups: vec![group], ..Default::default() }
        };
        let check = |told: GetRegionLossResponse| settled(&told, "eu-west").is_ok();
        assert!(check(told(BirthPhase::Elsewhere, 0, true)));
        assert!(!check(told(BirthPhase::Elsewhere, 0, false)), "it may still grow");
        assert!(!check(told(BirthPhase::Elsewhere, 1, true)));
        assert!(!check(told(BirthPhase::Owned, 0, true)), "it has not heard");
        assert!(!check(GetRegionLossResponse::default()), "nobody answers");
    }
}
