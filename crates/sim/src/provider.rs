//! The payment provider as the league meets it: a third party that may be away, slow or mute.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hansa_orders::provider::{Charge, Fault, Listed, Listing, Provider, Reply, SandboxProvider};
use parking_lot::Mutex;

use crate::trace;

/// How it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    #[default]
    Well,
    /// No call reaches it.
    Away,
    /// Acts at once and takes its time to say so.
    Slow(Duration),
    /// Acts, and its answers are lost.
    Mute,
}

/// A sandbox in a mood.
pub struct ThirdParty {
    sandbox: SandboxProvider,
    mood: Mutex<Mood>,
}

impl ThirdParty {
    #[must_use]
    pub fn new(sandbox: SandboxProvider) -> Arc<Self> {
        Arc::new(Self { sandbox, mood: Mutex::default() })
    }

    pub fn turn(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// What it did, in its own words.
    #[must_use]
    pub fn journal(&self) -> String {
        self.sandbox.journal()
    }

    /// `act` is what a call that reaches it does: it is called once, or not at all.
    async fn answer<T, F>(&self, act: impl FnOnce() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => act().await,
            Mood::Away => {
                trace::count("provider not reached", 1);
                Err(Fault::Unreachable)
            }
            Mood::Slow(takes) => {
                let answer = act().await;
                tokio::time::sleep(takes).await;
                answer
            }
            Mood::Mute => {
                drop(act().await);
                trace::count("provider acted and its answer was lost", 1);
                std::future::pending().await
            }
        }
    }
}

impl Provider for ThirdParty {
    fn authorize<'a>(&'a self, charge: &'a Charge, token: &'a str) -> Reply<'a> {
        Box::pin(self.answer(move || self.sandbox.authorize(charge, token)))
    }

    fn capture<'a>(&'a self, charge: &'a Charge, reference: &'a str) -> Reply<'a> {
        Box::pin(self.answer(move || self.sandbox.capture(charge, reference)))
    }

    fn cancel<'a>(&'a self, key: &'a str, reference: &'a str) -> Reply<'a> {
        Box::pin(self.answer(move || self.sandbox.cancel(key, reference)))
    }

    fn lookup<'a>(&'a self, key: &'a str) -> Reply<'a> {
        Box::pin(self.answer(move || self.sandbox.lookup(key)))
    }

    fn list(&self, since_ms: u64) -> Listing<'_> {
        Box::pin(self.answer::<Option<Vec<Listed>>, _>(move || self.sandbox.list(since_ms)))
    }

    fn refund<'a>(&'a self, charge: &'a Charge, reference: &'a str, refund: &'a str) -> Reply<'a> {
        Box::pin(self.answer(move || self.sandbox.refund(charge, reference, refund)))
    }
}

#[cfg(test)]
mod tests {
    use hansa_orders::provider::Answer;

    use super::*;
    use crate::clock::TrueClock;

    fn charge() -> Charge {
        let currency = "EUR".parse().expect("a currency");
        Charge { key: "pay-1".to_owned(), amount_minor: 255, currency }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_away_does_nothing_and_a_mute_one_has_acted() {
        let third = ThirdParty::new(SandboxProvider::apart(0, Arc::new(TrueClock::default())));
        let (charge, token) = (charge(), "tok_timeout_after_charge");
        third.turn(Mood::Away);
        assert_eq!(third.authorize(&charge, token).await, Err(Fault::Unreachable));
        assert_eq!(third.journal(), "");
        third.turn(Mood::Mute);
        let waited = Duration::from_secs(9);
        let lost = tokio::time::timeout(waited, third.authorize(&charge, token)).await;
        assert!(lost.is_err(), "its answer is lost");
        assert!(third.journal().contains("charge pay-1"), "it acted");
        third.turn(Mood::Slow(Duration::from_millis(300)));
        let begun = tokio::time::Instant::now();
        assert!(matches!(third.lookup("pay-1").await, Ok(Answer::Authorized { .. })));
        assert_eq!(begun.elapsed(), Duration::from_millis(300));
    }
}
