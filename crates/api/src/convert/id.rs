//! Ids as the internal packages carry them: 16 bytes, most significant first.

use bytes::Bytes;
use hansa_types::id::{OrderId, TransferId};

/// Bytes that are not the id they should be. Only our own nodes send these, so no field is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a 16-byte id of ours")]
pub struct BadIdBytes;

pub fn transfer_to_bytes(id: TransferId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// # Errors
/// Any other length than 16.
pub fn transfer_from_bytes(bytes: &[u8]) -> Result<TransferId, BadIdBytes> {
    bytes.try_into().map(TransferId::from_bytes).map_err(|_| BadIdBytes)
}

pub fn order_to_bytes(id: OrderId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// # Errors
/// Any other length than 16, or a UUID that is not an order's.
pub fn order_from_bytes(bytes: &[u8]) -> Result<OrderId, BadIdBytes> {
    let bytes = bytes.try_into().map_err(|_| BadIdBytes)?;
    OrderId::from_bytes(bytes).map_err(|_| BadIdBytes)
}
