//! What the forwarding service counts.
//!
//! | name | unit | help | labels |
//! |---|---|---|---|
//! | `hansa_router_forwarded_total` | calls | calls passed on | `to` (group, region), `outcome` |
//! | `hansa_router_retries_total` | tries | tries that provably did nothing | `why` |
//! | `hansa_router_owners_settled_total` | births | two regions owned at once, and one gave in | |

/// How a call that was passed on came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With an answer, whatever it says.
    Answered,
    /// Nobody took it.
    Refused,
    /// The connection broke; it may have been carried out.
    Lost,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

pub fn forwarded(to: &'static str, outcome: Outcome) {
    let outcome = outcome.as_str();
    metrics::counter!("hansa_router_forwarded_total", "to" => to, "outcome" => outcome)
        .increment(1);
}

pub fn retried(why: &'static str) {
    metrics::counter!("hansa_router_retries_total", "why" => why).increment(1);
}

pub fn settled() {
    metrics::counter!("hansa_router_owners_settled_total").increment(1);
}
