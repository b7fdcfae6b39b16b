//! The text form of a policy.

use std::collections::{BTreeMap, BTreeSet};

use hansa_types::country::Country;
use hansa_types::region::RegionName;
use serde::Deserialize;

use super::check::{Problem, Why};
use super::{FORMAT, Jurisdiction, JurisdictionName, Policy, Refused, Rule, Service, Store};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    version: u64,
    jurisdiction: BTreeMap<JurisdictionName, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    law: String,
    #[serde(default)]
    countries: Vec<Country>,
    /// Every country that no other jurisdiction lists.
    #[serde(default)]
    rest: bool,
    #[serde(default)]
    regions: Vec<RegionName>,
    home: Option<Vec<RegionName>>,
    unserved: Option<String>,
    #[serde(rename = "PERSONAL")]
    personal: Option<RuleText>,
    #[serde(rename = "FINANCIAL")]
    financial: Option<RuleText>,
    #[serde(rename = "OPERATIONAL")]
    operational: Option<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    store: Vec<String>,
    transit: bool,
    #[serde(default)]
    failover: Vec<RegionName>,
}

/// Reads the text; what one jurisdiction says is checked here, how they fit together is not.
pub fn read(text: &str) -> Result<Policy, Refused> {
    let file: File = toml::from_str(text).map_err(|e| Refused::Syntax(e.to_string()))?;
    let mut problems = Vec::new();
    if file.format != FORMAT {
        problems.push(Problem { rule: "format".into(), why: Why::Format(file.format) });
    }
    if file.version == 0 {
        problems.push(Problem { rule: "version".into(), why: Why::Version });
    }
    let mut policy = Policy {
        version: file.version,
        jurisdictions: BTreeMap::new(),
        by_country: BTreeMap::new(),
        rest: None,
    };
    for (name, entry) in file.jurisdiction {
        place(&mut policy, &name, &entry, &mut problems);
        if let Some(jurisdiction) = jurisdiction(&name, entry, &mut problems) {
            policy.jurisdictions.insert(name, jurisdiction);
        }
    }
    if problems.is_empty() { Ok(policy) } else { Err(Refused::Unsatisfiable(problems)) }
}

/// Enters the countries of one jurisdiction; a country lives under one law.
fn place(policy: &mut Policy, name: &JurisdictionName, entry: &Entry, problems: &mut Vec<Problem>) {
    for &country in &entry.countries {
        if let Some(other) = policy.by_country.insert(country, name.clone()) {
            let why = Why::CountryTwice { country, other };
            problems.push(Problem::new(format!("jurisdiction.{name}.countries"), why));
        }
    }
    if entry.rest
        && let Some(other) = policy.rest.replace(name.clone())
    {
        problems.push(Problem::new(format!("jurisdiction.{name}.rest"), Why::RestTwice(other)));
    }
}

fn jurisdiction(
    name: &JurisdictionName,
    entry: Entry,
    problems: &mut Vec<Problem>,
) -> Option<Jurisdiction> {
    let service = match (entry.unserved, entry.personal, entry.financial, entry.operational) {
        (Some(reason), None, None, None) if entry.home.is_none() => Service::Unserved { reason },
        (None, Some(personal), Some(financial), Some(operational)) => Service::Served {
            home: entry.home.unwrap_or_else(|| entry.regions.clone()),
            personal: rule(name, "PERSONAL", personal, problems)?,
            financial: rule(name, "FINANCIAL", financial, problems)?,
            operational: rule(name, "OPERATIONAL", operational, problems)?,
        },
        _ => {
            problems.push(Problem::new(format!("jurisdiction.{name}"), Why::HalfServed));
            return None;
        }
    };
    let countries = entry.countries.into_iter().collect();
    Some(Jurisdiction {
        name: name.clone(),
        law: entry.law,
        countries,
        regions: entry.regions,
        service,
    })
}

fn rule(
    name: &JurisdictionName,
    class: &str,
    text: RuleText,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let mut names = BTreeSet::new();
    let anywhere = text.store.iter().any(|s| s == "*");
    for store in text.store.iter().filter(|s| *s != "*") {
        match store.parse() {
            Ok(parsed) => _ = names.insert(parsed),
            Err(_) => {
                let why = Why::NoSuchJurisdiction(store.clone());
                problems.push(Problem::new(format!("jurisdiction.{name}.{class}.store"), why));
                return None;
            }
        }
    }
    let store = if anywhere { Store::Anywhere } else { Store::In(names) };
    Some(Rule { store, transit: text.transit, failover: text.failover })
}
