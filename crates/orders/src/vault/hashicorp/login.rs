//! The token that we show: a file's, or one that a service account is given for a while.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hansa_node::env::Clock;
use hansa_wal::fs::Fs;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::api::{Ask, Call};
use super::error::Error;
use super::wire::Wire;
use crate::config::Auth;

/// A token file is read again after this.
const FRESH: Duration = Duration::from_secs(10);
/// A login without an end is made again after this.
const ENDLESS: Duration = Duration::from_secs(3_600);
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

/// Goes into no log: it is marked as sensitive.
#[derive(Clone, PartialEq)]
pub struct Token(HeaderValue);

impl Token {
    fn of(text: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(text).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

pub struct Login {
    auth: Auth,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Token,
    /// By the monotonic clock.
    until: Duration,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Granted,
}

#[derive(Deserialize)]
struct Granted {
    client_token: String,
    lease_duration: u64,
}

impl Login {
    pub fn new(auth: Auth, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Self {
        Self { auth, fs, clock, held: Mutex::new(None) }
    }

    /// One that should do.
    pub async fn token(&self, wire: &Wire) -> Result<Token, Error> {
        let mut held = self.held.lock().await;
        let now = self.clock.monotonic();
        if let Some(held) = held.as_ref().filter(|held| now < held.until) {
            return Ok(held.token.clone());
        }
        let (token, fresh) = self.fetch(wire).await?;
        *held = Some(Held { token: token.clone(), until: now + fresh });
        Ok(token)
    }

    /// Another one, in the place of one that did not do; `None` if there is no other.
    pub async fn renewed(&self, wire: &Wire, former: &Token) -> Result<Option<Token>, Error> {
        let mut held = self.held.lock().await;
        *held = held.take().filter(|held| held.token != *former);
        drop(held);
        let token = self.token(wire).await?;
        Ok((token != *former).then_some(token))
    }

    async fn fetch(&self, wire: &Wire) -> Result<(Token, Duration), Error> {
        match &self.auth {
            Auth::Token { file } => {
                let text = self.credential(file)?;
                let why = "no token in it".to_owned();
                let none = || Error::Credential { file: file.display().to_string(), why };
                Ok((Token::of(&text).ok_or_else(none)?, FRESH))
            }
            Auth::Kubernetes { role, mount, jwt } => {
                let jwt = self.credential(jwt)?;
                let body = json!({ "role": role, "jwt": jwt.as_str() });
                let ask = Ask::new(Call::Login, format!("auth/{mount}/login"), &body);
                let answer = wire.ask(&ask, None).await?;
                let refused = || Error::Login { status: answer.status };
                let granted = serde_json::from_slice::<LoggedIn>(&answer.body);
                let granted = granted.map_err(|_| refused())?.auth;
                let text = Zeroizing::new(granted.client_token);
                let lease = Duration::from_secs(granted.lease_duration);
                let fresh = if lease.is_zero() { ENDLESS } else { lease * 2 / 3 };
                Ok((Token::of(&text).ok_or_else(refused)?, fresh))
            }
        }
    }

    fn credential(&self, file: &Path) -> Result<Zeroizing<String>, Error> {
        let read = self.fs.read(file, CREDENTIAL_BYTES_MAX).map(Zeroizing::new);
        let text = read.map_err(|error| error.to_string()).and_then(|bytes| {
            let text = std::str::from_utf8(&bytes).map_err(|_| "not a text".to_owned())?;
            Ok(Zeroizing::new(text.trim().to_owned()))
        });
        text.map_err(|why| Error::Credential { file: file.display().to_string(), why })
    }
}
