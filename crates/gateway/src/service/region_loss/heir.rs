//! Whether the new owner could go on with what is handed over to it: by every orders group of its
//! own directory, for one that nobody heard of is not clean.

use hansa_api::pb::directory::{ReadHeirRequest, ReadHeirResponse};
use hansa_api::pb::node::{BirthPhase, HeirGroup};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{OwnershipRecord, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_region_router::ownership;

use super::{Own, here, refused};

/// What is waited for at the new owner; nothing when it could own now.
///
/// # Errors
/// `OWNERSHIP_REFUSED` where two people have to decide first.
pub(super) async fn waits<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    accept_unopened: bool,
    due: Deadline,
) -> Result<Vec<String>, Failure> {
    let heir = now.region(record.owner).ok_or(Reason::UnknownRegion)?;
    let birth = now.region(record.birth).ok_or(Reason::UnknownRegion)?.name.to_string();
    let request = ReadHeirRequest { region: here(now), birth_region: birth.clone() };
    let told = match ownership::ask_heir(&own.upstreams, &heir.name, request, due).await {
        Ok(told) => told,
        Err(failure) => return Ok(vec![format!("{} does not answer ({failure})", heir.name)]),
    };
    judged(&told, (heir.name.as_str(), &birth), accept_unopened)
}

fn judged(
    told: &ReadHeirResponse,
    (heir, birth): (&str, &str),
    accept_unopened: bool,
) -> Result<Vec<String>, Failure> {
    let silent = told.unheard_groups.iter();
    let mut waits: Vec<String> =
        silent.map(|group| format!("{group} of {heir}: nobody answers for it")).collect();
    if told.groups.is_empty() && waits.is_empty() {
        waits.push(format!("{heir} names no orders groups"));
    }
    for of in &told.groups {
        if of.tail > 0 {
            let at = if heir == birth { String::new() } else { format!(" --at {heir}") };
            return Err(refused(format!(
                "{} of {heir} has {} orders{} that their owner never saw in full, on which nobody \
                 has decided: `region tail plan {birth}{at}`",
                of.name,
                of.tail,
                if of.tail_final { "" } else { " so far" },
            )));
        }
        waits.extend(wait(of, accept_unopened).map(|why| format!("{} of {heir}: {why}", of.name)));
    }
    Ok(waits)
}

fn wait(of: &HeirGroup, accept_unopened: bool) -> Option<String> {
    match of.phase() {
        BirthPhase::Elsewhere | BirthPhase::Unspecified => {}
        _ => return Some("has not heard yet that it owns no longer".to_owned()),
    }
    if !of.tail_final {
        return Some("has not heard the owner's stream to its end yet".to_owned());
    }
    let names = of.unopened_orders.join(", ");
    (of.unopened > 0 && !accept_unopened).then(|| {
        format!("cannot open {} orders yet, their data keys are missing: {names}", of.unopened)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> HeirGroup {
        let phase = BirthPhase::Elsewhere.into();
        HeirGroup { name: "orders-0".into(), phase, tail_final: true, ..HeirGroup::default() }
    }

    fn judge(groups: Vec<HeirGroup>, unheard: &[&str], accept: bool) -> Result<String, Failure> {
        let unheard_groups = unheard.iter().map(ToString::to_string).collect();
        let told = ReadHeirResponse { groups, unheard_groups };
        judged(&told, ("eu-west", "eu-west"), accept).map(|waits| waits.join("; "))
    }

    #[test]
    fn nobody_goes_home_before_his_tail_is_decided_on() {
        assert_eq!(judge(vec![group()], &[], false).unwrap(), "");
        let undecided = HeirGroup { tail: 1, ..group() };
        let refusal = judge(vec![group(), undecided], &[], true).unwrap_err();
        assert_eq!(refusal.reason(), Reason::OwnershipRefused);
        assert!(refusal.to_string().contains("region tail plan eu-west`"), "{refusal}");
        let told = judge(vec![HeirGroup { tail_final: false, ..group() }], &[], true).unwrap();
        assert!(told.contains("to its end"), "it may still grow: {told}");
        let owned = HeirGroup { phase: BirthPhase::Owned.into(), ..group() };
        assert!(judge(vec![owned], &[], true).unwrap().contains("owns no longer"));
    }

    #[test]
    fn a_group_for_which_nobody_speaks_is_not_clean() {
        assert!(judge(vec![group()], &["orders-1"], true).unwrap().contains("orders-1"));
        assert!(!judge(Vec::new(), &[], true).unwrap().is_empty());
    }

    #[test]
    fn what_the_new_owner_cannot_open_is_waited_for_by_name_unless_it_is_left() {
        let unopened_orders = vec!["regions/eu-west/orders/x".to_owned()];
        let keyless = HeirGroup { unopened: 1, unopened_orders, ..group() };
        assert!(judge(vec![keyless.clone()], &[], false).unwrap().contains("orders/x"));
        assert_eq!(judge(vec![keyless], &[], true).unwrap(), "");
    }
}
