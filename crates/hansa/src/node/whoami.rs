//! Which id this node has, found out before its data folder is opened.
//!
//! A name stays; an id is given once. A node that lost or damaged its volume is rebuilt under a new
//! id, which the region's directory knows and the config does not. So a node asks at start, and a
//! folder of a former life is put aside, never deleted.

mod ask;
mod decide;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hansa_api::pb::directory::registry_service_client::RegistryServiceClient;
use hansa_api::pb::directory::{ResolveNodeRequest, ResolveNodeResponse};
use hansa_consensus::{IdentityError, owner_of};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_node::peers::{self, Address, Peers};
use hansa_region_router::change::change;
use hansa_region_router::core::directory::{Command, Node, NodeRole};
use hansa_sweep::findings::ASIDE;
use hansa_types::id::NodeId;
use hansa_types::identity::SpiffeId;
use hansa_wal::fs::Fs;

use self::decide::{Decision, Folder};
use super::groups;
use super::world::World;
use crate::config::Config;

/// How long a keeper of the directory may take to say who we are. At a region's first start nobody
/// knows, and nobody waits long.
const ASK_MAX: Duration = Duration::from_millis(1_500);
/// Of whom a starting node asks who it is.
const KEEPERS_MAX: usize = 32;
/// Between two questions of a node that cannot begin without an answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// What of a data folder belongs to one life of a node; `identity` goes last, so that an
/// interrupted move is taken up again.
const LIFE: [&str; 4] = ["wal", "groups", "views", IDENTITY];
const IDENTITY: &str = "identity";

/// Who this node is now.
#[derive(Debug)]
pub struct Own {
    pub id: NodeId,
    /// It came after its region's beginning: its groups wait to be added.
    pub joins: bool,
}

/// Finds out which id this node has, and makes its data folder fit.
///
/// # Errors
/// A folder that must not be used under the id that the directory gives, and what to do about it.
pub async fn resolve(config: &Config, world: &World) -> anyhow::Result<Own> {
    let mut region = Region::new(config, world)?;
    let resolved = region.resolve(config, world).await;
    region.forget();
    let own = resolved?;
    let configured = config.own_node().map(|node| node.id);
    if configured != Some(own.id) {
        let (name, id) = (&config.name, own.id);
        tracing::info!(name, %id, "the directory gives this node another id than its config");
    }
    Ok(own)
}

/// The keepers of the region's directory, before this node is one of the region: those of its
/// config, and those of whom they tell.
struct Region {
    peers: Peers,
    keepers: Vec<NodeId>,
}

impl Region {
    fn new(config: &Config, world: &World) -> anyhow::Result<Self> {
        let (net, tasks) = (world.net.clone(), world.env.tasks.clone());
        // Nobody yet: no node has the id 0, so every call goes out.
        let peers = Peers::new(NodeId(0), net, peers::Timing::default(), tasks);
        let mut keepers = Vec::new();
        let region = config.own_region().context("this region is not in the league")?;
        for node in region.nodes.iter().filter(|node| node.name != config.name) {
            let id = SpiffeId::node(&config.trust_domain, &region.name, &node.name)?;
            if node.roles.contains(&NodeRole::Directory) {
                peers.set_node(node.id, Address { id, addr: node.internal.clone() });
                keepers.push(node.id);
            }
        }
        Ok(Self { peers, keepers })
    }

    fn forget(&self) {
        self.keepers.iter().for_each(|keeper| self.peers.remove_node(*keeper));
    }

    /// Keepers that the config does not know: one of them may lead by now. Whoever answers at that
    /// address has to show a certificate with that name.
    fn learn(&mut self, config: &Config, answers: &[ResolveNodeResponse]) {
        let newest = answers.iter().max_by_key(|answer| answer.version);
        let configured = config.own_region().into_iter().flat_map(|region| &region.nodes);
        let keeps = configured
            .filter(|node| node.roles.contains(&NodeRole::Directory) || node.name == config.name);
        let configured: Vec<&str> = keeps.map(|node| node.name.as_str()).collect();
        for keeper in newest.into_iter().flat_map(|answer| &answer.keepers) {
            let node = NodeId(keeper.node);
            let new = !self.keepers.contains(&node) && self.keepers.len() < KEEPERS_MAX;
            let id = SpiffeId::node(&config.trust_domain, &config.region, &keeper.name);
            // Whom the config names is asked by it, under whatever id.
            if let Ok(id) = id
                && new
                && !configured.contains(&keeper.name.as_str())
            {
                self.peers.set_node(node, Address { id, addr: keeper.internal.clone() });
                self.keepers.push(node);
            }
        }
    }

