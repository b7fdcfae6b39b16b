//! The residency policy: under which law a customer lives, and where that law lets his data lie.
//!
//! A policy is one versioned TOML file. It is strict: what it does not say is not allowed, a
//! country it does not place is refused, and a file that cannot be satisfied does not load.

mod change;
mod check;
mod explain;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hansa_api::classes::{Allowed, ClassSet, DataClass, Raised};
use hansa_types::country::Country;
use hansa_types::region::RegionName;
use serde::{Deserialize, Serialize};

pub use self::change::{Change, changes, homes_moved};
pub use self::check::{Problem, Why};
pub use self::explain::{Explanation, explain};

/// The layout of the file that this program reads.
pub const FORMAT: u32 = 1;

/// The name of a jurisdiction in the policy file: `EU`. Capitals, digits and inner hyphens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JurisdictionName(Box<str>);

impl JurisdictionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JurisdictionName {
    type Err = &'static str;
    fn from_str(s: &str) -> Result<Self, &'static str> {
        let good = (2..=16).contains(&s.len())
            && s.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'-')
            && s.starts_with(|c: char| c.is_ascii_uppercase())
            && !s.ends_with('-');
        if good { Ok(Self(s.into())) } else { Err("a jurisdiction is 2 to 16 capitals or digits") }
    }
}

impl TryFrom<String> for JurisdictionName {
    type Error = &'static str;
    fn try_from(s: String) -> Result<Self, &'static str> {
        s.parse()
    }
}

impl From<JurisdictionName> for String {
    fn from(name: JurisdictionName) -> String {
        name.0.into()
    }
}

impl fmt::Display for JurisdictionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JurisdictionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a class in the policy file and in answers.
pub fn class_name(class: DataClass) -> &'static str {
    match class {
        DataClass::Personal => "PERSONAL",
        DataClass::Financial => "FINANCIAL",
        DataClass::Operational => "OPERATIONAL",
    }
}

/// The class of that name.
pub fn class_named(name: &str) -> Option<DataClass> {
    DataClass::ALL.into_iter().find(|class| class_name(*class) == name)
}

/// What a jurisdiction says about one class of its residents' data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Where it may be stored.
    pub store: Store,
    /// Whether it may pass through a region that may not store it (an entry gateway far from home).
    pub transit: bool,
    /// The regions that keep a copy to take over with; each may lawfully store it.
    pub failover: Vec<RegionName>,
}

/// The jurisdictions that may store a class of data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    Anywhere,
    In(BTreeSet<JurisdictionName>),
}

impl Store {
    fn admits(&self, jurisdiction: &JurisdictionName) -> bool {
        match self {
            Self::Anywhere => true,
            Self::In(names) => names.contains(jurisdiction),
        }
    }
}

/// One jurisdiction: its people, the regions that stand on its ground, and its rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jurisdiction {
    pub name: JurisdictionName,
    /// The law, in words, with its source; `explain` quotes it.
    pub law: String,
    pub countries: BTreeSet<Country>,
    /// Regions that lie in it.
    pub regions: Vec<RegionName>,
    pub service: Service,
    /// Fields that count as a stricter class here than elsewhere.
    pub raised: Arc<Raised>,
}

/// Whether its residents can be served lawfully.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Service {
    /// Homes in order of preference, and the rules.
    Served { home: Vec<RegionName>, personal: Rule, financial: Rule, operational: Rule },
    /// No region of ours may hold their data: refused, with this reason.
    Unserved { reason: String },
}

impl Jurisdiction {
    /// The rule for a class, `None` when the jurisdiction is not served.
    pub fn rule(&self, class: DataClass) -> Option<&Rule> {
        match (&self.service, class) {
            (Service::Unserved { .. }, _) => None,
            (Service::Served { personal, .. }, DataClass::Personal) => Some(personal),
            (Service::Served { financial, .. }, DataClass::Financial) => Some(financial),
            (Service::Served { operational, .. }, DataClass::Operational) => Some(operational),
        }
    }

    /// Where its residents live in the league, most preferred first.
    pub fn homes(&self) -> &[RegionName] {
        match &self.service {
            Service::Served { home, .. } => home,
            Service::Unserved { .. } => &[],
        }
    }
}

/// A policy that was checked and can be satisfied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    version: u64,
    jurisdictions: BTreeMap<JurisdictionName, Jurisdiction>,
    by_country: BTreeMap<Country, JurisdictionName>,
    rest: Option<JurisdictionName>,
    /// Where each region stands.
    ground: BTreeMap<RegionName, Vec<JurisdictionName>>,
}

/// Why a policy text was refused: every problem found, each with the rule it is in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error("the policy file does not parse: {0}")]
    Syntax(String),
    #[error("the policy cannot be satisfied: {}", list(.0))]
    Unsatisfiable(Vec<Problem>),
}

/// The first of them: a file of nothing but mistakes makes no endless message.
fn list(problems: &[Problem]) -> String {
    const SHOWN: usize = 20;
    let mut shown: Vec<_> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    if problems.len() > SHOWN {
        shown.push(format!("and {} more", problems.len() - SHOWN));
    }
    shown.join("; ")
}

