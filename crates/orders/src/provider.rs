//! Payment service providers: one trait, and a sandbox behind it.

mod sandbox;

use std::future::Future;
use std::pin::Pin;

pub use self::sandbox::SandboxProvider;

/// The provider's name in answers.
pub const NAME: &str = "sandbox";

/// What a provider is asked about. `key` is the idempotency key: the same key is the same charge,
/// however often it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Charge {
    pub key: String,
    pub amount_minor: i64,
    pub currency: hansa_types::money::Currency,
}

/// What a provider answered for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Done,
    Authorized {
        reference: String,
    },
    Declined {
        why: String,
    },
    /// Knows nothing by this key; proves nothing before the settle time.
    NotFound,
    /// Will never do it.
    Refused {
        why: String,
    },
}

/// A charge as a provider lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub key: String,
    pub reference: String,
    /// Given up or given back: nobody holds money for it.
    pub void: bool,
}

/// What a provider knows, `None` from one that cannot tell.
pub type Listing<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Vec<Listed>>, Fault>> + Send + 'a>>;

/// No answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The call never left: nothing can have happened.
    Unreachable,
    /// The call left: anything may have happened.
    Timeout,
}

pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Answer, Fault>> + Send + 'a>>;

/// A payment service provider. Every call may be repeated.
pub trait Provider: Send + Sync + 'static {
    /// Holds the amount on the buyer's account.
    fn authorize<'a>(&'a self, charge: &'a Charge, token: &'a str) -> Reply<'a>;
    /// Takes what was held. `reference` is what `authorize` answered.
    fn capture<'a>(&'a self, charge: &'a Charge, reference: &'a str) -> Reply<'a>;
    /// Gives up a charge by its key, captured or not yet.
    fn cancel<'a>(&'a self, key: &'a str, reference: &'a str) -> Reply<'a>;
    fn lookup<'a>(&'a self, key: &'a str) -> Reply<'a>;
    /// Every charge since a wall time, captured or not: asked after a restore.
    fn list(&self, since_ms: u64) -> Listing<'_>;
    /// Gives back part of what was captured; `refund` is this refund's own idempotency key.
    fn refund<'a>(&'a self, charge: &'a Charge, reference: &'a str, refund: &'a str) -> Reply<'a>;
}
