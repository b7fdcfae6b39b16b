//! Keys that never leave the shell: a region key wraps each customer's data key, and a data key
//! seals his personal blocks and fingerprints his requests.

mod data_key;
mod disk;
mod file;
mod hashicorp;
mod keyring;
mod ring;
mod ring_vault;

use hansa_types::id::GroupId;
use thiserror::Error;

pub use self::data_key::DataKey;
pub use self::file::FileVault;
pub use self::hashicorp::HashicorpVault;
pub use self::keyring::{KeyShare, Keyring};
use crate::core::subjects::{KeyOf, RegionKey, Wrapped};

/// Where a region's keys are: a file, or a service that never shows them.
///
/// Wrapping and unwrapping may be calls over a network, so they are async; what a request needs
/// each time (pseudonyms) is not, and is there once [`Self::id`] has been heard. A vault has one id
/// through all rotations of its region keys.
#[tonic::async_trait]
pub trait Vault: Send + Sync + 'static {
    /// Names the vault: two with one id make the same pseudonyms and open each other's keys.
    /// `None` while it has none.
    ///
    /// # Errors
    /// There is a secret and it cannot be used, or it is not known whether there is one.
    async fn id(&self) -> Result<Option<u64>, VaultError>;

    /// The vault's id, with a new secret if there is none. Only for who knows that the region has
    /// none.
    ///
    /// # Errors
    /// The secret cannot be made, or not be used.
    async fn make(&self) -> Result<u64, VaultError>;

    /// Where the keys lie, in words for an operator.
    fn place(&self) -> String;

    /// What an operator does about a node that finds another vault there, none, or an old one.
    fn advice(&self) -> &'static str;

    /// A keyed fingerprint under the vault's own secret: equal for equal bytes, telling nothing
    /// about them, and the same after every rotation.
    ///
    /// # Errors
    /// There is no secret yet.
    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> Result<u128, VaultError>;

    /// Puts a data key under a region key; under the newest if none is named.
    ///
    /// # Errors
    /// There is no such key, or the vault does not answer.
    async fn wrap(
        &self,
        of: KeyOf,
        key: &DataKey,
        by: Option<RegionKey>,
    ) -> Result<Wrapped, VaultError>;

    /// # Errors
    /// Another subject's, damage, a key that this vault never had, or one that is destroyed.
    async fn unwrap(&self, of: KeyOf, wrapped: &Wrapped) -> Result<DataKey, VaultError>;

    /// The region keys as they stand now, oldest first; looks again where another node may have
    /// changed them.
    ///
    /// # Errors
    /// They cannot be read.
    async fn keys(&self) -> Result<Vec<KeyInfo>, VaultError>;

    /// Whether the key ever was this vault's, living or destroyed.
    ///
    /// # Errors
    /// They cannot be read.
    async fn knows(&self, key: RegionKey) -> Result<bool, VaultError>;

    /// Puts a new region key in the place of `former`: once, whoever else asks. The former one may
    /// be destroyed `window_ms` after `now_ms`.
    ///
    /// # Errors
    /// The key cannot be made. `VaultError::NotNewest` when `former` never was in use.
    async fn rotate(
        &self,
        former: RegionKey,
        now_ms: u64,
        window_ms: u64,
    ) -> Result<KeyInfo, VaultError>;

    /// Notes that nothing living of a group is under a key older than `key`, in the group's life
    /// that is called `epoch`.
    ///
    /// # Errors
    /// It cannot be noted.
    async fn release(&self, group: GroupId, epoch: u64, key: RegionKey) -> Result<(), VaultError>;

    /// Remembers what was erased and which region key opens it still, until that is destroyed: a
    /// backup knows nothing of it.
    ///
    /// # Errors
    /// It cannot be noted.
    async fn note_erased(&self, erased: &[(KeyOf, RegionKey)]) -> Result<(), VaultError>;

    /// What was noted so.
    ///
    /// # Errors
    /// It cannot be read.
    async fn erased(&self) -> Result<Vec<(KeyOf, RegionKey)>, VaultError>;

    /// Notes the newest region key under which something of a group was dropped: its erased, and
    /// what it held for other homes.
    ///
    /// # Errors
    /// It cannot be noted.
    async fn note_dropped(&self, group: GroupId, under: RegionKey) -> Result<(), VaultError>;

    /// The newest region key that opens something erased or dropped, as any group has noted it.
    ///
    /// # Errors
    /// It cannot be read.
    async fn dropped(&self) -> Result<Option<RegionKey>, VaultError>;

    /// Destroys retired keys whose window is over and that every one of `groups` has released in
    /// `epoch` or since: what a group said in an earlier life it may need again.
    ///
    /// # Errors
    /// They cannot be destroyed now.
    async fn destroy_due(
        &self,
        groups: &[GroupId],
        epoch: u64,
        now_ms: u64,
    ) -> Result<Vec<RegionKey>, VaultError>;
}

/// The keys that a vault file lists, if it is one to its last byte.
///
/// # Errors
/// Another format, or damage.
pub fn inspect(text: &str) -> Result<Vec<KeyInfo>, String> {
    let ring = ring::Ring::read(text).map_err(|error| error.to_string())?;
    match ring.is_written(text) {
        true => Ok(ring.keys.iter().map(|(info, _)| *info).collect()),
        false => Err("lines in another form than ours".to_owned()),
    }
}

/// One region key, without its secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    pub key: RegionKey,
    /// Wall clock ms, as all here.
    pub made_ms: u64,
    pub state: KeyLife,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyLife {
    /// Wraps what is new.
    Active,
    /// Opens what is old.
    Retired {
        at_ms: u64,
        destroy_after_ms: u64,
    },
    Destroyed {
        at_ms: u64,
    },
}

#[derive(Debug, Error)]
pub enum VaultError {
    #[error("the key file cannot be read or made")]
    Io(#[from] std::io::Error),
    #[error("the key file is not one of ours")]
    BadFile,
    #[error(
        "the key file is in format {0}, which this build does not read: its keys cannot open what \
         this build writes; start the region anew"
    )]
    OldFile(&'static str),
    #[error("another node changes the key file")]
    Busy,
    #[error("there is no key yet")]
    NoKey,
    #[error("region key {0} is not in this vault")]
    UnknownKey(RegionKey),
    #[error("region key {0} was destroyed")]
    Destroyed(RegionKey),
    #[error("region key {0} is not the newest")]
    NotNewest(RegionKey),
    #[error("the vault holds as many keys as it can")]
    Full,
    #[error("sealing failed")]
    Seal,
    #[error("it does not open with this key for this order or customer")]
    Open,
    #[error("the vault does not answer: {0}")]
    Silent(String),
    #[error(transparent)]
    Hashicorp(#[from] hashicorp::Error),
    #[error("the data key was erased")]
    Erased,
}

impl VaultError {
    /// Whether the vault may answer later, without anything changed on this node.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Busy | Self::Silent(_) | Self::Hashicorp(_))
    }
}

#[cfg(test)]
mod tests;
