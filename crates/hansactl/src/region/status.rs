use std::process::ExitCode;

use hansa_api::pb::admin::{BirthOwner, GetRegionLossResponse};
use hansa_api::pb::node::{BirthPhase, BirthState};

use super::plan;
use crate::connect::Session;
use crate::error::{self, Problem};
use crate::output::{self, Rows};
use crate::values::{dash, short};

const MESSAGE: &str = "hansa.admin.v1.GetRegionLossResponse";

pub async fn run(session: &Session) -> Result<ExitCode, Problem> {
    let session = session.here()?;
    let told = plan::told(&session, &session.region()).await?;
    print(&session, &told)?;
    if told.silent_nodes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("no answer from {}: what they lead is missing", told.silent_nodes.join(", "));
    Ok(ExitCode::from(error::NO_ANSWER))
}

/// What a region knows, and what was lost in words.
pub fn print(session: &Session, told: &GetRegionLossResponse) -> Result<(), Problem> {
    output::print(session.format, MESSAGE, told, rows)?;
    for line in losses(told) {
        eprintln!("{line}");
    }
    for order in told.groups.iter().flat_map(|group| &group.owed_orders) {
        eprintln!(
            "{order}: its customer was erased elsewhere, and is here once it has ended: ship it or \
             cancel it"
        );
    }
    Ok(())
}

fn rows(told: &GetRegionLossResponse) -> Rows {
    let header = [
        "born in",
        "owner",
        "epoch",
        "cut off",
        "by",
        "ticket",
        "groups here",
        "adopted",
        "failed",
        "tail",
        "notes",
    ];
    let mut rows = Rows::new(&header, "no region is known");
    for of in &told.births {
        rows.add(row(told, of));
    }
    rows
}

fn row(told: &GetRegionLossResponse, of: &BirthOwner) -> [String; 11] {
    let states = states(told, &of.birth_region);
    let record = of.record.clone().unwrap_or_default();
    let takeovers: Vec<_> = states.iter().filter_map(|state| state.takeover.as_ref()).collect();
    let sum = |field: fn(&hansa_api::pb::node::TakeoverState) -> u64| {
        takeovers.iter().map(|takeover| field(takeover)).sum::<u64>()
    };
    let adopted = match takeovers.is_empty() {
        true => "-".to_owned(),
        false => format!("{} of {}", sum(|t| t.done), sum(|t| t.total)),
    };
    let failed = if takeovers.is_empty() { "-".to_owned() } else { sum(|t| t.failed).to_string() };
    [
        of.birth_region.clone(),
        of.owner_region.clone(),
        of.epoch.to_string(),
        if of.lease_ms > 0 { format!("lease {} s", of.lease_ms / 1000) } else { "serve".into() },
        dash(&record.kind),
        dash(&record.ticket),
        dash(&phases(&states)),
        adopted,
        failed,
        tail(&states),
        dash(&notes(of).join("; ")),
    ]
}

fn states<'a>(told: &'a GetRegionLossResponse, birth: &str) -> Vec<&'a BirthState> {
    let births = told.groups.iter().flat_map(|group| &group.births);
    births.filter(|state| state.birth == birth).collect()
}

/// `2 OWNED`, `1 DRAINING 1 DRAINED`.
fn phases(states: &[&BirthState]) -> String {
    let phases = [
        BirthPhase::Owned,
        BirthPhase::Draining,
        BirthPhase::Drained,
        BirthPhase::Adopting,
        BirthPhase::Elsewhere,
    ];
    let mut told = Vec::new();
    for phase in phases {
        let count = states.iter().filter(|state| state.phase() == phase).count();
        if count > 0 {
            let name = short(phase.as_str_name(), "BIRTH_PHASE_").to_lowercase();
            told.push(format!("{count} {name}"));
        }
    }
    told.join(" ")
}

