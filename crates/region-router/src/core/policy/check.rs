//! Whether the rules of a policy can all be kept at once.

use std::collections::BTreeSet;
use std::fmt;

use hansa_api::classes::{DataClass, NotRaised};
use hansa_types::country::Country;
use hansa_types::region::RegionName;
use thiserror::Error;

use super::{FORMAT, Jurisdiction, JurisdictionName, Policy, Store, class_name};

/// One thing wrong with a policy, and the rule in which it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The path in the file: `jurisdiction.EU.PERSONAL.failover`.
    pub rule: String,
    pub why: Why,
}

impl Problem {
    pub(super) fn new(rule: String, why: Why) -> Self {
        Self { rule, why }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.rule, self.why)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Why {
    #[error("this program reads format {FORMAT}, not {0}")]
    Format(u32),
    #[error("more than {max} {what}")]
    TooMany { what: &'static str, max: usize },
    #[error("versions start at 1")]
    Version,
    #[error("{country} is already in {other}")]
    CountryTwice { country: Country, other: JurisdictionName },
    #[error("{0} already takes the rest")]
    RestTwice(JurisdictionName),
    #[error("say either unserved, or PERSONAL, FINANCIAL and OPERATIONAL")]
    HalfServed,
    #[error("there is no jurisdiction {0}")]
    NoSuchJurisdiction(String),
    #[error("names no country and is not the rest")]
    Nobody,
    #[error("names {0} twice")]
    RegionTwice(RegionName),
    #[error("names {0} twice")]
    StoreTwice(String),
    #[error("says anywhere, and more: one of both is not meant")]
    AnywhereAndMore,
    #[error("no law: say it in words, with its source")]
    NoLaw,
    #[error("there is no such class: PERSONAL or FINANCIAL")]
    NoSuchClass,
    #[error("{field}: {why}")]
    NotRaised { field: String, why: NotRaised },
    #[error("the directory knows no region {0}; add it to the league first")]
    UnknownRegion(RegionName),
    #[error("no home: name a region or say unserved")]
    NoHome,
    #[error("the region {0} lies in no jurisdiction")]
    NoGround(RegionName),
    #[error("no lawful region: the home {region} may not store {class:?} (it lies in {ground})")]
    UnlawfulHome { region: RegionName, class: DataClass, ground: String },
    #[error("failover outside the jurisdiction: {region} lies in {ground}, which may not store it")]
    UnlawfulFailover { region: RegionName, ground: String },
    #[error("the home {0} cannot take over from itself: take it out of one of both")]
    HomeInFailover(RegionName),
    #[error(
        "{region} would get {one:?} and not {other:?} data: half an order cannot be taken over"
    )]
    HalfFailover { region: RegionName, one: DataClass, other: DataClass },
    #[error("{region} lies also in {other}, which {class:?} data may not enter")]
    Contradiction { region: RegionName, class: DataClass, other: JurisdictionName },
}

/// Laws are no longer looked at once so much is found: a file made to be wrong costs no memory.
const PROBLEMS_MAX: usize = 1_000;

/// Every problem, in the order of the file's names, or the first thousand; empty when the policy
/// can be satisfied.
pub fn problems(policy: &Policy) -> Vec<Problem> {
    let mut found = Vec::new();
    for jurisdiction in policy.jurisdictions() {
        if found.len() >= PROBLEMS_MAX {
            break;
        }
        people(policy, jurisdiction, &mut found);
        stores(policy, jurisdiction, &mut found);
        homes(policy, jurisdiction, &mut found);
        failovers(policy, jurisdiction, &mut found);
        contradictions(policy, jurisdiction, &mut found);
    }
    found
}

fn people(policy: &Policy, j: &Jurisdiction, found: &mut Vec<Problem>) {
    if j.law.trim().is_empty() {
        found.push(Problem::new(format!("jurisdiction.{}.law", j.name), Why::NoLaw));
    }
    let nobody = j.countries.is_empty() && policy.rest.as_ref() != Some(&j.name);
    // Ground without people is lawful (a region abroad); neither is a mistake.
    if nobody && j.regions.is_empty() {
        found.push(Problem::new(format!("jurisdiction.{}.countries", j.name), Why::Nobody));
    }
    for (list, regions) in [("regions", &j.regions[..]), ("home", j.homes())] {
        let mut seen = BTreeSet::new();
        if let Some(twice) = regions.iter().find(|r| !seen.insert(*r)) {
            let rule = format!("jurisdiction.{}.{list}", j.name);
            found.push(Problem::new(rule, Why::RegionTwice(twice.clone())));
        }
    }
}

