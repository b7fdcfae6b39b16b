//! Whom the law admits as the next owner of what was born in a region.

use hansa_api::classes::DataClass;
use hansa_types::region::RegionName;

use super::policy::{Jurisdiction, JurisdictionName, Policy};

/// The jurisdictions whose residents are born in a region, by what an heir means to them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heirs {
    /// The heir may hold what they need, and keeps the copies.
    pub served: Vec<JurisdictionName>,
    /// They are refused while it owns: `NO_LAWFUL_REGION`.
    pub refused: Vec<JurisdictionName>,
}

/// Who may be served by `heir` of those whose orders are born in `birth`.
///
/// Lawful is in the failover set of every class that may not lie anywhere, or a home.
pub fn lawful(policy: &Policy, birth: &RegionName, heir: &RegionName) -> Heirs {
    let mut heirs = Heirs::default();
    for law in policy.jurisdictions().filter(|law| law.homes().contains(birth)) {
        match may_own(policy, law, heir) {
            true => heirs.served.push(law.name.clone()),
            false => heirs.refused.push(law.name.clone()),
        }
    }
    heirs
}

/// Whether `region` may serve the residents of `law`.
pub fn may_own(policy: &Policy, law: &Jurisdiction, region: &RegionName) -> bool {
    withheld(policy, law, region).is_none()
}

/// The first class of which `region` may not have what serving the residents of `law` takes.
pub fn withheld(policy: &Policy, law: &Jurisdiction, region: &RegionName) -> Option<DataClass> {
    DataClass::ALL.into_iter().find(|&class| {
        let kept = law.rule(class).is_some_and(|rule| rule.failover.contains(region));
        let home = law.homes().contains(region);
        let copied = class == DataClass::Operational || home || kept;
        !(copied && policy.may_store(law, class, region))
    })
}
