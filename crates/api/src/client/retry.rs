//! When a call is tried again, and when it is not.
//!
//! Only what the server invites: `UNAVAILABLE`, or any failure that carries `RetryInfo`. A retry
//! waits with full jitter, never beyond the call's deadline, and is paid from a budget that calls
//! fill, so a broken server sees at most a tenth more load. Every call that changes something
//! carries a `request_id`, so a repeat has one effect.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::status::{Failure, Kind};

/// The same policy as a gRPC service config, for clients in other languages.
///
/// # Source
/// gRFC A6; <https://github.com/grpc/grpc/blob/master/doc/service_config.md>
pub const SERVICE_CONFIG: &str = r#"{
  "methodConfig": [{
    "name": [{}],
    "retryPolicy": {
      "maxAttempts": 5,
      "initialBackoff": "0.05s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": { "maxTokens": 10, "tokenRatio": 0.1 }
}
"#;

/// How often, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The first try included.
    pub attempts_max: u32,
    /// The longest first wait; doubles with each try.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// Retries that may be saved up.
    pub budget_max: u32,
    /// Retries that each call adds to the budget, in thousandths.
    pub budget_per_mille: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            budget_max: 10,
            budget_per_mille: 100,
        }
    }
}

impl Policy {
    /// For a load that must go through whatever happens to single nodes: patient, large budget.
    pub fn persistent() -> Self {
        Self { attempts_max: 60, budget_max: 10_000, budget_per_mille: 1_000, ..Self::default() }
    }

    /// How long to wait before try number `attempt` + 1, `None` when there is none.
    ///
    /// `jitter`: from 0 to 1.
    pub fn wait(&self, failure: &Failure, attempt: u32, jitter: f64) -> Option<Duration> {
        let invited = failure.wait().is_some() || failure.kind() == Kind::Unavailable;
        if !invited || attempt >= self.attempts_max {
            return None;
        }
        let doubled = self.backoff.saturating_mul(1 << (attempt.saturating_sub(1)).min(16));
        let backoff = doubled.min(self.backoff_max).mul_f64(jitter.clamp(0.0, 1.0));
        // The server's wait is a minimum; jitter on top keeps a crowd from returning at once.
        Some(failure.wait().unwrap_or_default().saturating_add(backoff))
    }
}

/// Retries as a share of calls, so that retries cannot multiply an outage.
///
/// # Invariant
/// Over any time, retries ≤ calls × `per_call_milli` / 1000 + `held_max`.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    per_call_milli: u64,
    held_max_milli: u64,
    held_milli: u64,
}

impl RetryBudget {
    const RETRY: u64 = 1000;

    /// Each call earns `per_call_milli` thousandths of a retry, of which `held_max` whole ones are
    /// kept; starts full.
    pub fn new(per_call_milli: u64, held_max: u64) -> Self {
        let held_max_milli = held_max.saturating_mul(Self::RETRY);
        Self { per_call_milli, held_max_milli, held_milli: held_max_milli }
    }

    /// A first attempt was made.
    pub fn earn(&mut self) {
        self.held_milli =
            self.held_milli.saturating_add(self.per_call_milli).min(self.held_max_milli);
    }

    /// Whether nothing is left for a retry.
    pub fn is_spent(&self) -> bool {
        self.held_milli < Self::RETRY
    }

    /// Whether a retry may be made; takes it from the budget if so.
    pub fn spend(&mut self) -> bool {
        let left = self.held_milli.checked_sub(Self::RETRY);
        self.held_milli = left.unwrap_or(self.held_milli);
        left.is_some()
    }
}

/// One [`RetryBudget`] for all calls of a client.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<RetryBudget>>);

impl Budget {
    pub fn new(policy: &Policy) -> Self {
        let budget = RetryBudget::new(policy.budget_per_mille.into(), policy.budget_max.into());
        Self(Arc::new(Mutex::new(budget)))
    }

    /// A call begins: it adds its share.
    pub fn earn(&self) {
        self.lock().earn();
    }

    /// Takes one retry, if there is one left.
    pub fn spend(&self) -> bool {
        self.lock().spend()
    }

    fn lock(&self) -> MutexGuard<'_, RetryBudget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Reason;

    #[test]
    fn only_invited_failures_are_tried_again() {
        let policy = Policy::default();
        for &reason in Reason::ALL {
            let again = policy.wait(&Failure::of(reason), 1, 1.0).is_some();
            assert_eq!(again, reason.kind() == Kind::Unavailable, "{reason}");
        }
        let invited = Failure::of(Reason::RateLimited).retry_after(Duration::from_secs(1));
        assert_eq!(policy.wait(&invited, 1, 0.0), Some(Duration::from_secs(1)));
        assert!(policy.wait(&invited, 1, 1.0) > policy.wait(&invited, 1, 0.0));
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let policy = Policy::default();
        let failure = Failure::of(Reason::NotLeader);
        let ms = |attempt| policy.wait(&failure, attempt, 1.0).map(|wait| wait.as_millis());
        assert_eq!([ms(1), ms(2), ms(4), ms(5)], [Some(50), Some(100), Some(400), None]);
        let patient = Policy::persistent();
        assert_eq!(patient.wait(&failure, 59, 1.0), Some(patient.backoff_max));
    }

    #[test]
    fn retries_are_a_share_of_calls() {
        let mut budget = RetryBudget::new(100, 2);
        assert!(budget.spend() && budget.spend());
        assert!(!budget.spend());
        for _ in 0..9 {
            budget.earn();
        }
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend());
        for _ in 0..1000 {
            budget.earn();
        }
        assert!(budget.spend() && budget.spend() && !budget.spend(), "no more than two are kept");
    }

    #[test]
    fn the_budget_allows_a_tenth_more() {
        let budget = Budget::new(&Policy::default());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
        (0..100).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
    }

    #[test]
    fn the_published_config_says_what_the_policy_does() {
        let config: serde_json::Value = serde_json::from_str(SERVICE_CONFIG).unwrap();
        let retry = &config["methodConfig"][0]["retryPolicy"];
        assert_eq!(retry["maxAttempts"], Policy::default().attempts_max);
        assert_eq!(config["retryThrottling"]["maxTokens"], Policy::default().budget_max);
        assert_eq!(config["methodConfig"][0]["name"], serde_json::json!([{}]), "of every method");
    }
}