fn stores(policy: &Policy, j: &Jurisdiction, found: &mut Vec<Problem>) {
    for class in DataClass::ALL {
        let Some(Store::In(names)) = j.rule(class).map(|rule| &rule.store) else { continue };
        for name in names.iter().filter(|name| policy.jurisdiction(name).is_none()) {
            let why = Why::NoSuchJurisdiction(name.to_string());
            found.push(Problem::new(path(j, class, "store"), why));
        }
    }
}

fn homes(policy: &Policy, j: &Jurisdiction, found: &mut Vec<Problem>) {
    let rule = format!("jurisdiction.{}.home", j.name);
    let served = j.rule(DataClass::Operational).is_some();
    if served && j.homes().is_empty() {
        found.push(Problem::new(rule.clone(), Why::NoHome));
    }
    for region in j.homes() {
        if policy.ground(region).next().is_none() {
            found.push(Problem::new(rule.clone(), Why::NoGround(region.clone())));
            continue;
        }
        // A home holds whole orders, so it must be lawful for every class.
        for class in DataClass::ALL.into_iter().filter(|&c| !policy.may_store(j, c, region)) {
            let (region, ground) = (region.clone(), ground(policy, region));
            found.push(Problem::new(rule.clone(), Why::UnlawfulHome { region, class, ground }));
        }
    }
}

fn failovers(policy: &Policy, j: &Jurisdiction, found: &mut Vec<Problem>) {
    for class in DataClass::ALL {
        let Some(rule) = j.rule(class) else { continue };
        for region in &rule.failover {
            let path = path(j, class, "failover");
            if policy.ground(region).next().is_none() {
                found.push(Problem::new(path, Why::NoGround(region.clone())));
            } else if !policy.may_store(j, class, region) {
                let (region, ground) = (region.clone(), ground(policy, region));
                found.push(Problem::new(path, Why::UnlawfulFailover { region, ground }));
            }
        }
        takeover(policy, j, class, &rule.failover, found);
    }
}

/// Whether a region that keeps a copy could take over with it.
fn takeover(
    policy: &Policy,
    j: &Jurisdiction,
    class: DataClass,
    copies: &[RegionName],
    found: &mut Vec<Problem>,
) {
    let mut seen = BTreeSet::new();
    for region in copies {
        let path = || path(j, class, "failover");
        if !seen.insert(region) {
            found.push(Problem::new(path(), Why::RegionTwice(region.clone())));
        }
        if j.homes().contains(region) {
            found.push(Problem::new(path(), Why::HomeInFailover(region.clone())));
        }
        // Whoever takes an order over needs its names and its money; all of it rests on the
        // operational facts. Those go wherever they may, so their set may be left out.
        let needs = DataClass::ALL.into_iter().filter(|&other| other != class);
        for other in needs {
            let kept = match other {
                DataClass::Operational => policy.may_store(j, other, region),
                DataClass::Personal | DataClass::Financial => {
                    j.rule(other).is_some_and(|rule| rule.failover.contains(region))
                }
            };
            if !kept {
                let (region, one) = (region.clone(), class);
                found.push(Problem::new(path(), Why::HalfFailover { region, one, other }));
            }
        }
    }
}

/// What lies in a region lies in all jurisdictions of that region: each must admit the others.
fn contradictions(policy: &Policy, j: &Jurisdiction, found: &mut Vec<Problem>) {
    for region in &j.regions {
        for class in DataClass::ALL {
            let Some(rule) = j.rule(class) else { continue };
            for other in policy.ground(region).filter(|other| !rule.store.admits(&other.name)) {
                let (region, other) = (region.clone(), other.name.clone());
                let why = Why::Contradiction { region, class, other };
                found.push(Problem::new(path(j, class, "store"), why));
            }
        }
    }
}

pub(super) fn path(j: &Jurisdiction, class: DataClass, field: &str) -> String {
    format!("jurisdiction.{}.{}.{field}", j.name, class_name(class))
}

/// The jurisdictions in which a region lies, for a message.
pub(super) fn ground(policy: &Policy, region: &RegionName) -> String {
    const SHOWN: usize = 4;
    let names: Vec<_> = policy.ground(region).map(|j| j.name.as_str()).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(" and ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
