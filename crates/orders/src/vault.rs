//! Keys that never leave the shell: personal blocks are sealed, request bodies fingerprinted.

mod file;

use hansa_types::id::OrderId;
use thiserror::Error;

pub use self::file::FileVault;
use crate::core::contents::Sealed;

/// Seals, opens and fingerprints. Which key is used is the vault's business: the sealed form names
/// it, so keys may become one per customer without a change of the log's format.
pub trait Vault: Send + Sync + 'static {
    /// Seals `plain` for the order; nobody can move the result to another order unnoticed.
    ///
    /// # Errors
    /// The key cannot be used; nothing was stored.
    fn seal(&self, order: OrderId, plain: &[u8]) -> Result<Sealed, VaultError>;

    /// # Errors
    /// Another key, another order, or damage: they cannot be told apart.
    fn open(&self, order: OrderId, sealed: &Sealed) -> Result<Vec<u8>, VaultError>;

    /// A keyed fingerprint: equal for equal bytes, telling nothing about them.
    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> u128;
}

#[derive(Debug, Error)]
pub enum VaultError {
    #[error("the key file cannot be read or made")]
    Io(#[from] std::io::Error),
    #[error("the key file is not one of ours")]
    BadFile,
    #[error("sealing failed")]
    Seal,
    #[error("the block does not open with this key for this order")]
    Open,
}
