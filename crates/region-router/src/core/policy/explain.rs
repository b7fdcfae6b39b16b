//! Why data lies where it lies, for people.

use hansa_api::classes::DataClass;
use hansa_types::country::Country;
use hansa_types::region::RegionName;

use super::check::ground;
use super::{JurisdictionName, Policy, Service, Store, class_name};

/// What the policy says for a country and a class of data, with reasons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    pub jurisdiction: JurisdictionName,
    /// Homes in order of preference; empty when the jurisdiction is not served.
    pub homes: Vec<RegionName>,
    /// Regions that may store this class.
    pub may_store: Vec<RegionName>,
    /// Regions that keep a copy to take over with.
    pub failover: Vec<RegionName>,
    pub transit: bool,
    /// One sentence for each step of the decision.
    pub reasons: Vec<String>,
}

/// Explains where `class` of a resident of `country` may lie, `None` when no rule places it.
pub fn explain(policy: &Policy, country: Country, class: DataClass) -> Option<Explanation> {
    let origin = policy.of_country(country)?;
    let listed = origin.countries.contains(&country);
    let how = if listed { "lists it" } else { "takes the rest" };
    let mut reasons = vec![
        format!("policy version {}: {} {how}, so {country} is there", policy.version, origin.name),
        format!("law: {}", origin.law),
    ];
    let rule = origin.rule(class);
    if let Service::Unserved { reason } = &origin.service {
        reasons.push(format!("{} is not served: {reason}", origin.name));
    }
    if let Some(rule) = rule {
        reasons.push(match &rule.store {
            Store::Anywhere => {
                format!("{} of {} may be stored anywhere", class_name(class), origin.name)
            }
            Store::In(names) => format!(
                "{} of {} may be stored in {}",
                class_name(class),
                origin.name,
                names.iter().map(JurisdictionName::as_str).collect::<Vec<_>>().join(", ")
            ),
        });
    }
    let (yes, no): (Vec<_>, Vec<_>) =
        policy.regions().into_iter().partition(|r| policy.may_store(origin, class, r));
    for region in &yes {
        reasons.push(format!("{region} may: it lies in {}", ground(policy, region)));
    }
    for region in no.iter().filter(|_| rule.is_some()) {
        reasons.push(format!("{region} may not: it lies in {}", ground(policy, region)));
    }
    Some(Explanation {
        jurisdiction: origin.name.clone(),
        homes: origin.homes().to_vec(),
        may_store: yes.into_iter().cloned().collect(),
        failover: rule.map(|rule| rule.failover.clone()).unwrap_or_default(),
        transit: rule.is_some_and(|rule| rule.transit),
        reasons,
    })
}
