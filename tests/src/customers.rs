//! Germans who order all the time at the gateways of one region, with our client and its patient
//! policy, while their home is handed over, lost and given back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hansa_api::client::{League, Policy};
use hansa_api::pb::order::OrderState;
use hansa_api::status::Reason;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::processes::Processes;
use crate::{load, request};

/// What they buy; nobody else does.
pub const SKU: &str = "DAILY-BREAD";
const BETWEEN: Duration = Duration::from_millis(250);
const DOUBT: Duration = Duration::from_secs(1);
/// Longer than a region is away here.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// One request, its repeats included.
#[derive(Clone, Debug)]
pub struct Asked {
    pub began: Instant,
    pub ended: Instant,
    /// The confirmed order, or why there is none.
    pub outcome: Result<String, Reason>,
    /// What was said, in words.
    pub said: String,
}

/// Customers who go on until they are stopped.
pub struct Customers {
    asked: Arc<Mutex<Vec<Asked>>>,
    tries: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Customers {
    pub async fn start(league: &Processes, count: usize, at: &str) -> Self {
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let tries = Arc::new(AtomicUsize::new(0));
        let mut workers = Vec::new();
        for number in 0..count {
            let client = load::client(league, "storefront", at, number, Policy::persistent()).await;
            let work = order(client, number, Arc::clone(&asked), Arc::clone(&tries), stop.clone());
            // A task of a test, not of a node.
            #[allow(clippy::disallowed_methods)]
            workers.push(tokio::spawn(work));
        }
        Self { asked, tries, stop, workers }
    }

    /// Everything that was answered so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names of the orders that were confirmed so far.
    #[must_use]
    pub fn confirmed(&self) -> Vec<String> {
        self.asked().into_iter().filter_map(|asked| asked.outcome.ok()).collect()
    }

    /// The most tries that one request took so far.
    #[must_use]
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::Relaxed)
    }

    /// Waits until an order is confirmed that was asked for after `since`; when that was.
    ///
    /// # Panics
    /// When none is within `bound`.
    pub async fn served(&self, since: Instant, bound: Duration) -> Instant {
        loop {
            let asked = self.asked();
            let after = asked.iter().filter(|asked| asked.began >= since && asked.outcome.is_ok());
            if let Some(first) = after.map(|asked| asked.ended).min() {
                return first;
            }
            let last = asked.last();
            assert!(since.elapsed() < bound, "nobody is served within {bound:?}: {last:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn stop(self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("a customer does not panic");
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn order(
    client: League,
    number: usize,
    asked: Arc<Mutex<Vec<Asked>>>,
    tries: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::Relaxed) {
        let message = request::order(&format!("regular-{number}"), vec![request::line(SKU, 1)]);
        let began = Instant::now();
        let answer = client.call(CALL_TIMEOUT, |mut services, call| {
            tries.fetch_max(call.attempt as usize, Ordering::Relaxed);
            let request = call.request(message.clone());
            async move { services.orders.place_order(request).await }
        });
        let (outcome, said) = match answer.await {
            Ok(answer) => {
                let order = answer.order.unwrap_or_default();
                let said = order.state().as_str_name().to_owned();
                match order.state() {
                    OrderState::Confirmed => (Ok(order.name), said),
                    _ => (Err(Reason::DeadlineExceeded), said),
                }
            }
            Err(failure) => (Err(failure.reason()), failure.to_string()),
        };
        let in_doubt = outcome.as_ref().is_err_and(|why| *why == Reason::RequestInDoubt);
        let done = Asked { began, ended: Instant::now(), outcome, said };
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        // What is new may be in doubt for a while, too.
        let wait = if in_doubt { DOUBT } else { BETWEEN };
        tokio::time::sleep(wait).await;
    }
}
