//! A node with an empty folder that waits for a backup.
//!
//! It has no directory, no gateway and no groups, so it serves one thing, on its internal port, to
//! operators: RestoreService. Once what was sent is checked and in place, the node starts like any
//! other (ADR 0009).

mod guard;
mod machines;
mod plan;
mod service;
mod staging;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hansa_node::layers;
use hansa_node::listen::{Limits, Listener};
use hansa_types::identity::SpiffeId;

use self::guard::Guard;
pub use self::machines::verify as verify_states;
use self::service::Restorer;
use super::bounds;
use super::world::World;
use crate::config::Config;

/// How long the last answer may take to be fetched.
const GOODBYE: Duration = Duration::from_secs(10);

/// Serves RestoreService until the groups are in place.
///
/// # Errors
/// A folder that is in use, or a socket that is not to be had.
pub async fn wait(config: &Config, world: &World) -> anyhow::Result<()> {
    let expected = SpiffeId::node(&config.trust_domain, &config.region, &config.name)?;
    let found = world.net.id();
    ensure!(*found == expected, "our identity is {found}, the config says {expected}");
    refuse_used(config, world)?;
    let restorer = Arc::new(Restorer::new(config.clone(), world.clone()));
    let guard = Guard::new(config, world, restorer.clone())?;
    let (at, limits) = (config.listen.internal, Limits::default());
    let listener = Listener::bind("restore", at, world.net.as_ref(), limits).await;
    let listener = listener.with_context(|| format!("listen.internal = {at}"))?;
    let serving = listener.start(&world.env.tasks, layers::stack(&bounds::internal(), guard));
    tracing::info!(node = config.name, %at, "empty: waits for a backup");
    let stop = world.env.tasks.stop_token();
    tokio::select! {
        biased;
        () = stop.cancelled() => anyhow::bail!("stopped before anything was restored"),
        () = restorer.committed() => {}
    }
    // The operator hears of it before the socket goes.
    let _ = tokio::time::timeout(GOODBYE, restorer.told()).await;
    serving.drain().await;
    tracing::info!(node = config.name, "restored");
    Ok(())
}

/// What a node has that was ever one.
const LIFE: [&str; 3] = ["identity", "wal", "groups"];

/// # Errors
/// A restore that began in this folder and did not end: half of a past is none.
pub fn refuse_unfinished(config: &Config, world: &World) -> anyhow::Result<()> {
    let staging = config.data_dir.join(staging::FOLDER);
    let there = world.fs.exists(&staging).with_context(|| staging.display().to_string())?;
    ensure!(
        !there,
        "{}: a restore did not end here; empty {} and restore again",
        staging.display(),
        config.data_dir.display()
    );
    Ok(())
}

fn refuse_used(config: &Config, world: &World) -> anyhow::Result<()> {
    for name in LIFE {
        let path = config.data_dir.join(name);
        let used = world.fs.exists(&path).with_context(|| path.display().to_string())?;
        ensure!(
            !used,
            "{} is there: a restore goes into an empty folder, under a node id that was never used",
            path.display()
        );
    }
    Ok(())
}
