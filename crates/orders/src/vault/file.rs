//! The vault as a file that only its owner may read, shared by the region's nodes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_node::env::{Clock, Entropy, Loops};
use hansa_types::id::GroupId;
use hansa_wal::fs::Fs;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::data_key::{fingerprint, open, seal};
use super::disk::Disk;
use super::ring::{Named, Ring};
use super::{DataKey, KeyInfo, Vault, VaultError};
use crate::core::subjects::{KeyOf, RegionKey, Wrapped};

/// What waits for the disk at most; more callers wait for their turn to wait.
const JOBS_MAX: usize = 64;
/// A disk that takes longer counts as one that does not answer.
const JOB_MAX: Duration = Duration::from_secs(10);

/// The region's keys, shared by its nodes through the configured path.
///
/// Changed under a lock file, always whole: written aside, synced, renamed, folder synced. What a
/// destroyed key's bytes lay in is overwritten too, as far as a file system lets us. What waits
/// for the disk waits in a loop of its own ([`Self::looped`]); only what a node does before it
/// serves (looking for the file, making it) blocks its caller.
pub struct FileVault {
    file: Arc<File>,
    jobs: Option<mpsc::Sender<Job>>,
}

type Job = Box<dyn FnOnce(&File) + Send>;

struct File {
    disk: Disk,
    /// Empty until the file is there.
    loaded: RwLock<Option<Arc<Loaded>>>,
}

struct Loaded {
    named: Named,
    ring: Ring,
}

impl File {
    /// The keys, read at the first call that finds the file.
    fn load(&self) -> Result<Arc<Loaded>, VaultError> {
        if let Some(loaded) = self.loaded.read().clone() {
            return Ok(loaded);
        }
        self.reload()
    }

    /// The keys as the file has them now.
    fn reload(&self) -> Result<Arc<Loaded>, VaultError> {
        self.take(self.disk.read()?)
    }

    fn take(&self, ring: Ring) -> Result<Arc<Loaded>, VaultError> {
        let loaded = Arc::new(Loaded { named: Named::of(&ring.secret)?, ring });
        let mut held = self.loaded.write();
        if held.as_ref().is_some_and(|held| held.named.id != loaded.named.id) {
            // Somebody put another region's file there; what is in memory is still ours.
            return Err(VaultError::BadFile);
        }
        *held = Some(loaded.clone());
        Ok(loaded)
    }

    fn change<R>(
        &self,
        change: impl FnOnce(&mut Ring) -> Result<(bool, R), VaultError>,
    ) -> Result<R, VaultError> {
        let known = self.load()?.named.id;
        let (ring, result) =
            self.disk.change(|ring| match Named::of(&ring.secret)?.id == known {
                true => change(ring),
                false => Err(VaultError::BadFile),
            })?;
        self.take(ring)?;
        Ok(result)
    }
}

impl FileVault {
    /// Reads the keys if the file is there. Makes none: see [`Vault::make`].
    ///
    /// # Errors
    /// The file is there and is no vault of ours, or cannot be read; or what a crash left beside
    /// it cannot be wiped.
    pub fn open(
        fs: Arc<dyn Fs>,
        path: &Path,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        let disk = Disk { fs, path: path.to_owned(), entropy, clock };
        let file = Arc::new(File { disk, loaded: RwLock::new(None) });
        let vault = Self { file, jobs: None };
        vault.id()?;
        vault.file.disk.clean()?;
        Ok(vault)
    }

    /// The same, with a loop that does what blocks; it ends with the vault.
    pub fn looped(mut self, loops: &dyn Loops) -> Self {
        let (jobs, mut todo) = mpsc::channel::<Job>(JOBS_MAX);
        let file = self.file.clone();
        let run = async move {
            while let Some(job) = todo.recv().await {
                job(&file);
            }
        };
        loops.start("vault-file".to_owned(), Box::pin(run));
        self.jobs = Some(jobs);
        self
    }

