//! Another law: which policy a directory takes, and for how long it remembers the one before.

use std::sync::Arc;

use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::apply::Change;
use super::command::Refusal;
use super::{POLICY_BYTES_MAX, State};
use crate::core::policy::{Policy, Refused, homes_moved};

/// Policies that moved somebody's home are remembered this long: longer than any request key lives,
/// so that a new home knows whom to ask whether a request was carried out before.
pub const FORMER_LIFE_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// So many are remembered; one that moves homes beyond that is refused until the oldest is
/// forgotten.
pub const FORMERS_MAX: usize = 8;

/// A policy that was in force, as the state keeps it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Replaced {
    pub(super) text: Arc<str>,
    pub(super) until: LogTime,
}

/// A policy under which somebody lived elsewhere, and until when.
#[derive(Clone, Debug)]
pub struct Former {
    pub policy: Arc<Policy>,
    /// The file.
    pub text: Arc<str>,
    /// When the next one was loaded.
    pub until: LogTime,
}

impl State {
    /// # Outcomes
    /// The very text that is loaded changes nothing. Refused: what does not parse or cannot be
    /// satisfied, what is not newer, a region that neither the directory nor the loaded policy
    /// knows.
    pub(super) fn load_policy(&mut self, at: LogTime, text: &str) -> Change {
        let policy = parse(text)?;
        if self.meta.get(&0).is_some_and(|meta| *meta.policy == *text) {
            return Ok(false);
        }
        let before = self.policy.clone();
        let have = before.as_ref().map_or(0, |policy| policy.version());
        if policy.version() <= have {
            return Err(Refusal::PolicyNotNewer { have });
        }
        let knows = |name: &_| self.regions.iter().any(|(_, region)| region.name == *name);
        let strangers = policy.strangers(before.as_deref(), knows);
        if !strangers.is_empty() {
            return Err(Refusal::Policy(Refused::Unsatisfiable(strangers).to_string()));
        }
        if before.is_some_and(|before| homes_moved(&before, &policy)) {
            self.remember(at, have)?;
        }
        self.meta.update(&0, |meta| meta.policy = text.into());
        self.policy = Some(Arc::new(policy));
        Ok(true)
    }

    /// Keeps the loaded policy, of version `have`, for those who ask where somebody lived.
    fn remember(&mut self, at: LogTime, have: u64) -> Result<(), Refusal> {
        let old = |until: LogTime| until.0.saturating_add(FORMER_LIFE_MS) < at.0;
        let forgotten: Vec<u64> = (self.former.iter())
            .filter(|(_, replaced)| old(replaced.until))
            .map(|(version, _)| *version)
            .collect();
        if self.former.len() - forgotten.len() >= FORMERS_MAX {
            return Err(Refusal::TooMany("the number of policies that moved homes in seven days"));
        }
        for version in forgotten {
            self.former.remove(&version);
        }
        if let Some(meta) = self.meta.get(&0) {
            let replaced = Replaced { text: meta.policy.clone(), until: at };
            self.former.insert(have, replaced);
        }
        Ok(())
    }

    /// The remembered policies, oldest first. Each was checked when it was loaded.
    pub(super) fn formers(&self) -> Vec<Former> {
        let parsed = |replaced: &Replaced| {
            let policy = Arc::new(Policy::trusted(&replaced.text).ok()?);
            Some(Former { policy, text: replaced.text.clone(), until: replaced.until })
        };
        self.former.iter().filter_map(|(_, replaced)| parsed(replaced)).collect()
    }
}