    async fn resolve(&mut self, config: &Config, world: &World) -> anyhow::Result<Own> {
        let own = config.own_node().context("this node is not in the league")?;
        let mut said = None;
        loop {
            let folder = folder(&world.fs, &config.data_dir)?;
            let answers = self.ask().await;
            self.learn(config, &answers);
            let told = decide::newest(answers);
            // Who waits for the directory may begin a group of its own by then.
            if let Some(told) = told.as_ref().filter(|told| told.id.is_some()) {
                let same = groups::same_parts(&told.parts, &config.region_groups());
                same.map_err(anyhow::Error::msg)?;
            }
            match decide::decide(&folder, told.as_ref(), own.id, config.join) {
                Decision::Start(own) => return Ok(own),
                Decision::PutAside(id) => put_aside(&world.fs, &config.data_dir, id)?,
                Decision::Refuse(why) => bail!("{}: {why}", config.data_dir.display()),
                Decision::Register => self.register(own).await?,
                Decision::Wait(why) => {
                    if said.as_ref() != Some(&why) {
                        let name = &own.name;
                        tracing::warn!(name, why, "waits for the directory of its region");
                        said = Some(why);
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// What the keepers say that know the directory.
    async fn ask(&self) -> Vec<ResolveNodeResponse> {
        let due = Deadline::after(ASK_MAX);
        let told = ask::each(&self.keepers, |keeper| async move {
            let mut client = RegistryServiceClient::new(self.peers.to(keeper));
            let request = outgoing(ResolveNodeRequest {}, due).ok()?;
            let answer = tokio::time::timeout_at(due.0, client.resolve_node(request)).await;
            answer.ok()?.ok().map(tonic::Response::into_inner)
        });
        told.await
    }

    /// Has the directory take this node in.
    async fn register(&self, own: &crate::config::Node) -> anyhow::Result<()> {
        let node = Node {
            id: own.id,
            name: own.name.clone(),
            internal: own.internal.clone(),
            roles: own.roles.clone(),
        };
        let command = Command::RegisterNode { node };
        let due = Deadline::after(10 * ASK_MAX);
        let changed = change(&self.peers, &self.keepers, &command, due).await;
        let changed = changed.map_err(|failure| anyhow::anyhow!("{failure}"));
        changed.context("the directory does not take this node in")?;
        tracing::info!(name = own.name, "taken in by the region's directory");
        Ok(())
    }
}

fn folder(fs: &Arc<dyn Fs>, dir: &Path) -> anyhow::Result<Folder> {
    match owner_of(fs, dir) {
        Ok(Some(owner)) if is_leaving(fs, dir, owner)? => Ok(Folder::Leaving(owner)),
        Ok(Some(owner)) => Ok(Folder::Of(owner)),
        Ok(None) if !lives_aside(fs, dir, ASIDE)?.is_empty() => Ok(Folder::Vacated),
        // A log without an identity is a folder that was interrupted before its first use.
        Ok(None) => Ok(Folder::Empty),
        // Sound, and another release's: it must not be rebuilt.
        Err(error @ IdentityError::Version { .. }) => Err(error.into()),
        Err(error) => Ok(Folder::Unreadable(error.to_string())),
    }
}

/// Whether a move of this life was interrupted: its identity would have gone last.
fn is_leaving(fs: &Arc<dyn Fs>, dir: &Path, owner: NodeId) -> io::Result<bool> {
    for aside in lives_aside(fs, dir, &format!("{ASIDE}{owner}-"))? {
        if !fs.exists(&aside.join(IDENTITY))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folders of former lives whose names begin so.
fn lives_aside(fs: &Arc<dyn Fs>, dir: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    if !fs.exists(dir)? {
        return Ok(Vec::new());
    }
    let names = fs.list(dir)?.into_iter().filter(|name| name.starts_with(prefix));
    Ok(names.map(|name| dir.join(name)).collect())
}

/// Moves a former life out of the way; durable on return. Nothing is deleted.
fn put_aside(fs: &Arc<dyn Fs>, dir: &Path, former: Option<NodeId>) -> anyhow::Result<()> {
    let former = former.map_or("unreadable".to_owned(), |id| id.to_string());
    let aside = (1..).map(|n| dir.join(format!("{ASIDE}{former}-{n}")));
    let mut free = aside.filter(|to| !fs.exists(&to.join(IDENTITY)).unwrap_or(true));
    let aside = free.next().context("no name is left for the old folder")?;
    fs.create_dir_all(&aside).with_context(|| aside.display().to_string())?;
    for name in LIFE {
        let from = dir.join(name);
        if fs.exists(&from)? {
            if name == IDENTITY {
                // Nothing of the former life may come back to a folder without it.
                fs.sync_dir(&aside)?;
                fs.sync_dir(dir)?;
            }
            let moved = fs.rename(&from, &aside.join(name));
            moved.with_context(|| format!("{} to {}", from.display(), aside.display()))?;
        }
    }
    fs.sync_dir(&aside)?;
    fs.sync_dir(dir)?;
    tracing::warn!(aside = %aside.display(), "this node's former folder is put aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use hansa_wal::fs::SimFs;

    use super::*;

    #[test]
    fn a_former_life_is_put_aside_and_nothing_is_lost() {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(1));
        let dir = Path::new("/data");
        for life in 0..2_u8 {
            fs.create_dir_all(&dir.join("wal")).unwrap();
            for file in ["identity", "wal/1.log"] {
                let file = fs.create(&dir.join(file)).unwrap();
                file.write_at(&[life], 0).unwrap();
            }
            put_aside(&fs, dir, Some(NodeId(12))).unwrap();
            assert_eq!(folder(&fs, dir).unwrap(), Folder::Vacated);
            let kept = dir.join(format!("aside-12-{}/wal/1.log", life + 1));
            assert_eq!(fs.read(&kept, 10).unwrap(), [life]);
        }
    }

    /// A former life's log under a new identity would be believed.
    #[test]
    fn the_identity_goes_when_all_else_is_durably_away_and_an_interrupted_move_goes_on() {
        let dir = Path::new("/data");
        for (ops, power) in (0..96).map(|n| (n / 6, n % 6)) {
            let sim = SimFs::new(ops + 100 * power);
            let fs: Arc<dyn Fs> = Arc::new(sim.clone());
            for file in ["wal/1.log", "groups/1", "identity"].map(|file| dir.join(file)) {
                fs.create_dir_all(file.parent().unwrap()).unwrap();
                fs.create(&file).unwrap();
                fs.sync_dir(file.parent().unwrap()).unwrap();
            }
            let before = sim.syncs();
            sim.cut_power_after(ops);
            let done = put_aside(&fs, dir, Some(NodeId(12)));
            match power {
                0 => sim.kill(),
                // Names that were not synced may be the old ones, each on its own.
                _ => sim.crash(),
            }
            let there = |name| fs.exists(&dir.join(name)).unwrap();
            let left = ["wal", "groups"].map(there);
            match there("identity") {
                true => {
                    assert!(done.is_err(), "{ops} changes");
                    // Seen without a keeper, so that nobody looks for the log under the old id.
                    let whole = left == [true; 2];
                    assert!(whole || is_leaving(&fs, dir, NodeId(12)).unwrap(), "{ops} changes");
                    assert!(!is_leaving(&fs, dir, NodeId(1)).unwrap(), "not another node's");
                    put_aside(&fs, dir, Some(NodeId(12))).unwrap();
                }
                false => assert!(left == [false; 2] && sim.syncs() >= before + 2, "{ops} changes"),
            }
            assert_eq!(["identity", "wal", "groups"].map(there), [false; 3]);
            assert_eq!(folder(&fs, dir).unwrap(), Folder::Vacated, "{ops} changes");
            assert!(fs.exists(&dir.join("aside-12-1/wal/1.log")).unwrap(), "{ops} changes");
        }
    }
}
