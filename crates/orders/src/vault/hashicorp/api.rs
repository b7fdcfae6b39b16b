//! The five calls: their paths, forms and answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hansa_node::env::Env;
use hansa_node::net::Net;
use hansa_wal::fs::Fs;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::Error;
use super::login::Login;
use super::wire::{Answer, Wire};
use crate::config::Hashicorp;

/// Under this name the ring's text stands in the secret.
const FIELD: &str = "ring";
/// How the engine says that another version is the newest.
const STALE: &str = "check-and-set parameter did not match";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Read,
    Write,
    Versions,
    Destroy,
    Login,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Versions => "versions",
            Self::Destroy => "destroy",
            Self::Login => "login",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Read | Self::Versions => Method::GET,
            Self::Write | Self::Destroy | Self::Login => Method::POST,
        }
    }
}

/// A body that may hold a secret.
pub type Body = Zeroizing<Vec<u8>>;

/// One request: what it is, where it goes, what it says.
pub struct Ask {
    pub call: Call,
    pub method: Method,
    pub path: String,
    pub body: Body,
}

impl Ask {
    pub fn new(call: Call, path: String, body: &serde_json::Value) -> Self {
        let body = match body {
            serde_json::Value::Null => Zeroizing::default(),
            // A value of strings and numbers: it cannot fail.
            said => Zeroizing::new(serde_json::to_vec(said).unwrap_or_default()),
        };
        Self { call, method: call.method(), path, body }
    }
}

pub enum Found {
    Nothing,
    /// The newest version, of which there is only its mark.
    Deleted(u64),
    Text(u64, Zeroizing<String>),
}

pub enum Written {
    Version(u64),
    /// The newest version is another one.
    Stale,
}

pub struct Api {
    wire: Wire,
    login: Login,
    mount: String,
    path: String,
}

#[derive(Deserialize)]
struct Said<T> {
    data: T,
    #[serde(default)]
    warnings: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Secret {
    data: Option<Fields>,
    metadata: Version,
}

#[derive(Deserialize)]
struct Fields {
    ring: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct History {
    versions: BTreeMap<String, Mark>,
}

#[derive(Deserialize)]
struct Mark {
    #[serde(default)]
    deletion_time: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

impl Api {
    pub fn new(cfg: &Hashicorp, env: &Env, fs: Arc<dyn Fs>, net: Arc<dyn Net>) -> Self {
        let login = Login::new(cfg.auth.clone(), fs.clone(), env.clock.clone());
        let wire = Wire::new(cfg.clone(), env, fs, net);
        Self { wire, login, mount: cfg.mount.clone(), path: cfg.path.clone() }
    }

    /// The newest version.
    pub async fn read(&self) -> Result<Found, Error> {
        let (call, none) = (Call::Read, serde_json::Value::Null);
        let answer = self.ask(call, "data", &none).await?;
        match answer.status {
            200 => {
                let Said { data: secret, .. } = parse::<Said<Secret>>(call, &answer)?;
                let text = secret.data.and_then(|fields| fields.ring);
                let text = text.ok_or(Error::Refused { call, status: 200 })?;
                Ok(Found::Text(secret.metadata.version, Zeroizing::new(text)))
            }
            404 => match serde_json::from_slice::<Said<Secret>>(&answer.body) {
                Ok(marked) => Ok(Found::Deleted(marked.data.metadata.version)),
                // Whether of a secret or of the engine: the one names no error.
                Err(_) if errors(&answer).is_empty() => Ok(Found::Nothing),
                Err(_) => Err(Error::NoEngine { call }),
            },
            status => Err(Error::Refused { call, status }),
        }
    }

    /// A new version, if `cas` is the newest; 0 for none.
    pub async fn write(&self, text: &str, cas: u64) -> Result<Written, Error> {
        let call = Call::Write;
        let body = json!({ "options": { "cas": cas }, "data": { FIELD: text } });
        let answer = self.ask(call, "data", &body).await?;
        match answer.status {
            200 => {
                let said = parse::<Said<Version>>(call, &answer)?;
                if said.warnings.is_some_and(|warnings| !warnings.is_empty()) {
                    tracing::warn!(path = self.path, "vault wrote with warnings: see its log");
                }
                Ok(Written::Version(said.data.version))
            }
            400 if errors(&answer).iter().any(|why| why.contains(STALE)) => Ok(Written::Stale),
            // An engine of version 1 takes it, and says nothing.
            204 | 404 => Err(Error::NoEngine { call }),
            status => Err(Error::Refused { call, status }),
        }
    }

    /// The versions older than `newest`, and whether that one is set to go by itself.
    pub async fn versions(&self, newest: u64) -> Result<(Vec<u64>, bool), Error> {
        let call = Call::Versions;
        let answer = self.ask(call, "metadata", &serde_json::Value::Null).await?;
        if answer.status != 200 {
            return Err(Error::Refused { call, status: answer.status });
        }
        let history = parse::<Said<History>>(call, &answer)?.data.versions;
        let ends = |mark: &Mark| !mark.deletion_time.is_empty();
        let ends = history.get(&newest.to_string()).is_some_and(ends);
        let numbers = history.keys().filter_map(|number| number.parse::<u64>().ok());
        Ok((numbers.filter(|number| *number < newest).collect(), ends))
    }

    /// Removes versions for good.
    pub async fn destroy(&self, versions: &[u64]) -> Result<(), Error> {
        let call = Call::Destroy;
        match self.ask(call, "destroy", &json!({ "versions": versions })).await?.status {
            200 | 204 => Ok(()),
            status => Err(Error::Refused { call, status }),
        }
    }

    /// Asks with a token; with a new one if the first is no good and there is another.
    async fn ask(&self, call: Call, what: &str, body: &serde_json::Value) -> Result<Answer, Error> {
        let ask = Ask::new(call, format!("{}/{what}/{}", self.mount, self.path), body);
        let token = self.login.token(&self.wire).await?;
        let answer = self.wire.ask(&ask, Some(&token)).await?;
        if answer.status != 403 {
            return Ok(answer);
        }
        let denied = Error::Denied { call };
        let other = self.login.renewed(&self.wire, &token).await?.ok_or(denied.clone())?;
        let answer = self.wire.ask(&ask, Some(&other)).await?;
        match answer.status {
            403 => Err(denied),
            _ => Ok(answer),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(call: Call, answer: &'a Answer) -> Result<T, Error> {
    // What serde says of it may quote it.
    serde_json::from_slice(&answer.body).map_err(|_| Error::NoEngine { call })
}

fn errors(answer: &Answer) -> Vec<String> {
    serde_json::from_slice::<Errors>(&answer.body).map_or_else(|_| Vec::new(), |said| said.errors)
}
