//! This node's replica of the directory group, and what keeps it in step with the config.

use std::time::Duration;

use hansa_consensus::{Group, GroupSpec, Host, ReadError, StartError, SubmitError};
use hansa_node::config::Text;
use hansa_node::env::Env;
use hansa_node::tasks::OnError;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::RegionNumber;
use tokio::time::Instant;

use crate::book::Book;
use crate::core::directory::{
    Command, Genesis, Outcome, POLICY_BYTES_MAX, Refusal, Region, Snapshot, State, follow_config,
};
use crate::core::policy::Policy;
use crate::core::standing::Standing;
use crate::vouch::Vouch;
use crate::wire::loss::record_pb;

/// Time for one command of our own.
const SUBMIT_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to bring the directory in step with the config.
const RETRY: Duration = Duration::from_millis(200);

/// How a region's directory starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The nodes that keep it.
    pub members: Vec<NodeId>,
    /// The first state; later starts take only new endpoints and a newer policy from it.
    pub genesis: Genesis,
    /// Read again every `reload_every`. The greatest version wins, whoever brings it: the leader
    /// proposes a file that is newer than what is loaded, and leaves one that is older alone. An
    /// operator who loads a policy need not write it to every node's disk.
    pub policy_file: Option<Text>,
    pub reload_every: Duration,
    /// Judges the signatures of records before they are submitted.
    pub vouch: Vouch,
}

/// This node's part in keeping the directory; cheap to clone.
#[derive(Clone)]
pub struct Directory {
    group: Group<State>,
    book: Book,
    vouch: Vouch,
}

impl Directory {
    /// Starts the replica, and the tasks that publish its snapshots and lead it to the config.
    ///
    /// # Errors
    /// What the host says.
    pub async fn start(host: &Host, env: &Env, config: Config) -> Result<Self, StartError> {
        let id = GroupId::new(GroupKind::Directory, 0);
        let spec = GroupSpec { id, members: config.members.clone() };
        let group = host.start_group(spec, State::default).await?;
        let directory = Self { group, book: Book::empty(), vouch: config.vouch.clone() };
        let stop = env.tasks.stop_token();
        let (publisher, keeper) = (directory.clone(), directory.clone());
        let until = stop.clone();
        env.tasks.spawn("directory-publish", OnError::StopNode, async move {
            until.run_until_cancelled(publisher.publish()).await;
        });
        env.tasks.spawn("directory-keep", OnError::StopNode, async move {
            stop.run_until_cancelled(keeper.keep(config)).await;
        });
        Ok(directory)
    }

    /// The newest snapshot of this replica.
    pub fn book(&self) -> Book {
        self.book.clone()
    }

    /// What this replica has applied: at its start what its disk has.
    pub fn known(&self) -> Option<Snapshot> {
        self.group.peek(State::snapshot)
    }

