//! Under which key money goes back to the buyer.

use hansa_types::id::TransferId;

use super::{Refund, RefundCause};

impl Refund {
    /// Under which the provider pays it, once.
    pub fn key(&self) -> TransferId {
        refund_key(self.id, self.cause, self.with)
    }
}

/// The key of a refund with this id.
pub fn refund_key(id: TransferId, cause: RefundCause, with: Option<TransferId>) -> TransferId {
    with.filter(|_| cause != RefundCause::Return).unwrap_or(id)
}
