//! Where a customer lives: a pure function of residence, customer, policy version and epoch.

use hansa_api::classes::DataClass;
use hansa_types::country::Country;
use hansa_types::region::{RegionName, RegionNumber, Slot};
use hansa_types::time::LogTime;
use thiserror::Error;

use super::directory::{FORMER_LIFE_MS, Snapshot};
use super::heir;
use super::policy::{JurisdictionName, Policy, Service};

/// The home of a customer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    pub jurisdiction: JurisdictionName,
    /// Who serves the customer now.
    pub region: RegionNumber,
    /// The region whose number his orders carry: the policy's first choice.
    pub birth: RegionNumber,
    pub slot: Slot,
    pub epoch: u64,
    pub policy_version: u64,
}

/// Why a customer has no home with us. Checked in this order.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NoHome {
    #[error("no rule of policy version {policy_version} places {country}")]
    Unplaced { country: Country, policy_version: u64 },
    #[error("{jurisdiction} is not served: {reason}")]
    Unserved { jurisdiction: JurisdictionName, reason: String },
    #[error("none of the homes of {jurisdiction} is in the directory")]
    NoRegion { jurisdiction: JurisdictionName },
    /// A failover that left the jurisdiction: the customers stay unserved, they do not move.
    #[error("{owner} serves this slot, but may not go on with {class:?} data of {jurisdiction}")]
    UnlawfulOwner { jurisdiction: JurisdictionName, owner: RegionName, class: DataClass },
}

/// The home of whoever lives in `residence` and falls into `slot`.
///
/// Health is not an argument: an unhealthy home is refused where the call is forwarded, never
/// replaced by another one.
///
/// # Errors
/// See [`NoHome`].
pub fn home(
    residence: Country,
    slot: Slot,
    policy: &Policy,
    directory: &Snapshot,
) -> Result<Home, NoHome> {
    let policy_version = policy.version();
    let Some(law) = policy.of_country(residence) else {
        return Err(NoHome::Unplaced { country: residence, policy_version });
    };
    let jurisdiction = law.name.clone();
    if let Service::Unserved { reason } = &law.service {
        return Err(NoHome::Unserved { jurisdiction, reason: reason.clone() });
    }
    let birth = law.homes().iter().find_map(|name| directory.number(name));
    let found = birth.and_then(|birth| {
        let ownership = directory.owner(birth, slot)?;
        Some((birth, ownership, directory.region(ownership.owner)?))
    });
    let Some((birth, ownership, owner)) = found else {
        return Err(NoHome::NoRegion { jurisdiction });
    };
    let unlawful = |&class: &DataClass| !policy.may_store(law, class, &owner.name);
    // Who took over has what the failover set let it have: without that nobody is served.
    let withheld = match ownership.owner == birth {
        true => DataClass::ALL.into_iter().find(unlawful),
        false => heir::withheld(policy, law, &owner.name),
    };
    if let Some(class) = withheld {
        return Err(NoHome::UnlawfulOwner { jurisdiction, owner: owner.name.clone(), class });
    }
    let (region, epoch) = (ownership.owner, ownership.epoch);
    Ok(Home { jurisdiction, region, birth, slot, epoch, policy_version })
}

/// Other regions in which whoever lives in `residence` lived under a policy that was in force not
/// long ago, each with the end of the last one: they may have carried out what is asked for again.
pub fn former_homes(
    residence: Country,
    slot: Slot,
    directory: &Snapshot,
    now: LogTime,
) -> Vec<(RegionNumber, LogTime)> {
    let mut homes: Vec<(RegionNumber, LogTime)> = Vec::new();
    if directory.former.is_empty() {
        return homes;
    }
    let lately = |until: LogTime| until.0.saturating_add(FORMER_LIFE_MS) >= now.0;
    let present = home(residence, slot, &directory.policy, directory).map(|home| home.region);
    for former in directory.former.iter().filter(|former| lately(former.until)) {
        let Ok(then) = home(residence, slot, &former.policy, directory) else { continue };
        if present.as_ref() == Ok(&then.region) {
            continue;
        }
        match homes.iter_mut().find(|(region, _)| *region == then.region) {
            Some((_, until)) => *until = former.until,
            None => homes.push((then.region, former.until)),
        }
    }
    homes
}
