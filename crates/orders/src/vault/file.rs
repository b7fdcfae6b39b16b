//! The vault as a file that only its owner may read, shared by the region's nodes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hansa_node::env::{Clock, Entropy};
use hansa_types::id::GroupId;
use hansa_wal::fs::Fs;
use parking_lot::RwLock;
use zeroize::Zeroizing;

use super::data_key::{fingerprint, open, seal};
use super::ring::{Named, Ring};
use super::{DataKey, KeyInfo, Vault, VaultError};
use crate::core::subjects::{KeyOf, RegionKey, Wrapped};

const FILE_BYTES_MAX: u64 = 1 << 20;

/// The region's keys, shared by its nodes through the configured path.
///
/// Changed under a lock file, always whole: written aside, synced, renamed, folder synced. What a
/// destroyed key's bytes lay in is overwritten too, as far as a file system lets us.
pub struct FileVault {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    /// Empty until the file is there.
    loaded: RwLock<Option<Arc<Loaded>>>,
}

struct Loaded {
    named: Named,
    ring: Ring,
}

impl Loaded {
    fn of(ring: Ring) -> Result<Self, VaultError> {
        Ok(Self { named: Named::of(&ring.secret)?, ring })
    }
}

impl FileVault {
    /// Reads the keys if the file is there. Makes none: see [`Vault::make`].
    ///
    /// # Errors
    /// The file is there and is no vault of ours, or cannot be read.
    pub fn open(
        fs: Arc<dyn Fs>,
        path: &Path,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        let loaded = RwLock::new(None);
        let vault = Self { fs, path: path.to_owned(), entropy, clock, loaded };
        vault.id()?;
        Ok(vault)
    }

    /// The keys, read at the first call that finds the file.
    fn load(&self) -> Result<Arc<Loaded>, VaultError> {
        if let Some(loaded) = self.loaded.read().clone() {
            return Ok(loaded);
        }
        self.reload()
    }

    /// The keys as the file has them now.
    fn reload(&self) -> Result<Arc<Loaded>, VaultError> {
        let loaded = Arc::new(Loaded::of(read(self.fs.as_ref(), &self.path)?)?);
        let mut held = self.loaded.write();
        if held.as_ref().is_some_and(|held| held.named.id != loaded.named.id) {
            // Somebody put another region's file there; what is in memory is still ours.
            return Err(VaultError::BadFile);
        }
        *held = Some(loaded.clone());
        Ok(loaded)
    }

    /// The keys, read again if `key` is not among those in memory: another node may have made it.
    fn with(&self, key: Option<RegionKey>) -> Result<Arc<Loaded>, VaultError> {
        let loaded = self.load()?;
        match key.map(|key| loaded.ring.secret_of(key)) {
            Some(Err(VaultError::UnknownKey(_))) => self.reload(),
            _ => Ok(loaded),
        }
    }

    /// Changes the file under its lock, if `change` says that there is something to change.
    fn change<R>(
        &self,
        change: impl FnOnce(&mut Ring) -> Result<(bool, R), VaultError>,
    ) -> Result<R, VaultError> {
        let lock = self.fs.lock(&self.path.with_extension("lock"));
        let _lock = lock.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => VaultError::Busy,
            _ => VaultError::Io(error),
        })?;
        let mut ring = self.reload()?.ring.clone();
        let (changed, result) = change(&mut ring)?;
        if changed {
            replace(self.fs.as_ref(), &self.path, &ring, self.entropy.as_ref())?;
            *self.loaded.write() = Some(Arc::new(Loaded::of(ring)?));
        }
        Ok(result)
    }
}

