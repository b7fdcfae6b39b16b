//! Where a customer lives: a pure function of residence, customer, policy version and epoch.

use hansa_api::classes::DataClass;
use hansa_types::country::Country;
use hansa_types::region::{RegionName, RegionNumber, Slot};
use hansa_types::time::LogTime;
use thiserror::Error;

use super::directory::{FORMER_LIFE_MS, Ownership, Snapshot};
use super::heir;
use super::policy::{JurisdictionName, Policy, Service};

/// In which every region owns what is born in it, until it is restored or another's.
const FIRST_EPOCH: u64 = 1;

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

/// Where somebody lived under a policy that was in force not long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lived {
    /// The region whose number his orders carried.
    pub birth: RegionNumber,
    /// Who has them now.
    pub owner: Ownership,
    /// Whether that owner may serve him, and so has what was ordered there.
    pub served: bool,
    /// Whether no owner but the region of birth ever may have served him.
    pub alone: bool,
    /// When the last of these policies ended.
    pub until: LogTime,
}

/// Other births than today's of whoever lives in `residence`, under policies that were in force not
/// long ago: whoever owns them may have carried out what is asked for again.
pub fn lived(residence: Country, slot: Slot, directory: &Snapshot, now: LogTime) -> Vec<Lived> {
    let mut found: Vec<Lived> = Vec::new();
    let lately = |until: LogTime| until.0.saturating_add(FORMER_LIFE_MS) >= now.0;
    let born = |policy: &Policy| {
        let law = policy.of_country(residence)?;
        law.homes().iter().find_map(|name| directory.number(name))
    };
    let present = born(&directory.policy);
    for former in directory.former.iter().filter(|former| lately(former.until)) {
        let birth = born(&former.policy).filter(|birth| Some(*birth) != present);
        let Some(birth) = birth else { continue };
        let Some(owner) = directory.owner(birth, slot) else { continue };
        let served = home(residence, slot, &former.policy, directory).is_ok();
        let alone = alone(residence, (birth, owner.owner), directory);
        match found.iter_mut().find(|lived| lived.birth == birth) {
            Some(lived) => (lived.served, lived.until) = (served, former.until),
            None => found.push(Lived { birth, owner, served, alone, until: former.until }),
        }
    }
    found
}

/// Whether what was ordered in a region of birth was ordered of that region alone, as far as one
/// record can say it: it names who owned them first, and who owns them since.
fn alone(
    residence: Country,
    (birth, owner): (RegionNumber, RegionNumber),
    directory: &Snapshot,
) -> bool {
    let Some(record) = directory.records.get(&birth) else { return owner == birth };
    let Some(heir) = directory.region(record.owner) else { return false };
    let former = directory.former.iter().map(|former| &former.policy);
    let may_own = |policy: &Policy| {
        let law = policy.of_country(residence);
        law.is_some_and(|law| heir::may_own(policy, law, &heir.name))
    };
    let first = record.ends == FIRST_EPOCH && record.owner == owner && owner != birth;
    first && !std::iter::once(&directory.policy).chain(former).any(|policy| may_own(policy))
}
