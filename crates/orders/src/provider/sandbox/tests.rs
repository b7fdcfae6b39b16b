use hansa_node::env::test::ManualClock;
use hansa_types::time::WallTime;
use std::time::Duration;

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::starting_at(WallTime(1_000_000)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    /// As another node of the region, or the same one after a restart.
    fn sandbox(&self) -> SandboxProvider {
        let path = self.folder.path().join("journal");
        SandboxProvider::open(&path, 4_000, self.clock.clone()).unwrap()
    }
}

fn charge() -> Charge {
    let currency = hansa_types::money::Currency::GBP;
    Charge { key: "pay-1".into(), amount_minor: 900, currency }
}

fn reference_of(answer: Result<Answer, Fault>) -> String {
    match answer {
        Ok(Answer::Authorized { reference }) => reference,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn plain_tokens_answer_alike_for_ever_without_a_memory() {
    let bench = Bench::new();
    let first = reference_of(bench.sandbox().authorize(&charge(), "tok_approve").await);
    let again = reference_of(bench.sandbox().authorize(&charge(), "tok_approve").await);
    assert_eq!(first, again);
    assert_eq!(bench.sandbox().capture(&charge(), &first).await, Ok(Answer::Done));
    let dearer = Charge { amount_minor: 901, ..charge() };
    let refused = bench.sandbox().capture(&dearer, &first).await;
    assert!(matches!(refused, Ok(Answer::Refused { .. })), "{refused:?}");
    let declined = bench.sandbox().authorize(&charge(), "tok_decline").await;
    assert_eq!(declined, Ok(Answer::Declined { why: "card_declined".into() }));
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_found_by_the_same_key() {
    let bench = Bench::new();
    let token = "tok_timeout_after_charge";
    assert_eq!(bench.sandbox().authorize(&charge(), token).await, Err(Fault::Timeout));
    let reference = reference_of(bench.sandbox().authorize(&charge(), token).await);
    assert_eq!(bench.sandbox().cancel("pay-1", &reference).await, Ok(Answer::Done));
    let refused = bench.sandbox().capture(&charge(), &reference).await;
    assert!(matches!(refused, Ok(Answer::Refused { .. })), "{refused:?}");
    assert_eq!(bench.sandbox().lookup("pay-1").await, Ok(Answer::NotFound));
}

#[tokio::test]
async fn a_late_charge_is_not_found_before_it_settles_and_found_after() {
    let bench = Bench::new();
    assert_eq!(bench.sandbox().authorize(&charge(), "tok_late").await, Err(Fault::Timeout));
    assert_eq!(bench.sandbox().lookup("pay-1").await, Ok(Answer::NotFound));
    assert_eq!(bench.sandbox().cancel("pay-1", "").await, Ok(Answer::NotFound));
    bench.clock.advance(Duration::from_secs(5));
    reference_of(bench.sandbox().lookup("pay-1").await);
    assert_eq!(bench.sandbox().cancel("pay-1", "").await, Ok(Answer::Done));
}

#[tokio::test]
async fn a_voided_approval_is_not_captured_by_any_node() {
    let bench = Bench::new();
    let reference = reference_of(bench.sandbox().authorize(&charge(), "tok_approve").await);
    let other = bench.sandbox();
    assert_eq!(bench.sandbox().cancel("pay-1", &reference).await, Ok(Answer::Done));
    let refused = other.capture(&charge(), &reference).await;
    assert!(matches!(refused, Ok(Answer::Refused { .. })), "{refused:?}");
}
