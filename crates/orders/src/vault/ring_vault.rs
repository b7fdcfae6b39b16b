//! The vault as a ring that lies somewhere: what it does with it is the same wherever that is.

use std::sync::Arc;

use bytes::Bytes;
use hansa_node::env::Entropy;
use hansa_types::id::GroupId;
use parking_lot::RwLock;

use super::data_key::{fingerprint, open, seal};
use super::ring::{Named, Ring};
use super::{DataKey, KeyInfo, Vault, VaultError};
use crate::core::subjects::{KeyOf, RegionKey, Wrapped};

/// Where a ring lies, shared by the region's nodes.
pub trait Store: Send + Sync + 'static {
    /// See [`Vault::place`].
    fn place(&self) -> String;

    /// See [`Vault::advice`].
    fn advice(&self) -> &'static str;

    /// The ring as it lies there now; [`VaultError::NoKey`] if there is none.
    fn read(&self) -> impl Future<Output = Result<Ring, VaultError>> + Send;

    /// A first ring, if nobody else has made one meanwhile.
    fn make(&self) -> impl Future<Output = Result<(), VaultError>> + Send;

    /// Puts in place what `change` makes of the ring, if that says there is something to change;
    /// nobody else's change comes between. `change` may be asked again, with the ring that
    /// somebody else has left, or that it has left itself.
    fn change<R, C>(&self, change: C) -> impl Future<Output = Result<(Ring, R), VaultError>> + Send
    where
        R: Send + 'static,
        C: Fn(&mut Ring) -> Result<(bool, R), VaultError> + Send + Sync + 'static;

    /// Removes what is left of older rings, once the one read last has turned out to be ours.
    fn clean(&self) -> impl Future<Output = Result<(), VaultError>> + Send;
}

/// The region's keys, in memory as they were last read, and where they lie.
pub struct RingVault<S> {
    pub(super) store: S,
    entropy: Arc<dyn Entropy>,
    /// Empty until there is a ring.
    loaded: RwLock<Option<Arc<Loaded>>>,
}

struct Loaded {
    named: Named,
    ring: Ring,
}

impl<S> RingVault<S> {
    pub(super) fn over(store: S, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, entropy, loaded: RwLock::new(None) }
    }

    fn at_hand(&self) -> Option<Arc<Loaded>> {
        self.loaded.read().clone()
    }

    pub(super) fn take(&self, ring: Ring) -> Result<(), VaultError> {
        self.kept(ring).map(drop)
    }

    fn kept(&self, ring: Ring) -> Result<Arc<Loaded>, VaultError> {
        let loaded = Arc::new(Loaded { named: Named::of(&ring.secret)?, ring });
        let mut held = self.loaded.write();
        if held.as_ref().is_some_and(|held| held.named.id != loaded.named.id) {
            // Somebody put another region's there; what is in memory is still ours.
            return Err(VaultError::BadFile);
        }
        *held = Some(loaded.clone());
        Ok(loaded)
    }
}

impl<S: Store> RingVault<S> {
    /// The keys, read at the first call that finds them.
    async fn load(&self) -> Result<Arc<Loaded>, VaultError> {
        match self.at_hand() {
            Some(loaded) => Ok(loaded),
            None => self.reload().await,
        }
    }

    /// The keys as they lie there now.
    async fn reload(&self) -> Result<Arc<Loaded>, VaultError> {
        self.kept(self.store.read().await?)
    }

    /// The keys, read again if `key` is not among those in memory: another node may have made it.
    async fn with(&self, key: Option<RegionKey>) -> Result<Arc<Loaded>, VaultError> {
        let loaded = self.load().await?;
        match key.map(|key| loaded.ring.secret_of(key)) {
            Some(Err(VaultError::UnknownKey(_))) => self.reload().await,
            _ => Ok(loaded),
        }
    }

    async fn change<R: Send + 'static>(
        &self,
        change: impl Fn(&mut Ring) -> Result<(bool, R), VaultError> + Send + Sync + 'static,
    ) -> Result<R, VaultError> {
        let known = self.load().await?.named.id;
        let ours = move |ring: &mut Ring| match Named::of(&ring.secret)?.id == known {
            true => change(ring),
            false => Err(VaultError::BadFile),
        };
        let (ring, result) = self.store.change(ours).await?;
        self.take(ring)?;
        Ok(result)
    }
}