impl Policy {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// Text that is not of the strict format, or rules that contradict each other, each named.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let policy = file::read(text)?;
        let problems = check::problems(&policy);
        if problems.is_empty() { Ok(policy) } else { Err(Refused::Unsatisfiable(problems)) }
    }

    /// Reads a policy that was checked when it was loaded: a release that checks more must still
    /// read what is in force.
    ///
    /// # Errors
    /// Text that is not of the format.
    pub fn trusted(text: &str) -> Result<Self, Refused> {
        file::read(text)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// The jurisdiction that takes every country that no other lists.
    pub fn rest(&self) -> Option<&JurisdictionName> {
        self.rest.as_ref()
    }

    pub fn jurisdictions(&self) -> impl Iterator<Item = &Jurisdiction> {
        self.jurisdictions.values()
    }

    pub fn jurisdiction(&self, name: &JurisdictionName) -> Option<&Jurisdiction> {
        self.jurisdictions.get(name)
    }

    /// The jurisdiction in which a resident of `country` lives, `None` when no rule places it.
    pub fn of_country(&self, country: Country) -> Option<&Jurisdiction> {
        let name = self.by_country.get(&country).or(self.rest.as_ref())?;
        self.jurisdictions.get(name)
    }

    /// Every region that the policy places on some ground.
    pub fn regions(&self) -> BTreeSet<&RegionName> {
        self.ground.keys().collect()
    }

    /// The jurisdictions in which `region` lies; none for a region the policy does not know.
    pub fn ground<'a>(&'a self, region: &'a RegionName) -> impl Iterator<Item = &'a Jurisdiction> {
        let names = self.ground.get(region).map_or(&[][..], Vec::as_slice);
        names.iter().filter_map(|name| self.jurisdictions.get(name))
    }

    /// Whether `region` may store a class of the data of `origin`'s residents.
    ///
    /// What lies in a region lies in every jurisdiction the region lies in, so each must be
    /// admitted; a region that lies nowhere may store nothing.
    pub fn may_store(&self, origin: &Jurisdiction, class: DataClass, region: &RegionName) -> bool {
        let Some(rule) = origin.rule(class) else { return false };
        let mut ground = self.ground(region).peekable();
        ground.peek().is_some() && ground.all(|j| rule.store.admits(&j.name))
    }

    /// Whether a call with this class of data may pass through `region` on its way home.
    pub fn may_pass(&self, origin: &Jurisdiction, class: DataClass, region: &RegionName) -> bool {
        origin.rule(class).is_some_and(|rule| rule.transit) || self.may_store(origin, class, region)
    }

    /// What the replication envelope of `origin`'s data may carry to the region `peer`.
    ///
    /// Lawful is not enough: PERSONAL and FINANCIAL go only where a rule asks for a copy (its
    /// failover set, and a home, to which who took over gives back), because a copy nobody needs is
    /// a copy that can leak (GDPR Art. 5(1)(c)).
    pub fn allowed_classes(&self, origin: &JurisdictionName, peer: &RegionName) -> ClassSet {
        let Some(origin) = self.jurisdictions.get(origin) else { return ClassSet::NONE };
        DataClass::ALL
            .into_iter()
            .filter(|&class| self.may_store(origin, class, peer))
            .filter(|&class| {
                let kept = |rule: &Rule| rule.failover.contains(peer);
                // Who took over ships home again: without that there is no way back.
                let home = origin.homes().contains(peer);
                class == DataClass::Operational || home || origin.rule(class).is_some_and(kept)
            })
            .collect()
    }

    /// The same with the fields that `origin` counts as a stricter class: what the one typed door
    /// goes by.
    pub fn allowed(&self, origin: &Jurisdiction, peer: &RegionName) -> Allowed {
        Allowed::new(self.allowed_classes(&origin.name, peer), &origin.raised)
    }

    /// Whether `region` may come to hold more than what everybody may of the residents' data: as
    /// one of their homes, or to take over from it.
    pub fn may_live_in(&self, origin: &Jurisdiction, region: &RegionName) -> bool {
        let kept = |class| origin.rule(class).is_some_and(|rule| rule.failover.contains(region));
        origin.homes().contains(region) || DataClass::ALL.into_iter().any(kept)
    }

    /// Regions that this policy names, `before` does not, and nobody `knows`: a typing error, or a
    /// region that the directory must be told of first.
    pub fn strangers(
        &self,
        before: Option<&Self>,
        knows: impl Fn(&RegionName) -> bool,
    ) -> Vec<Problem> {
        let named = before.map(Self::named).unwrap_or_default();
        let named: BTreeSet<&RegionName> = named.iter().map(|(_, region)| *region).collect();
        let strange =
            |(_, region): &(String, &RegionName)| !named.contains(region) && !knows(region);
        let found = self.named().into_iter().filter(strange);
        found.map(|(rule, region)| Problem::new(rule, Why::UnknownRegion(region.clone()))).collect()
    }

    /// Every mention of a region, with its rule.
    fn named(&self) -> Vec<(String, &RegionName)> {
        let mut all = Vec::new();
        for j in self.jurisdictions() {
            all.extend(j.regions.iter().map(|r| (format!("jurisdiction.{}.regions", j.name), r)));
            let homes = j.homes().iter().filter(|home| !j.regions.contains(home));
            all.extend(homes.map(|r| (format!("jurisdiction.{}.home", j.name), r)));
            for class in DataClass::ALL {
                let copies = j.rule(class).map_or(&[][..], |rule| &rule.failover);
                all.extend(copies.iter().map(|r| (check::path(j, class, "failover"), r)));
            }
        }
        all
    }
}
