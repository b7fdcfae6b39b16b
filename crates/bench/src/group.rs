//! One Raft group of our own in this process, each replica with its log on disk and gRPC over mTLS
//! between them, behind a service that streams commands to whoever leads.

use std::path::Path;

use bytes::Bytes;
use hansa_consensus::testing::{Cluster, Settings};
use hansa_consensus::{Group, Leadership, Machine, Timing};
use hansa_node::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::load::CALL_MAX;
use crate::wire::{Answers, Server};

/// A group and the way to it.
pub struct Grouped<M: Machine> {
    cluster: Cluster<M>,
    pub server: Server,
}

/// Submits each message as a command; the answer is the outcome, 8 bytes, or empty.
struct Leader<M: Machine>(Vec<(Group<M>, watch::Receiver<Leadership>)>);

impl<M: Machine> Clone for Leader<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Machine<Outcome = u64>> Answers for Leader<M> {
    async fn answer(&self, command: Bytes) -> Bytes {
        let leads = self.0.iter().find(|(_, leadership)| leadership.borrow().mine);
        let Some((group, _)) = leads else { return Bytes::new() };
        match group.submit(command, Instant::now() + CALL_MAX).await {
            Ok(outcome) => Bytes::copy_from_slice(&outcome.to_be_bytes()),
            Err(_) => Bytes::new(),
        }
    }
}

impl<M: Machine<Outcome = u64>> Grouped<M> {
    /// # Errors
    /// A server that does not start.
    pub async fn start(
        tasks: &Tasks,
        folder: &Path,
        replicas: u64,
        genesis: fn() -> M,
    ) -> anyhow::Result<Self> {
        let settings = Settings {
            nodes: replicas,
            timing: Timing::default(),
            wal: hansa_wal::Config::default(),
            grpc: true,
            folder: Some(folder.to_owned()),
            ..Settings::default()
        };
        let cluster = Cluster::with(settings, genesis).await;
        cluster.leader().await;
        let groups = cluster.up().into_iter().map(|node| {
            let group = cluster.group(node).clone();
            let leadership = group.leadership();
            (group, leadership)
        });
        let server = Server::start(tasks, folder, Leader(groups.collect())).await?;
        Ok(Self { cluster, server })
    }

    pub async fn stop(mut self) {
        self.server.stop().await;
        self.cluster.kill_all().await;
    }
}

/// What a command came to.
pub fn outcome(answer: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(answer.as_ref().try_into().ok()?))
}
