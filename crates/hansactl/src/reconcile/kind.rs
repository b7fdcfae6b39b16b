//! Plans are of two kinds, each with its own verbs: what is decided on a tail needs other eyes than
//! what is repaired.

use std::path::Path;

use hansa_api::pb::admin::repair::Action;
use hansa_api::pb::admin::{PlanEntry, ReconcilePlan};

use crate::error::Problem;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Repairs,
    Tail,
}

impl Kind {
    /// # Errors
    /// A plan of both: nobody makes such a one.
    pub fn of(plan: &ReconcilePlan, path: &Path) -> Result<Self, Problem> {
        let decides = |entry: &&PlanEntry| {
            let action = entry.repair.as_ref().and_then(|repair| repair.action.as_ref());
            matches!(action, Some(Action::DecideTail(_)))
        };
        match plan.entries.iter().filter(decides).count() {
            0 => Ok(Self::Repairs),
            all if all == plan.entries.len() => Ok(Self::Tail),
            _ => {
                let what = format!("{} repairs, and decides on a tail as well", path.display());
                Err(Problem::refused(
                    what,
                    "plan the two apart: `reconcile plan`, `region tail plan`",
                ))
            }
        }
    }

    /// The command whose verbs such a plan is for.
    pub fn command(self) -> &'static str {
        match self {
            Self::Repairs => "reconcile",
            Self::Tail => "region tail",
        }
    }

    /// What its entries are.
    pub fn entries(self) -> &'static str {
        match self {
            Self::Repairs => "repairs",
            Self::Tail => "decisions",
        }
    }

    /// Refuses a plan of the other kind.
    pub fn check(self, plan: &ReconcilePlan, path: &Path, verb: &str) -> Result<(), Problem> {
        let is = Self::of(plan, path)?;
        if is == self {
            return Ok(());
        }
        let what = format!("{} holds {}, not {}", path.display(), is.entries(), self.entries());
        let next = match (is, verb) {
            (Self::Tail, "verify") => "`region tail REGION` exits 1 while one is undecided".into(),
            (is, verb) => format!("`{} {verb} {}`", is.command(), path.display()),
        };
        Err(Problem::refused(what, next))
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::{DecideTail, Repair, ResumeOrder};

    use super::*;

    fn plan(actions: &[Option<Action>]) -> ReconcilePlan {
        let entry = |action: &Option<Action>| PlanEntry {
            repair: action.clone().map(|action| Repair { action: Some(action) }),
            ..PlanEntry::default()
        };
        ReconcilePlan { entries: actions.iter().map(entry).collect(), ..Default::default() }
    }

    #[test]
    fn a_plan_goes_through_the_verbs_of_its_own_kind_only() {
        let resume = Some(Action::ResumeOrder(ResumeOrder::default()));
        let decide = Some(Action::DecideTail(DecideTail::default()));
        let path = Path::new("p.json");
        let repairs = plan(&[resume.clone(), None]);
        let tail = plan(std::slice::from_ref(&decide));
        assert!(Kind::Repairs.check(&repairs, path, "apply").is_ok());
        assert!(Kind::Tail.check(&tail, path, "apply").is_ok());
        let said = |kind: Kind, plan| kind.check(plan, path, "apply").unwrap_err().text();
        assert!(said(Kind::Tail, &repairs).contains("`reconcile apply p.json`"));
        assert!(said(Kind::Repairs, &tail).contains("`region tail apply p.json`"));
        let both = plan(&[resume, decide]);
        assert!(said(Kind::Repairs, &both).contains("plan the two apart"));
        assert!(said(Kind::Tail, &both).contains("plan the two apart"));
    }
}