#[tonic::async_trait]
impl Vault for FileVault {
    fn id(&self) -> Result<Option<u64>, VaultError> {
        match self.load() {
            Ok(loaded) => Ok(Some(loaded.named.id)),
            Err(VaultError::NoKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(&self) -> Result<u64, VaultError> {
        if self.id()?.is_none() {
            // Nodes that share the path race for the file: one makes it, the others read it.
            let ring = Ring::draw(self.entropy.as_ref(), self.clock.wall().ms());
            create(self.fs.as_ref(), &self.path, &ring, self.entropy.as_ref())?;
            tracing::info!(path = %self.path.display(), "vault made");
        }
        Ok(self.load()?.named.id)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> Result<u128, VaultError> {
        Ok(fingerprint(&self.load()?.named.print, purpose, bytes))
    }

    async fn wrap(
        &self,
        of: KeyOf,
        key: &DataKey,
        by: Option<RegionKey>,
    ) -> Result<Wrapped, VaultError> {
        let loaded = self.with(by)?;
        let (by, secret) = match by {
            Some(by) => (by, loaded.ring.secret_of(by)?),
            None => loaded.ring.newest()?,
        };
        let (nonce, block) = seal(&secret[..], &aad(of, by), key.bytes(), self.entropy.as_ref())?;
        Ok(Wrapped { by, nonce, ciphertext: Bytes::from(block) })
    }

    async fn unwrap(&self, of: KeyOf, wrapped: &Wrapped) -> Result<DataKey, VaultError> {
        let loaded = self.with(Some(wrapped.by))?;
        let secret = loaded.ring.secret_of(wrapped.by)?;
        let plain = open(&secret[..], &aad(of, wrapped.by), wrapped.nonce, &wrapped.ciphertext)?;
        DataKey::of_bytes(&plain).ok_or(VaultError::Open)
    }

    async fn keys(&self) -> Result<Vec<KeyInfo>, VaultError> {
        Ok(self.reload()?.ring.keys.iter().map(|(info, _)| *info).collect())
    }

    async fn rotate(
        &self,
        former: RegionKey,
        now_ms: u64,
        window_ms: u64,
    ) -> Result<KeyInfo, VaultError> {
        self.change(|ring| {
            let before = ring.keys.len();
            let info = ring.rotate(former, now_ms, window_ms, self.entropy.as_ref())?;
            Ok((ring.keys.len() > before, info))
        })
    }

    async fn release(&self, group: GroupId, key: RegionKey) -> Result<(), VaultError> {
        let known = self.reload()?.ring.released.get(&group).copied();
        if known.is_some_and(|known| known >= key) {
            return Ok(());
        }
        self.change(|ring| {
            let noted = ring.released.entry(group).or_insert(key);
            *noted = key.max(*noted);
            Ok((true, ()))
        })
    }

    async fn note_erased(&self, erased: &[(KeyOf, RegionKey)]) -> Result<(), VaultError> {
        let known = self.reload()?;
        if erased.iter().all(|(of, _)| known.ring.erased.contains_key(of)) {
            return Ok(());
        }
        self.change(|ring| Ok((ring.note_erased(erased)?, ())))
    }

    async fn erased(&self) -> Result<Vec<KeyOf>, VaultError> {
        Ok(self.load()?.ring.erased.keys().copied().collect())
    }

    async fn destroy_due(
        &self,
        groups: &[GroupId],
        now_ms: u64,
    ) -> Result<Vec<RegionKey>, VaultError> {
        if self.reload()?.ring.due(groups, now_ms).is_empty() {
            return Ok(Vec::new());
        }
        self.change(|ring| {
            let due = ring.due(groups, now_ms);
            ring.destroy(&due, now_ms);
            Ok((!due.is_empty(), due))
        })
    }
}

fn aad(of: KeyOf, by: RegionKey) -> [u8; 30] {
    let mut aad = [0; 30];
    aad[..22].copy_from_slice(&of.to_bytes());
    aad[22..].copy_from_slice(&by.0.to_be_bytes());
    aad
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Writes the file whole under another name first: a reader never sees half of it.
fn aside(
    fs: &dyn Fs,
    path: &Path,
    ring: &Ring,
    entropy: &dyn Entropy,
) -> Result<PathBuf, VaultError> {
    let text = ring.write();
    let aside = path.with_extension(format!("new-{:016x}", entropy.number()));
    let file = fs.create_private(&aside)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync_data()?;
    Ok(aside)
}

fn create(fs: &dyn Fs, path: &Path, ring: &Ring, entropy: &dyn Entropy) -> Result<(), VaultError> {
    let folder = folder(path);
    fs.create_dir_all(folder)?;
    let aside = aside(fs, path, ring, entropy)?;
    // Whoever comes second must not replace the first one's key.
    let made = fs.rename_new(&aside, path);
    if made.is_err() {
        fs.remove(&aside)?;
    }
    // Before the first key is wrapped: a name lost in a crash would lose every key with it.
    fs.sync_dir(folder)?;
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn replace(fs: &dyn Fs, path: &Path, ring: &Ring, entropy: &dyn Entropy) -> Result<(), VaultError> {
    let old = fs.open(path)?;
    let aside = aside(fs, path, ring, entropy)?;
    fs.rename(&aside, path)?;
    // Before the new key is used anywhere.
    fs.sync_dir(folder(path))?;
    // The old file has no name any more, but its blocks may hold a key that is destroyed.
    let zeros = vec![0; usize::try_from(old.len()?).unwrap_or(0)];
    old.write_at(&zeros, 0)?;
    old.sync_data()?;
    Ok(())
}

fn read(fs: &dyn Fs, path: &Path) -> Result<Ring, VaultError> {
    // Twice: a file that is replaced while it is read turns to zeros.
    for last in [false, true] {
        let bytes = match fs.read(path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(VaultError::NoKey),
            other => Zeroizing::new(other?),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| VaultError::BadFile)?;
        match Ring::read(text) {
            Err(VaultError::BadFile) if !last => {}
            read => return read,
        }
    }
    Err(VaultError::BadFile)
}
