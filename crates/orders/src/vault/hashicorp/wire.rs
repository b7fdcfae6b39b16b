//! One request and its answer: a limit of time, a few repeats, and none while it is of no use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::client::RetryBudget;
use hansa_node::env::{Clock, Entropy, Env};
use hansa_node::https;
use hansa_node::net::{Net, Outsider};
use hansa_node::resilience::{Breaker, BreakerPolicy, Change};
use hansa_wal::fs::Fs;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::api::Ask;
use super::error::Error;
use super::login::Token;
use crate::config::Hashicorp;
use crate::metrics;

/// Tries of one request.
const TRIES_MAX: u32 = 3;
/// Between two of them at most, the first time.
const PAUSE: Duration = Duration::from_millis(100);
const BREAKER: BreakerPolicy =
    BreakerPolicy { failures_max: 5, open_for: Duration::from_secs(1), probes_max: 1 };
/// A repeat for every fifth call, and so many at once.
const RETRIES_PER_CALL_MILLI: u64 = 200;
const RETRIES_HELD_MAX: u64 = 10;
/// The longest ring, as JSON.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const CA_BYTES_MAX: u64 = 1 << 20;

pub struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

pub struct Wire {
    client: https::Client,
    cfg: Hashicorp,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shield: Mutex<Shield>,
}

struct Shield {
    breaker: Breaker,
    budget: RetryBudget,
    /// What the last failure was: it is still so while nobody asks.
    last: Option<Error>,
}

impl Wire {
    pub fn new(cfg: Hashicorp, env: &Env, fs: Arc<dyn Fs>, net: Arc<dyn Net>) -> Self {
        let budget = RetryBudget::new(RETRIES_PER_CALL_MILLI, RETRIES_HELD_MAX);
        let shield = Shield { breaker: Breaker::new(BREAKER), budget, last: None };
        let (clock, entropy) = (env.clock.clone(), env.entropy.clone());
        let client = https::Client::new(net, env.tasks.clone());
        Self { client, cfg, fs, clock, entropy, shield: Mutex::new(shield) }
    }

    /// The answer, whatever its status, unless it says that there is none now. A request may be
    /// done more than once: each of ours changes nothing the second time.
    pub async fn ask(&self, ask: &Ask, token: Option<&Token>) -> Result<Answer, Error> {
        let mut tried = 0;
        loop {
            self.admit(tried == 0)?;
            let begun = self.clock.monotonic();
            let asked = self.once(ask, token).await;
            let took = self.clock.monotonic().saturating_sub(begun);
            metrics::vault_asked(ask.call.name(), asked.is_ok(), took);
            self.record(&asked);
            tried += 1;
            match asked {
                Err(error) if error.is_brief() && tried < TRIES_MAX && self.may_repeat() => {
                    sleep(self.entropy.jitter(PAUSE * 2u32.pow(tried))).await;
                }
                asked => return asked,
            }
        }
    }

    fn admit(&self, first: bool) -> Result<(), Error> {
        let mut shield = self.shield.lock();
        if shield.breaker.admit(self.clock.monotonic(), first).is_err() {
            let why = || Error::Unreached { why: "it failed a moment ago".to_owned() };
            return Err(shield.last.clone().unwrap_or_else(why));
        }
        if first {
            shield.budget.earn();
        }
        Ok(())
    }

    fn may_repeat(&self) -> bool {
        self.shield.lock().budget.spend()
    }

    fn record(&self, asked: &Result<Answer, Error>) {
        let failed = asked.as_ref().err().filter(|error| error.is_brief());
        let mut shield = self.shield.lock();
        shield.last = failed.cloned();
        let change = shield.breaker.record(self.clock.monotonic(), failed.is_none());
        drop(shield);
        let vault = self.cfg.address.as_str();
        match (change, failed) {
            (Change::Opened, Some(why)) => tracing::warn!(vault, %why, "vault fails"),
            (Change::Closed, _) => tracing::info!(vault, "vault answers again"),
            _ => {}
        }
    }

    async fn once(&self, ask: &Ask, token: Option<&Token>) -> Result<Answer, Error> {
        let unreached = |why: String| Error::Unreached { why };
        let request = self.request(ask, token).map_err(|error| unreached(error.to_string()))?;
        let limit = Duration::from_millis(self.cfg.timeout_ms);
        let asked = self.client.ask(|| self.server(), request, ANSWER_BYTES_MAX);
        let answer = match timeout(limit, asked).await {
            Err(_) => return Err(unreached(format!("no answer within {} ms", limit.as_millis()))),
            Ok(Err(https::Error::Server(bad))) => {
                let (file, why) = (self.cfg.ca.display().to_string(), bad.to_string());
                return Err(Error::Authority { file, why });
            }
            Ok(Err(error)) => return Err(unreached(error.to_string())),
            Ok(Ok(answer)) => answer,
        };
        let (status, call) = (answer.status().as_u16(), ask.call);
        match status {
            503 => Err(Error::Sealed),
            // Not caught up, too many of us, a standby that knows no leader.
            412 | 429 | 472..=474 | 500..=599 => Err(Error::Failing { call, status }),
            300..=399 => Err(Error::Redirected { call, status }),
            _ => Ok(Answer { status, body: Zeroizing::new(answer.into_body().into()) }),
        }
    }

    fn request(
        &self,
        ask: &Ask,
        token: Option<&Token>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let host = self.cfg.address.trim_start_matches("https://");
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("/v1/{}", ask.path))
            .header(header::HOST, host)
            // Vault refuses requests without it where it is told to.
            .header("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.cfg.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("x-vault-token", token.header());
        }
        request.body(Full::new(Bytes::copy_from_slice(&ask.body)))
    }

    /// Where it is, and what proves it, by what the file says now.
    fn server(&self) -> Result<Outsider, https::BoxError> {
        let (host, port) = self.cfg.server()?;
        let ca = self.fs.read(&self.cfg.ca, CA_BYTES_MAX)?;
        Ok(Outsider::new(host, port, &self.cfg.ca, &ca)?)
    }
}
