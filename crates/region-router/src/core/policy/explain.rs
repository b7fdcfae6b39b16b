//! Why data lies where it lies, for people.

use hansa_api::classes::DataClass;
use hansa_types::country::Country;
use hansa_types::region::RegionName;

use super::check::ground;
use super::{Jurisdiction, JurisdictionName, Policy, Rule, Service, Store, class_name};

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
    /// Fields that count as this class here and not elsewhere.
    pub raised: Vec<String>,
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
    let raised: Vec<String> = origin.raised.fields(class).collect();
    if !raised.is_empty() {
        let (class, raised) = (class_name(class), raised.join(", "));
        reasons.push(format!("{} counts as {class}: {raised}", origin.name));
    }
    let (yes, no): (Vec<_>, Vec<_>) =
        policy.regions().into_iter().partition(|r| policy.may_store(origin, class, r));
    for region in &yes {
        let why = role(origin, rule, region);
        reasons.push(format!("{region} may: it lies in {}{why}", ground(policy, region)));
    }
    for region in no.iter().filter(|_| rule.is_some()) {
        reasons.push(format!("{region} may not: it lies in {}", ground(policy, region)));
    }
    if let Some(rule) = rule {
        reasons.push(match rule.transit {
            true => "a call that carries it may pass through a region that may not store it".into(),
            false => "a call that carries it must enter where it may be stored".into(),
        });
    }
    Some(Explanation {
        jurisdiction: origin.name.clone(),
        homes: origin.homes().to_vec(),
        may_store: yes.into_iter().cloned().collect(),
        failover: rule.map(|rule| rule.failover.clone()).unwrap_or_default(),
        transit: rule.is_some_and(|rule| rule.transit),
        raised,
        reasons,
    })
}

/// What a lawful region is to these residents.
fn role(origin: &Jurisdiction, rule: Option<&Rule>, region: &RegionName) -> &'static str {
    let at = origin.homes().iter().position(|home| home == region);
    let copy = rule.is_some_and(|rule| rule.failover.contains(region));
    match (at, copy) {
        (Some(0), _) => "; it is their home",
        (Some(_), _) => "; it is a home if those before it are not in the league",
        (None, true) => "; it keeps a copy to take over with",
        (None, false) => "; it has no part in serving them, so PERSONAL and FINANCIAL stay away",
    }
}