fn tail(states: &[&BirthState]) -> String {
    // Also where they came back to with something undecided.
    let has = |state: &&&BirthState| state.phase() == BirthPhase::Elsewhere || state.tail > 0;
    let away: Vec<_> = states.iter().filter(has).collect();
    let open: u64 = away.iter().map(|state| state.tail).sum();
    match (away.is_empty(), away.iter().all(|state| state.tail_final)) {
        (true, _) => "-".to_owned(),
        (false, true) => open.to_string(),
        (false, false) => format!("{open} so far"),
    }
}

fn notes(of: &BirthOwner) -> Vec<String> {
    let mut notes = Vec::new();
    if !of.draining_to.is_empty() {
        notes.push(format!("being handed over to {}", of.draining_to));
    }
    if of.fence_epoch > 0 {
        notes.push(format!("epoch {} is promised to {}", of.fence_epoch, of.fence_to));
    }
    if of.newest_epoch > of.epoch {
        notes.push(format!("epoch {} was heard of", of.newest_epoch));
    }
    notes
}

/// What is lost, range by range, and what nobody can know.
fn losses(told: &GetRegionLossResponse) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &told.groups {
        for state in &group.births {
            let Some(takeover) = &state.takeover else { continue };
            for lost in takeover.lost.iter().filter(|lost| lost.upto > lost.after) {
                let (first, last) = (lost.after + 1, lost.upto);
                lines.push(format!(
                    "lost: events {first} to {last} of group {} of {} in epoch {}: heard of, \
                     never received",
                    lost.group, lost.origin, lost.epoch
                ));
            }
        }
    }
    let forced = |of: &BirthOwner| of.record.as_ref().is_some_and(|r| r.kind == "failover");
    for of in told.births.iter().filter(|of| forced(of)) {
        lines.push(format!(
            "{}: what it accepted after the last event that anybody heard of is unknown until it \
             returns",
            of.birth_region
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::directory::OwnershipRecord;
    use hansa_api::pb::node::{GroupTakeover, LostSequences, TakeoverState};

    use super::*;

    #[test]
    fn what_is_lost_is_listed_and_what_nobody_can_know_is_said() {
        let lost = |after, upto| LostSequences {
            origin: "eu-west".into(),
            group: 1,
            epoch: 1,
            after,
            upto,
        };
        let takeover = TakeoverState { lost: vec![lost(7, 9), lost(4, 4)], ..Default::default() };
        let state = BirthState { takeover: Some(takeover), ..BirthState::default() };
        let kind = |kind: &str| OwnershipRecord { kind: kind.into(), ..Default::default() };
        let birth = |name: &str, how| BirthOwner {
            birth_region: name.into(),
            record: Some(kind(how)),
            ..BirthOwner::default()
        };
        let told = GetRegionLossResponse {
            births: vec![birth("eu-west", "failover"), birth("us-east", "switchover")],
            groups: vec![GroupTakeover { births: vec![state], ..GroupTakeover::default() }],
            ..GetRegionLossResponse::default()
        };
        let lines = losses(&told);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("events 8 to 9 of group 1 of eu-west in epoch 1"), "{lines:?}");
        assert!(lines[1].contains("eu-west") && lines[1].contains("unknown"), "{lines:?}");
    }

    #[test]
    fn a_tail_is_counted_where_others_own_and_is_final_when_all_of_it_is() {
        let away = |tail, tail_final| BirthState {
            phase: BirthPhase::Elsewhere.into(),
            tail,
            tail_final,
            ..BirthState::default()
        };
        let owned = BirthState { phase: BirthPhase::Owned.into(), ..BirthState::default() };
        assert_eq!(tail(&[&owned]), "-");
        assert_eq!(tail(&[&BirthState { tail: 1, tail_final: true, ..owned.clone() }]), "1");
        assert_eq!(tail(&[&away(2, true), &away(1, true)]), "3");
        assert_eq!(tail(&[&away(2, true), &away(1, false)]), "3 so far");
        assert_eq!(phases(&[&owned, &away(0, true), &owned]), "2 owned 1 elsewhere");
    }
}
