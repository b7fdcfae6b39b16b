//! The text form of a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hansa_api::classes::Raised;
use hansa_types::country::Country;
use hansa_types::region::RegionName;
use serde::Deserialize;

use super::check::{Problem, Why};
use super::{
    FORMAT, Jurisdiction, JurisdictionName, Policy, Refused, Rule, Service, Store, class_named,
};
use crate::core::directory::REGIONS_MAX;

/// Laws that one file may have: there are fewer countries.
const JURISDICTIONS_MAX: usize = 256;
/// Regions that one list may name, so that a check stays short whatever is sent.
const LIST_MAX: usize = 64;

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
    /// Fields by full name that count as the class that is their key.
    #[serde(default)]
    raise: BTreeMap<String, Vec<String>>,
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
    let file: File = toml::from_str(text).map_err(|e| Refused::Syntax(short(&e.to_string())))?;
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
        ground: BTreeMap::new(),
    };
    if file.jurisdiction.len() > JURISDICTIONS_MAX {
        let why = Why::TooMany { what: "jurisdictions", max: JURISDICTIONS_MAX };
        return Err(Refused::Unsatisfiable(vec![Problem::new("jurisdiction".into(), why)]));
    }
    for (name, entry) in file.jurisdiction {
        place(&mut policy, &name, &entry, &mut problems);
        if let Some(jurisdiction) = jurisdiction(&name, entry, &mut problems) {
            for region in jurisdiction.regions.iter().collect::<BTreeSet<_>>() {
                policy.ground.entry(region.clone()).or_default().push(name.clone());
            }
            policy.jurisdictions.insert(name, jurisdiction);
        }
    }
    if policy.ground.len() > REGIONS_MAX {
        let why = Why::TooMany { what: "regions", max: REGIONS_MAX };
        problems.push(Problem::new("jurisdiction".into(), why));
    }
    if problems.is_empty() { Ok(policy) } else { Err(Refused::Unsatisfiable(problems)) }
}

/// A message that quotes a line of the file, and not all of a line that never ends.
fn short(message: &str) -> String {
    const CHARS_MAX: usize = 400;
    match message.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.trim_end().to_owned(),
    }
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
    let lists = [entry.regions.len(), entry.home.as_ref().map_or(0, Vec::len)];
    let rules = [&entry.personal, &entry.financial, &entry.operational];
    let copies = rules.map(|rule| rule.as_ref().map_or(0, |rule| rule.failover.len()));
    if lists.iter().chain(&copies).any(|len| *len > LIST_MAX) {
        let why = Why::TooMany { what: "regions in a list", max: LIST_MAX };
        problems.push(Problem::new(format!("jurisdiction.{name}"), why));
        return None;
    }
    let raised = raised(name, &entry.raise, problems);
    let service = match (entry.unserved, entry.personal, entry.financial, entry.operational) {
        (Some(reason), None, None, None) if entry.home.is_none() && entry.raise.is_empty() => {
            Service::Unserved { reason }
        }
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
        raised: Arc::new(raised),
    })
}

fn raised(
    name: &JurisdictionName,
    text: &BTreeMap<String, Vec<String>>,
    problems: &mut Vec<Problem>,
) -> Raised {
    let mut raised = Raised::default();
    for (class, fields) in text {
        let rule = || format!("jurisdiction.{name}.raise.{class}");
        let Some(to) = class_named(class) else {
            problems.push(Problem::new(rule(), Why::NoSuchClass));
            continue;
        };
        for field in fields {
            if let Err(why) = raised.raise(field, to) {
                let field = field.clone();
                problems.push(Problem::new(rule(), Why::NotRaised { field, why }));
            }
        }
    }
    raised
}

fn rule(
    name: &JurisdictionName,
    class: &str,
    text: RuleText,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let mut names = BTreeSet::new();
    let path = |field: &str| format!("jurisdiction.{name}.{class}.{field}");
    let anywhere = text.store.iter().any(|s| s == "*");
    if anywhere && text.store.len() > 1 {
        problems.push(Problem::new(path("store"), Why::AnywhereAndMore));
    }
    for store in text.store.iter().filter(|s| *s != "*") {
        match store.parse() {
            Ok(parsed) => {
                if !names.insert(parsed) {
                    problems.push(Problem::new(path("store"), Why::StoreTwice(store.clone())));
                }
            }
            Err(_) => {
                let why = Why::NoSuchJurisdiction(store.clone());
                problems.push(Problem::new(path("store"), why));
                return None;
            }
        }
    }
    let store = if anywhere { Store::Anywhere } else { Store::In(names) };
    Some(Rule { store, transit: text.transit, failover: text.failover })
}