    /// Does what may block, where it may.
    async fn on_disk<R: Send + 'static>(
        &self,
        job: impl FnOnce(&File) -> Result<R, VaultError> + Send + 'static,
    ) -> Result<R, VaultError> {
        let Some(jobs) = &self.jobs else { return job(&self.file) };
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |file| {
            // A caller that has gone needs no answer.
            let _ = tell.send(job(file));
        });
        let silent = || VaultError::Silent("the disk of the key file".to_owned());
        let done = timeout(JOB_MAX, async {
            jobs.send(job).await.map_err(|_| silent())?;
            told.await.map_err(|_| silent())
        });
        done.await.map_err(|_| silent())??
    }

    /// The keys, read again if `key` is not among those in memory: another node may have made it.
    async fn with(&self, key: Option<RegionKey>) -> Result<Arc<Loaded>, VaultError> {
        let loaded = self.file.load()?;
        match key.map(|key| loaded.ring.secret_of(key)) {
            Some(Err(VaultError::UnknownKey(_))) => self.on_disk(File::reload).await,
            _ => Ok(loaded),
        }
    }

    async fn change<R: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Ring, &Disk) -> Result<(bool, R), VaultError> + Send + 'static,
    ) -> Result<R, VaultError> {
        self.on_disk(move |file| file.change(|ring| change(ring, &file.disk))).await
    }
}

#[tonic::async_trait]
impl Vault for FileVault {
    fn id(&self) -> Result<Option<u64>, VaultError> {
        match self.file.load() {
            Ok(loaded) => Ok(Some(loaded.named.id)),
            Err(VaultError::NoKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(&self) -> Result<u64, VaultError> {
        if self.id()?.is_none() {
            self.file.disk.make()?;
        }
        Ok(self.file.load()?.named.id)
    }

    fn place(&self) -> String {
        self.file.disk.path.display().to_string()
    }

    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> Result<u128, VaultError> {
        Ok(fingerprint(&self.file.load()?.named.print, purpose, bytes))
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
        let entropy = self.file.disk.entropy.as_ref();
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
        let loaded = self.on_disk(File::reload).await?;
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
        self.change(move |ring, disk| {
            let before = ring.newest().map(|(key, _)| key);
            let info = ring.rotate(former, now_ms, window_ms, disk.entropy.as_ref())?;
            Ok((before.ok() != ring.newest().map(|(key, _)| key).ok(), info))
        })
        .await
    }

    async fn release(&self, group: GroupId, epoch: u64, key: RegionKey) -> Result<(), VaultError> {
        let said = (epoch, key);
        let known = self.on_disk(File::reload).await?.ring.released.get(&group).copied();
        if known.is_some_and(|known| known >= said) {
            return Ok(());
        }
        self.change(move |ring, _| Ok((ring.release(group, said), ()))).await
    }

    async fn note_erased(&self, erased: &[(KeyOf, RegionKey)]) -> Result<(), VaultError> {
        let known = self.on_disk(File::reload).await?;
        if erased.iter().all(|(of, _)| known.ring.erased.contains_key(of)) {
            return Ok(());
        }
        let erased = erased.to_vec();
        let noted = self.change(move |ring, _| {
            let (news, room) = ring.note_erased(&erased);
            Ok((news, room))
        });
        match noted.await? {
            true => Ok(()),
            false => Err(VaultError::Full),
        }
    }

    async fn erased(&self) -> Result<Vec<(KeyOf, RegionKey)>, VaultError> {
        let loaded = self.on_disk(File::reload).await?;
        Ok(loaded.ring.erased.iter().map(|(of, under)| (*of, *under)).collect())
    }

    async fn destroy_due(
        &self,
        groups: &[GroupId],
        epoch: u64,
        now_ms: u64,
    ) -> Result<Vec<RegionKey>, VaultError> {
        if self.on_disk(File::reload).await?.ring.due(groups, epoch, now_ms).is_empty() {
            return Ok(Vec::new());
        }
        let groups = groups.to_vec();
        self.change(move |ring, _| {
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