/// # Errors
/// A file that is too large, that does not parse or cannot be satisfied.
pub(super) fn parse(text: &str) -> Result<Policy, Refusal> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(Refusal::TooMany("the policy"));
    }
    Policy::parse(text).map_err(|e| Refusal::Policy(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Outcome, Region};
    use super::*;
    use crate::core::home::lived;
    use crate::testing::{POLICY, genesis, number};
    use hansa_types::region::Slot;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;

    fn state() -> State {
        let mut state = State::default();
        apply(&mut state, 1, &Command::Bootstrap(Box::new(genesis(1))));
        state
    }

    fn apply(state: &mut State, at: u64, command: &Command) -> Outcome {
        state.apply_at(LogTime(at), &command.encode().unwrap())
    }

    /// The shipped policy as this version, Canadians apart and at home in `home`.
    fn canada(version: u64, home: &str) -> Command {
        let text = POLICY.replace("\nversion = 1", &format!("\nversion = {version}"));
        let text = text.replace(r#"countries = ["US", "CA"]"#, r#"countries = ["US"]"#);
        let lives = format!("countries = [\"CA\"]\nhome = [\"{home}\"]");
        let rule = r#"{ store = ["*"], transit = true }"#;
        let rules = format!("PERSONAL = {rule}\nFINANCIAL = {rule}\nOPERATIONAL = {rule}\n");
        Command::LoadPolicy {
            text: format!("{text}\n[jurisdiction.CANADA]\nlaw = \"x\"\n{lives}\n{rules}"),
        }
    }

    fn former(state: &State, now: u64) -> Vec<u16> {
        let (country, slot) = ("CA".parse().unwrap(), Slot::of(b"x"));
        let snapshot = state.snapshot().unwrap();
        let homes = lived(country, slot, &snapshot, LogTime(now));
        homes.into_iter().map(|lived| lived.owner.owner.get()).collect()
    }

    #[test]
    fn only_a_newer_policy_is_taken_and_the_first_of_one_version_wins() {
        let mut state = state();
        assert_eq!(apply(&mut state, 2, &canada(1, "us-east")), refused_at(1), "another version 1");
        assert_eq!(apply(&mut state, 2, &canada(3, "us-east")), Outcome::Changed { version: 2 });
        assert_eq!(apply(&mut state, 3, &canada(3, "us-east")), Outcome::Unchanged { version: 2 });
        assert_eq!(
            apply(&mut state, 3, &canada(3, "eu-west")),
            refused_at(3),
            "the other gateway's"
        );
        assert_eq!(apply(&mut state, 3, &canada(2, "us-east")), refused_at(3));
    }

    fn refused_at(have: u64) -> Outcome {
        Outcome::Refused(Refusal::PolicyNotNewer { have })
    }

    #[test]
    fn a_region_that_nobody_knows_is_refused_with_its_rule_until_it_is_added() {
        let mut state = state();
        let outcome = apply(&mut state, 2, &canada(2, "ca-north"));
        let Outcome::Refused(Refusal::Policy(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.contains("[jurisdiction.CANADA.home]") && why.contains("ca-north"), "{why}");
        let region = Region { name: "ca-north".parse().unwrap(), public: vec![], nodes: vec![] };
        apply(&mut state, 2, &Command::PutRegion { number: number(9), region });
        let outcome = apply(&mut state, 2, &canada(2, "ca-north"));
        // It stands on no ground of the policy: still refused, by the policy's own rules.
        let Outcome::Refused(Refusal::Policy(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.contains("lies in no jurisdiction"), "{why}");
        // What the loaded policy names already is its author's affair: eu-central is not here yet.
        let same = POLICY.replace("\nversion = 1", "\nversion = 2");
        let outcome = apply(&mut state, 3, &Command::LoadPolicy { text: same });
        assert!(matches!(outcome, Outcome::Changed { .. }), "{outcome:?}");
    }

    #[test]
    fn a_former_home_is_remembered_as_long_as_its_keys_may_live() {
        let mut state = state();
        assert_eq!(former(&state, 5), [0u16; 0]);
        apply(&mut state, 10, &canada(2, "us-east"));
        assert_eq!(former(&state, 11), [0u16; 0], "the same home under another law");
        apply(&mut state, 20, &canada(3, "eu-west"));
        assert_eq!(former(&state, 21), [2]);
        apply(&mut state, 30, &canada(4, "ap-south"));
        assert_eq!(former(&state, 31), [2, 1]);
        assert_eq!(former(&state, 25 + FORMER_LIFE_MS), [1], "the older one's keys are gone");
        let mut bytes = Vec::new();
        state.freeze().write(&mut bytes).unwrap();
        let thawed = State::thaw(&mut &bytes[..]).unwrap();
        assert_eq!((thawed.digest(), former(&thawed, 31)), (state.digest(), vec![2, 1]));
        assert_eq!(state.digest(), state.digest_full());
    }

    #[test]
    fn only_where_no_owner_but_the_first_may_have_served_him_is_that_ones_word_the_last() {
        let mut state = state();
        apply(&mut state, 20, &canada(2, "us-east"));
        apply(&mut state, 20, &canada(3, "eu-west"));
        let born = |owner: u16, ends: u64| {
            let mut now = state.snapshot().unwrap();
            let (birth, owner) = (number(2), number(owner));
            let record = crate::core::directory::OwnershipRecord {
                birth,
                owner,
                epoch: ends + 1,
                ends,
                kind: crate::core::directory::Kind::Failover,
                confirmed_stopped: true,
                reason: "lost".into(),
                ticket: "T-1".into(),
                time_ms: 5,
                by: "spiffe://hansa/client/ada".into(),
                proof: Default::default(),
            };
            now.owners.insert(birth, crate::core::directory::Ownership { owner, epoch: ends + 1 });
            now.records.insert(birth, record);
            let (country, slot) = ("CA".parse().unwrap(), Slot::of(b"x"));
            let homes = lived(country, slot, &now, LogTime(21));
            let alone = homes.iter().find(|lived| lived.birth == birth).map(|lived| lived.alone);
            alone.unwrap()
        };
        let former = state.snapshot().unwrap();
        assert!(lived("CA".parse().unwrap(), Slot::of(b"x"), &former, LogTime(21))[0].alone);
        assert!(!born(1, 1), "its heir was a home of his by law");
        assert!(born(3, 1), "no law ever had its heir serve him");
        assert!(!born(3, 2), "who owned them before that is not known");
        assert!(!born(2, 3), "nor who did until they came home");
    }

    #[test]
    fn more_moves_than_can_be_remembered_are_refused_until_the_oldest_is_forgotten() {
        let mut state = state();
        let homes = ["us-east", "eu-west"];
        let mut load = |n: u64, at: u64| {
            let outcome = apply(&mut state, at, &canada(n + 2, homes[n as usize % 2]));
            matches!(outcome, Outcome::Changed { .. })
        };
        // The first changes no home: Canadians are in us-east already.
        assert!((0..=FORMERS_MAX as u64).all(|n| load(n, 100 + n)));
        let next = FORMERS_MAX as u64 + 1;
        assert!(!load(next, 200) && !load(next, DAY_MS));
        assert!(load(next, 200 + FORMER_LIFE_MS));
    }
}
