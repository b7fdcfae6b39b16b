//! Whether a record was signed by who it says; asked before it is committed, wherever it came from.

use std::fmt;
use std::sync::Arc;

use hansa_api::ownership::verify;
use hansa_api::pb::directory::OwnershipRecord;
use hansa_api::signature::BadSignature;
use hansa_node::net::Net;

type Check = dyn Fn(&OwnershipRecord) -> Result<(), BadSignature> + Send + Sync;

/// Judges signatures by the authorities that the node trusts now.
#[derive(Clone)]
pub struct Vouch(Arc<Check>);

impl fmt::Debug for Vouch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vouch")
    }
}

impl Vouch {
    /// By the authorities of a network; in one without certificates everybody is who he says.
    pub fn of(net: Arc<dyn Net>) -> Self {
        Self(Arc::new(move |record| match net.authorities() {
            Some(authorities) => verify(record, &authorities),
            None => Ok(()),
        }))
    }

    /// For tests that sign nothing.
    pub fn nobody() -> Self {
        Self(Arc::new(|_| Ok(())))
    }

    /// # Errors
    /// See [`BadSignature`].
    pub fn check(&self, record: &OwnershipRecord) -> Result<(), BadSignature> {
        (self.0)(record)
    }
}
