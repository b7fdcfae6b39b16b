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
    ///
    /// # Errors
    /// There is no key yet.
    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> Result<u128, VaultError>;

    /// Names the vault: two with one id open each other's blocks. `None` while it has no key.
    ///
    /// It is the vault's, not a key's: a vault with a key per customer has one id as well.
    ///
    /// # Errors
    /// There is a key and it cannot be used.
    fn id(&self) -> Result<Option<u64>, VaultError>;

    /// The vault's id, with a new key if there is none. Only for who knows that the region has
    /// none.
    ///
    /// # Errors
    /// The key cannot be made, or not be used.
    fn make(&self) -> Result<u64, VaultError>;

    /// Where the key lies, in words for an operator.
    fn place(&self) -> String;
}

#[derive(Debug, Error)]
pub enum VaultError {
    #[error("the key file cannot be read or made")]
    Io(#[from] std::io::Error),
    #[error("the key file is not one of ours")]
    BadFile,
    #[error("there is no key yet")]
    NoKey,
    #[error("sealing failed")]
    Seal,
    #[error("the block does not open with this key for this order")]
    Open,
}