#[tonic::async_trait]
impl<S: Store> Vault for RingVault<S> {
    async fn id(&self) -> Result<Option<u64>, VaultError> {
        match self.load().await {
            Ok(loaded) => Ok(Some(loaded.named.id)),
            Err(VaultError::NoKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn make(&self) -> Result<u64, VaultError> {
        if self.id().await?.is_none() {
            self.store.make().await?;
        }
        Ok(self.load().await?.named.id)
    }

    fn place(&self) -> String {
        self.store.place()
    }

    fn advice(&self) -> &'static str {
        self.store.advice()
    }

    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> Result<u128, VaultError> {
        let loaded = self.at_hand().ok_or(VaultError::NoKey)?;
        Ok(fingerprint(&loaded.named.print, purpose, bytes))
    }

    async fn wrap(
        &self,
        of: KeyOf,
        key: &DataKey,
        by: Option<RegionKey>,
    ) -> Result<Wrapped, VaultError> {
        let loaded = self.with(by).await?;
        let (by, secret) = match by {
            Some(by) => (by, loaded.ring.secret_of(by)?),
            None => loaded.ring.newest()?,
        };
        let entropy = self.entropy.as_ref();
        let (nonce, block) = seal(&secret[..], &aad(of, by), key.bytes(), entropy)?;
        Ok(Wrapped { by, nonce, ciphertext: Bytes::from(block) })
    }

    async fn unwrap(&self, of: KeyOf, wrapped: &Wrapped) -> Result<DataKey, VaultError> {
        let loaded = self.with(Some(wrapped.by)).await?;
        let secret = loaded.ring.secret_of(wrapped.by)?;
        let plain = open(&secret[..], &aad(of, wrapped.by), wrapped.nonce, &wrapped.ciphertext)?;
        DataKey::of_bytes(&plain).ok_or(VaultError::Open)
    }

    async fn keys(&self) -> Result<Vec<KeyInfo>, VaultError> {
        let loaded = self.reload().await?;
        // What a destroyed key lay in, if whoever destroyed it fell before that was gone.
        self.store.clean().await?;
        Ok(loaded.ring.keys.iter().map(|(info, _)| *info).collect())
    }

    async fn knows(&self, key: RegionKey) -> Result<bool, VaultError> {
        let loaded = self.with(Some(key)).await?;
        Ok(!matches!(loaded.ring.secret_of(key), Err(VaultError::UnknownKey(_))))
    }

    async fn rotate(
        &self,
        former: RegionKey,
        now_ms: u64,
        window_ms: u64,
    ) -> Result<KeyInfo, VaultError> {
        let entropy = self.entropy.clone();
        self.change(move |ring| {
            let before = ring.newest().map(|(key, _)| key);
            let info = ring.rotate(former, now_ms, window_ms, entropy.as_ref())?;
            Ok((before.ok() != ring.newest().map(|(key, _)| key).ok(), info))
        })
        .await
    }

    async fn release(&self, group: GroupId, epoch: u64, key: RegionKey) -> Result<(), VaultError> {
        let said = (epoch, key);
        let known = self.load().await?.ring.released.get(&group).copied();
        if known.is_some_and(|known| known >= said) {
            return Ok(());
        }
        self.change(move |ring| Ok((ring.release(group, said), ()))).await
    }

    async fn note_erased(&self, erased: &[(KeyOf, RegionKey)]) -> Result<(), VaultError> {
        let known = self.load().await?;
        if erased.iter().all(|(of, _)| known.ring.erased.contains_key(of)) {
            return Ok(());
        }
        let erased = erased.to_vec();
        let noted = self.change(move |ring| {
            let (news, room) = ring.note_erased(&erased);
            Ok((news, room))
        });
        match noted.await? {
            true => Ok(()),
            false => Err(VaultError::Full),
        }
    }

    async fn erased(&self) -> Result<Vec<(KeyOf, RegionKey)>, VaultError> {
        let loaded = self.reload().await?;
        Ok(loaded.ring.erased.iter().map(|(of, under)| (*of, *under)).collect())
    }

    async fn note_dropped(&self, group: GroupId, under: RegionKey) -> Result<(), VaultError> {
        if self.load().await?.ring.dropped.get(&group).is_some_and(|known| *known >= under) {
            return Ok(());
        }
        self.change(move |ring| Ok((ring.note_dropped(group, under), ()))).await
    }

    async fn dropped(&self) -> Result<Option<RegionKey>, VaultError> {
        let loaded = self.reload().await?;
        Ok(loaded.ring.erased.values().chain(loaded.ring.dropped.values()).max().copied())
    }

    async fn destroy_due(
        &self,
        groups: &[GroupId],
        epoch: u64,
        now_ms: u64,
    ) -> Result<Vec<RegionKey>, VaultError> {
        if self.load().await?.ring.due(groups, epoch, now_ms).is_empty() {
            return Ok(Vec::new());
        }
        let groups = groups.to_vec();
        self.change(move |ring| {
            let due = ring.due(&groups, epoch, now_ms);
            ring.destroy(&due, now_ms);
            Ok((!due.is_empty(), due))
        })
        .await
    }
}

fn aad(of: KeyOf, by: RegionKey) -> [u8; 30] {
    let mut aad = [0; 30];
    aad[..22].copy_from_slice(&of.to_bytes());
    aad[22..].copy_from_slice(&by.0.to_be_bytes());
    aad
}
