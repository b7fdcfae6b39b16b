//! Every region's births have one owner in the end, and everybody says the same.

use std::collections::BTreeMap;

use hansa_api::pb::admin::GetRegionLossRequest;
use hansa_api::pb::node::BirthPhase;
use hansa_checker::FinalState;

use super::{CALL_MAX, Reader};

/// Says in `unread` what is not settled.
pub async fn check(readers: &[Reader<'_>], state: &mut FinalState) {
    let mut owners: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for reader in readers.iter().filter(|_| !state.loss.heirs.is_empty()) {
        if let Err(why) = one(reader, &mut owners).await {
            state.unread.push(format!("owners told by {}: {why}", reader.region.name));
        }
    }
}

async fn one(
    reader: &Reader<'_>,
    owners: &mut BTreeMap<String, (String, u64)>,
) -> Result<(), String> {
    let here = reader.region.name.to_string();
    let request = GetRegionLossRequest { region: here.clone() };
    let asked = reader.operator.call(CALL_MAX, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.region_loss.get_region_loss(request).await }
    });
    let told = asked.await.map_err(|failure| failure.to_string())?;
    // A node that refuses its damaged disk is out of reach, as it must be.
    let damaged = reader.region.seats.iter().any(|seat| seat.damaged());
    if !told.silent_nodes.is_empty() && !damaged {
        return Err(format!("no answer from {:?}", told.silent_nodes));
    }
    for of in &told.births {
        let says = (of.owner_region.clone(), of.epoch);
        let first = owners.entry(of.birth_region.clone()).or_insert_with(|| says.clone());
        if *first != says || !of.draining_to.is_empty() {
            return Err(format!("{} is {says:?}, and {first:?}", of.birth_region));
        }
    }
    for group in &told.groups {
        for birth in &group.births {
            let owner = owners.get(&birth.birth).map(|(owner, _)| owner);
            let wanted = match owner == Some(&here) {
                true => BirthPhase::Owned,
                false => BirthPhase::Elsewhere,
            };
            let adopted = birth.takeover.as_ref().is_none_or(|of| of.settled);
            if birth.phase() != wanted || birth.to_give_back > 0 || !adopted {
                return Err(format!("{}: {birth:?}", group.name));
            }
        }
    }
    Ok(())
}
