//! The vault as a secret in HashiCorp Vault's KV v2 engine, for nodes that share no disk.
//!
//! Changed by check-and-set, so of two nodes that change it at once one looks again. The engine
//! keeps old versions: after each change they are destroyed, and by whoever reads a version first
//! if the writer fell before that.
//!
//! # Source
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>, ADR 0019.

mod api;
mod error;
mod login;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hansa_node::env::{Clock, Entropy, Env};
use hansa_node::net::Net;
use hansa_wal::fs::Fs;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use self::api::{Api, Found, Written};
pub use self::error::Error;
use super::VaultError;
use super::ring::Ring;
use super::ring_vault::{RingVault, Store};
use crate::config::Hashicorp;

/// Tries of one change, each after somebody else's came first.
const TRIES_MAX: u32 = 6;
/// Between two of them at most, the first time.
const PAUSE: Duration = Duration::from_millis(20);
/// A change, or a look, with all its tries and the wait for its turn.
const TURN_MAX: Duration = Duration::from_secs(10);

/// The region's keys, shared by its nodes through one secret.
pub type HashicorpVault = RingVault<KvStore>;

/// The secret. One at a time of this node's tasks is at it.
pub struct KvStore {
    api: Api,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    place: String,
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    /// The newest version that was read or written here.
    seen: u64,
    /// What is older than this one is destroyed.
    clean: u64,
}

impl HashicorpVault {
    /// Asks for nothing yet. `fs`: for certificates and credentials.
    pub fn new(cfg: &Hashicorp, env: &Env, fs: Arc<dyn Fs>, net: Arc<dyn Net>) -> Self {
        let place = format!("{} {}/{}", cfg.address, cfg.mount, cfg.path);
        let (entropy, clock) = (env.entropy.clone(), env.clock.clone());
        let api = Api::new(cfg, env, fs, net);
        let store = KvStore { api, entropy: entropy.clone(), clock, place, turn: Mutex::default() };
        Self::over(store, entropy)
    }
}

impl KvStore {
    async fn look(&self, turn: &mut Turn) -> Result<Ring, VaultError> {
        let seen = turn.seen;
        match self.api.read().await? {
            Found::Nothing if seen == 0 => Err(VaultError::NoKey),
            Found::Nothing => Err(Error::WentBack { seen, now: 0 }.into()),
            Found::Deleted(version) => Err(Error::Deleted { version }.into()),
            // What was destroyed since would be back, and what was made since gone.
            Found::Text(now, _) if now < seen => Err(Error::WentBack { seen, now }.into()),
            Found::Text(version, text) => {
                let ring = Ring::read(&text)?;
                turn.seen = version;
                Ok(ring)
            }
        }
    }

    /// Destroys all versions but the newest, those that are marked so too: the engine marks a
    /// version first, and may fail to remove it.
    async fn wipe(&self, turn: &mut Turn) -> Result<(), VaultError> {
        if turn.clean >= turn.seen {
            return Ok(());
        }
        let (older, ends) = self.api.versions(turn.seen).await?;
        if ends {
            tracing::error!(
                vault = self.place,
                "delete_version_after is set: the keys will go; set it to 0s, here and in the mount"
            );
        }
        if !older.is_empty() {
            self.api.destroy(&older).await?;
        }
        turn.clean = turn.seen;
        Ok(())
    }

    async fn changed<R>(
        &self,
        change: impl Fn(&mut Ring) -> Result<(bool, R), VaultError>,
    ) -> Result<(Ring, R), VaultError> {
        let mut turn = self.turn.lock().await;
        for n in 0..TRIES_MAX {
            let mut ring = self.look(&mut turn).await?;
            let (changed, result) = change(&mut ring)?;
            if changed {
                match self.api.write(&ring.write(), turn.seen).await? {
                    Written::Version(version) => turn.seen = version,
                    // Somebody else, or we ourselves with an answer that was lost.
                    Written::Stale => {
                        sleep(self.entropy.jitter(PAUSE * 2u32.pow(n))).await;
                        continue;
                    }
                }
            }
            self.wipe(&mut turn).await?;
            return Ok((ring, result));
        }
        Err(VaultError::Busy)
    }
}

async fn in_time<R>(work: impl Future<Output = Result<R, VaultError>>) -> Result<R, VaultError> {
    let why = || format!("no answer within {} s", TURN_MAX.as_secs());
    timeout(TURN_MAX, work).await.map_err(|_| Error::Unreached { why: why() })?
}

impl Store for KvStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn advice(&self) -> &'static str {
        "orders.vault must name the region's own secret, and Vault must not be restored from a \
         snapshot of before a rotation (docs/keys.md)"
    }

    async fn read(&self) -> Result<Ring, VaultError> {
        in_time(async { self.look(&mut *self.turn.lock().await).await }).await
    }

    async fn make(&self) -> Result<(), VaultError> {
        let ring = Ring::draw(self.entropy.as_ref(), self.clock.wall().ms());
        in_time(async {
            let _turn = self.turn.lock().await;
            match self.api.write(&ring.write(), 0).await? {
                Written::Version(_) => tracing::info!(vault = self.place, "vault made"),
                // Another node: its keys are read.
                Written::Stale => {}
            }
            Ok(())
        })
        .await
    }

    async fn change<R, C>(&self, change: C) -> Result<(Ring, R), VaultError>
    where
        R: Send + 'static,
        C: Fn(&mut Ring) -> Result<(bool, R), VaultError> + Send + Sync + 'static,
    {
        in_time(self.changed(change)).await
    }

    async fn clean(&self) -> Result<(), VaultError> {
        in_time(async { self.wipe(&mut *self.turn.lock().await).await }).await
    }
}

#[cfg(test)]
mod tests;
