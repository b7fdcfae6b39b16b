//! The vault as a file that only its owner may read, on a disk that the region's nodes share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hansa_node::env::{Env, Loops};
use hansa_wal::fs::{Fs, end_unsynced};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::VaultError;
use super::disk::Disk;
use super::ring::Ring;
use super::ring_vault::{RingVault, Store};

/// What waits for the disk at most; more callers wait for their turn to wait.
const JOBS_MAX: usize = 64;
/// A disk that takes longer counts as one that does not answer.
const JOB_MAX: Duration = Duration::from_secs(10);

/// The region's keys, shared by its nodes through the configured path.
///
/// Changed under a lock file, always whole: written aside, synced, renamed, folder synced. What a
/// destroyed key's bytes lay in is overwritten too, as far as a file system lets us. What waits
/// for the disk waits in a loop of its own ([`Self::looped`]); only opening it blocks its caller.
pub type FileVault = RingVault<FileStore>;

/// The file, and who waits for its disk.
pub struct FileStore {
    pub(super) disk: Arc<Disk>,
    jobs: Option<mpsc::Sender<Job>>,
}

type Job = Box<dyn FnOnce(&Disk) + Send>;

impl FileVault {
    /// Reads the keys if the file is there. Makes none: see [`super::Vault::make`]. The first sync
    /// of it that fails ends the node, as on any disk of its own.
    ///
    /// # Errors
    /// The file is there and is no vault of ours, or cannot be read; or what a crash left beside
    /// it cannot be wiped.
    pub fn open(fs: Arc<dyn Fs>, path: &Path, env: &Env) -> Result<Self, VaultError> {
        let (fs, Env { entropy, clock, .. }) = end_unsynced(fs, env);
        let disk = Disk { fs, path: path.to_owned(), entropy: entropy.clone(), clock };
        let vault = Self::over(FileStore { disk: Arc::new(disk), jobs: None }, entropy);
        match vault.store.disk.read() {
            Err(VaultError::NoKey) => {}
            read => vault.take(read?)?,
        }
        vault.store.disk.clean()?;
        Ok(vault)
    }

    /// The same, with a loop that does what blocks; it ends with the vault.
    pub fn looped(mut self, loops: &dyn Loops) -> Self {
        let (jobs, mut todo) = mpsc::channel::<Job>(JOBS_MAX);
        let disk = self.store.disk.clone();
        let run = async move {
            while let Some(job) = todo.recv().await {
                job(&disk);
            }
        };
        loops.start("vault-file".to_owned(), Box::pin(run));
        self.store.jobs = Some(jobs);
        self
    }
}

impl FileStore {
    /// Does what may block, where it may.
    async fn on_disk<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Disk) -> Result<R, VaultError> + Send + 'static,
    ) -> Result<R, VaultError> {
        let Some(jobs) = &self.jobs else { return job(&self.disk) };
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |disk| {
            // A caller that has gone needs no answer.
            let _ = tell.send(job(disk));
        });
        let silent = || VaultError::Silent("the disk of the key file".to_owned());
        let done = timeout(JOB_MAX, async {
            jobs.send(job).await.map_err(|_| silent())?;
            told.await.map_err(|_| silent())
        });
        done.await.map_err(|_| silent())??
    }
}

impl Store for FileStore {
    fn place(&self) -> String {
        self.disk.path.display().to_string()
    }

    fn advice(&self) -> &'static str {
        "the region's nodes share the file's disk, or keep the vault in HashiCorp Vault \
         (docs/keys.md); to go on for now, copy the vault file of a node that serves"
    }

    async fn read(&self) -> Result<Ring, VaultError> {
        self.on_disk(Disk::read).await
    }

    async fn make(&self) -> Result<(), VaultError> {
        self.on_disk(Disk::make).await
    }

    async fn change<R, C>(&self, change: C) -> Result<(Ring, R), VaultError>
    where
        R: Send + 'static,
        C: Fn(&mut Ring) -> Result<(bool, R), VaultError> + Send + Sync + 'static,
    {
        self.on_disk(move |disk| disk.change(change)).await
    }

    /// Each change does it.
    async fn clean(&self) -> Result<(), VaultError> {
        Ok(())
    }
}