    /// Submits a change; on the group's leader only.
    ///
    /// # Errors
    /// The group's; a refusal of the directory itself is an outcome.
    pub async fn submit(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<Outcome, SubmitError> {
        if let Some(refusal) = self.unsigned(command) {
            return Ok(Outcome::Refused(refusal));
        }
        let bytes = command.encode().map_err(|_| SubmitError::TooLarge)?;
        self.group.submit(bytes, deadline).await
    }

    /// Who owns what, as a linearizable read; on the group's leader only.
    ///
    /// # Errors
    /// The group's.
    pub async fn standing(&self, deadline: Instant) -> Result<Standing, ReadError> {
        self.group.read(deadline, State::standing).await
    }

    /// What the directory says now, as a linearizable read; on the group's leader only.
    ///
    /// # Errors
    /// The group's.
    pub async fn confirmed(&self, deadline: Instant) -> Result<Option<Snapshot>, ReadError> {
        self.group.read(deadline, State::snapshot).await
    }

    /// Whether this node leads the group.
    pub fn leads(&self) -> bool {
        self.group.leadership().borrow().mine
    }

    /// Why the record of a command is not believed, by whichever way it came.
    fn unsigned(&self, command: &Command) -> Option<Refusal> {
        let record = command.record()?;
        let Some(now) = self.book.now() else { return Some(Refusal::NotBootstrapped) };
        let checked = self.vouch.check(&record_pb(record, &now));
        checked.err().map(|why| Refusal::Unsigned(why.to_string()))
    }

    /// Publishes a snapshot after each change.
    async fn publish(&self) {
        let mut applied = self.group.applied();
        loop {
            let known = self.book.now().map_or(0, |snapshot| snapshot.version);
            let newer = self
                .group
                .peek(|state| (state.version() > known).then(|| state.snapshot()).flatten());
            if let Some(snapshot) = newer {
                tracing::debug!(version = snapshot.version, "directory changed");
                self.book.publish(snapshot);
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// While this node leads: makes the directory say what the config says.
    async fn keep(&self, mut config: Config) {
        let mut leadership = self.group.leadership();
        let mut refused = None;
        loop {
            if leadership.wait_for(|now| now.mine).await.is_err() {
                return;
            }
            if let Some(text) = read(&config) {
                config.genesis.policy = text;
            }
            let pause = match self.align(&config.genesis, &mut refused).await {
                Ok(()) => config.reload_every,
                // Another leader does it, or the next attempt does.
                Err(_) => RETRY,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// `refused`: the policy that was refused last, so that it is neither read nor offered again.
    async fn align(
        &self,
        genesis: &Genesis,
        refused: &mut Option<String>,
    ) -> Result<(), SubmitError> {
        let Some(known) = self.book.now() else {
            let first = Command::Bootstrap(Box::new(genesis.clone()));
            return self.offer(&first).await.map(|_| ());
        };
        for (number, told) in &genesis.regions {
            let region = as_known(&known, *number, told.clone());
            if known.region(*number) != Some(&region) {
                self.offer(&Command::PutRegion { number: *number, region }).await?;
            }
        }
        let text = &genesis.policy;
        if *known.policy_text == **text || refused.as_ref() == Some(text) {
            return Ok(());
        }
        let taken = match news(text, known.policy.version()) {
            true => self.offer(&Command::LoadPolicy { text: text.clone() }).await?,
            false => false,
        };
        *refused = (!taken).then(|| text.clone());
        Ok(())
    }

    /// Submits what the config says; `false` when the directory refuses it and keeps its own.
    async fn offer(&self, command: &Command) -> Result<bool, SubmitError> {
        let outcome = self.submit(command, Instant::now() + SUBMIT_MAX).await?;
        match &outcome {
            Outcome::Changed { version } => tracing::info!(version, "directory follows config"),
            Outcome::Unchanged { .. } => {}
            Outcome::Refused(refusal) => tracing::warn!(%refusal, "directory keeps its own"),
        }
        Ok(!matches!(outcome, Outcome::Refused(_)))
    }
}

/// Whether the policy file on disk is one to propose to a directory that goes by version `have`.
fn news(text: &str, have: u64) -> bool {
    if text.len() > POLICY_BYTES_MAX {
        tracing::warn!(bytes = text.len(), "policy file not taken: it is too large");
        return false;
    }
    match Policy::parse(text) {
        Ok(policy) if policy.version() > have => true,
        // The usual end of a load by hand: the disk lags behind, and must not win.
        Ok(policy) => {
            tracing::info!(file = policy.version(), have, "policy file is older; not taken");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "policy file not taken");
            false
        }
    }
}

/// What the config says of a region, as the directory would take it: our own nodes are known by
/// name, and an id that was used never comes back.
fn as_known(known: &Snapshot, number: RegionNumber, told: Region) -> Region {
    let Some(own) = known.own_region().filter(|_| number == known.here) else { return told };
    let used = |id| known.registry.contains_key(&id);
    Region { nodes: follow_config(&own.nodes, used, &told.nodes), ..told }
}

/// The policy file as it is now; a file that cannot be read changes nothing.
fn read(config: &Config) -> Option<String> {
    let file = config.policy_file.as_ref()?;
    match file.read() {
        Ok(text) => Some(text),
        Err(error) => {
            tracing::warn!(?file, %error, "policy file not read");
            None
        }
    }
}

#[cfg(test)]
mod tests;
