//! Data keys at hand: unwrapped once, kept for a while, wiped when they go.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use hansa_node::env::Entropy;
use parking_lot::Mutex;

use super::{DataKey, Vault, VaultError};
use crate::core::subjects::{KeyEntry, KeyOf, RegionKey, SubjectId, Wrapped};

/// Keys kept in memory: those of customers that order now.
const KEPT_MAX: usize = 4_096;
/// Subjects whose erasure is remembered: nothing that was read before so many others is late.
const ERASED_MAX: usize = 4_096;

/// Mints, wraps and unwraps data keys with the node's vault.
#[derive(Clone)]
pub struct Keyring {
    vault: Arc<dyn Vault>,
    entropy: Arc<dyn Entropy>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// With what it came from: a key that lost a race is never taken for the one that won.
    keys: BTreeMap<KeyOf, (Wrapped, Arc<DataKey>)>,
    /// Oldest first; may name what is gone.
    order: VecDeque<KeyOf>,
    /// The newest generation of a subject that was erased: whoever read its wrapped key before
    /// that brings it back no more.
    erased: BTreeMap<SubjectId, u32>,
    erased_order: VecDeque<SubjectId>,
}

impl Kept {
    fn is_erased(&self, of: KeyOf) -> bool {
        self.erased.get(&of.subject).is_some_and(|last| of.generation <= *last)
    }
}

/// A customer's data key on its way to a region of the failover set, inside mTLS only.
#[derive(Clone)]
pub struct KeyShare {
    pub of: KeyOf,
    pub key: Arc<DataKey>,
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyShare {{ of: {:?}, [redacted] }}", self.of)
    }
}

impl KeyShare {
    /// From the bytes of a [`Self::bytes`]; `None` for what is no key.
    pub fn of_bytes(of: KeyOf, bytes: &[u8]) -> Option<Self> {
        Some(Self { of, key: Arc::new(DataKey::of_bytes(bytes)?) })
    }

    /// The plain key: PERSONAL, for one message to one peer.
    pub fn bytes(&self) -> &[u8] {
        self.key.bytes()
    }
}

impl Keyring {
    pub fn new(vault: Arc<dyn Vault>, entropy: Arc<dyn Entropy>) -> Self {
        Self { vault, entropy, kept: Arc::default() }
    }

    /// A new data key, and the same wrapped for the log. `by`: what the group wraps with.
    ///
    /// # Errors
    /// The vault's.
    pub async fn mint(
        &self,
        of: KeyOf,
        by: Option<RegionKey>,
    ) -> Result<(Arc<DataKey>, Wrapped), VaultError> {
        let key = DataKey::draw(self.entropy.as_ref());
        let wrapped = self.vault.wrap(of, &key, by).await?;
        Ok((Arc::new(key), wrapped))
    }

    /// The key that state holds wrapped.
    ///
    /// # Errors
    /// The vault's; `VaultError::Erased` for a key that was erased since it was read.
    pub async fn unwrap(&self, of: KeyOf, wrapped: &Wrapped) -> Result<Arc<DataKey>, VaultError> {
        let known = |kept: &Kept| match kept.keys.get(&of) {
            _ if kept.is_erased(of) => Err(VaultError::Erased),
            Some((from, key)) if from == wrapped => Ok(Some(key.clone())),
            _ => Ok(None),
        };
        let kept = known(&self.kept.lock())?;
        if let Some(key) = kept {
            return Ok(key);
        }
        let key = Arc::new(self.vault.unwrap(of, wrapped).await?);
        match self.keep(of, wrapped.clone(), key.clone()) {
            true => Ok(key),
            // While the vault was asked.
            false => Err(VaultError::Erased),
        }
    }

    /// Remembers a key that was minted here and that the log has taken; `false` for one that was
    /// erased meanwhile.
    pub fn keep(&self, of: KeyOf, wrapped: Wrapped, key: Arc<DataKey>) -> bool {
        let mut kept = self.kept.lock();
        if kept.is_erased(of) {
            return false;
        }
        if kept.keys.insert(of, (wrapped, key)).is_none() {
            kept.order.push_back(of);
        }
        while kept.order.len() > KEPT_MAX {
            if let Some(oldest) = kept.order.pop_front() {
                kept.keys.remove(&oldest);
            }
        }
        true
    }

    /// The keys in memory, by name.
    pub fn kept(&self) -> Vec<KeyOf> {
        self.kept.lock().keys.keys().copied().collect()
    }

    /// Wipes what is in memory of a subject that was erased, up to this generation, and takes it
    /// in no more.
    pub fn forget(&self, upto: KeyOf) {
        let mut guard = self.kept.lock();
        let kept = &mut *guard;
        let first = KeyOf { generation: 0, ..upto };
        let found: Vec<KeyOf> = kept.keys.range(first..=upto).map(|(of, _)| *of).collect();
        for of in found {
            kept.keys.remove(&of);
        }
        kept.order.retain(|of| of.subject != upto.subject || of.generation > upto.generation);
        let known = kept.erased.get(&upto.subject).copied();
        if known.is_none() {
            kept.erased_order.push_back(upto.subject);
        }
        kept.erased.insert(upto.subject, upto.generation.max(known.unwrap_or(0)));
        while kept.erased_order.len() > ERASED_MAX {
            if let Some(oldest) = kept.erased_order.pop_front() {
                kept.erased.remove(&oldest);
            }
        }
    }

    /// The same key under the region key `by`.
    ///
    /// # Errors
    /// The vault's.
    pub async fn rewrap(
        &self,
        of: KeyOf,
        wrapped: &Wrapped,
        by: RegionKey,
    ) -> Result<Wrapped, VaultError> {
        if self.kept.lock().is_erased(of) {
            return Err(VaultError::Erased);
        }
        // Not through the memory: a rotation would turn all of it over.
        let key = self.vault.unwrap(of, wrapped).await?;
        self.vault.wrap(of, &key, Some(by)).await
    }

    /// Takes a subject's key out of our wrapping, for a peer that may hold it.
    ///
    /// # Errors
    /// The vault's.
    pub async fn share(&self, of: KeyOf, wrapped: &Wrapped) -> Result<KeyShare, VaultError> {
        Ok(KeyShare { of, key: self.unwrap(of, wrapped).await? })
    }

    /// Puts a peer's share under our own region key: what `KeyStep::Take` carries. `by`: what the
    /// group that takes it wraps with.
    ///
    /// # Errors
    /// The vault's.
    pub async fn take(
        &self,
        share: &KeyShare,
        by: Option<RegionKey>,
    ) -> Result<KeyEntry, VaultError> {
        if self.kept.lock().is_erased(share.of) {
            return Err(VaultError::Erased);
        }
        let wrapped = self.vault.wrap(share.of, &share.key, by).await?;
        Ok(KeyEntry { of: share.of, wrapped })
    }
}
