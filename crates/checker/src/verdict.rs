//! Pass, fail with the reasons, or unknown; and unknown is no pass.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a check came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    Pass,
    Fail(Vec<Reason>),
    /// Could not be decided; why.
    Unknown(Vec<String>),
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// Which check: `stock`, `payment`, `request`, `order`, `watch`, or an invariant's name.
    pub check: String,
    /// What it was about: a stock key, an order, a request id, a group.
    pub subject: String,
    pub what: String,
    /// The counter-example: the operations of the shortest prefix that cannot be explained, in the
    /// order of real time; empty for a check of the final state.
    pub trace: Vec<String>,
}

impl Reason {
    pub fn new(check: &str, subject: impl fmt::Display, what: impl Into<String>) -> Self {
        let (check, subject) = (check.to_owned(), subject.to_string());
        Self { check, subject, what: what.into(), trace: Vec::new() }
    }

    #[must_use]
    pub fn with(self, trace: Vec<String>) -> Self {
        Self { trace, ..self }
    }
}

impl Verdict {
    #[must_use]
    pub fn of(reasons: Vec<Reason>) -> Self {
        if reasons.is_empty() { Self::Pass } else { Self::Fail(reasons) }
    }

    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(vec![why.into()])
    }

    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self, Self::Pass)
    }

    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self, Self::Fail(_))
    }

    /// Both: a failure outweighs what is unknown, which outweighs a pass.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fail(mut all), Self::Fail(more)) => {
                all.extend(more);
                Self::Fail(all)
            }
            (Self::Unknown(mut all), Self::Unknown(more)) => {
                all.extend(more);
                Self::Unknown(all)
            }
            (fail @ Self::Fail(_), _) | (_, fail @ Self::Fail(_)) => fail,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Pass, Self::Pass) => Self::Pass,
        }
    }
}

impl FromIterator<Verdict> for Verdict {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        verdicts.into_iter().fold(Self::Pass, Self::and)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.check, self.subject, self.what)?;
        self.trace.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => write!(f, "pass"),
            Self::Fail(reasons) => {
                write!(f, "FAIL ({})", reasons.len())?;
                reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
            }
            Self::Unknown(why) => {
                write!(f, "UNKNOWN")?;
                why.iter().try_for_each(|why| write!(f, "\n  {why}"))
            }
        }
    }
}
