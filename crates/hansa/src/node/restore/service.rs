//! RestoreService: begin, chunks, check, commit. Nothing counts before the commit.

use std::sync::Arc;

use hansa_api::pb::node as pb;
use hansa_api::pb::node::restore_service_server::{RestoreService, RestoreServiceServer};
use hansa_api::status::{Failure, Reason};
use hansa_backup::{Checked, PartKind, verify};
use hansa_consensus::{Files, Host, HostConfig};
use hansa_node::peers::{self, Peers};
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::machines;
use super::plan::Plan;
use super::staging::Staging;
use crate::config::Config;
use crate::node::world::World;

/// A node that is being restored.
pub struct Restorer {
    config: Config,
    world: World,
    staging: Staging,
    phase: Mutex<Phase>,
    committed: CancellationToken,
    told: Notify,
}

/// How far it is.
#[derive(Clone)]
enum Phase {
    Empty,
    Filling(Arc<Plan>),
    Checking,
    Checked(Arc<Plan>, Result<Checked, String>),
    Committing,
    Done(Result<(), String>),
}

/// The service for the internal port.
pub fn server(restorer: Arc<Restorer>) -> RestoreServiceServer<Served> {
    RestoreServiceServer::new(Served(restorer)).max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
}

/// See [`server`].
pub struct Served(Arc<Restorer>);

fn wrong(what: &str) -> Failure {
    Failure::new(Reason::FailedPrecondition, what.to_owned())
}

fn disk(error: std::io::Error) -> Failure {
    tracing::error!(%error, "restore");
    Failure::new(Reason::Unavailable, format!("the node's disk: {error}"))
}

impl Restorer {
    pub fn new(config: Config, world: World) -> Self {
        let staging = Staging::new(world.fs.clone(), &config.data_dir);
        let (phase, committed) = (Mutex::new(Phase::Empty), CancellationToken::new());
        Self { config, world, staging, phase, committed, told: Notify::new() }
    }

    /// Waits until the groups are in place.
    pub async fn committed(&self) {
        self.committed.cancelled().await;
    }

    /// Waits until the operator has heard of it.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    fn begin(&self, asked: &pb::BeginRestoreRequest) -> Result<pb::BeginRestoreResponse, Failure> {
        let plan = Plan::new(&self.config, asked).map_err(|why| wrong(&why))?;
        let node = self.config.own_node().map_or(0, |node| node.id.0);
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Checking | Phase::Committing | Phase::Done(Ok(()))) {
            return Err(wrong("the node is checking or restored already"));
        }
        let groups = plan.groups.iter();
        let paths = groups.flat_map(|(group, _)| PartKind::ALL.map(|kind| group.path(kind)));
        let paths: Vec<String> = paths.collect();
        self.staging.begin(&plan.text, &paths).map_err(disk)?;
        let mut parts = Vec::new();
        for path in paths {
            let bytes = self.staging.bytes(&path).map_err(disk)?;
            parts.push(pb::WantedPart { path, bytes });
        }
        let hash = plan.hash.clone();
        *phase = Phase::Filling(Arc::new(plan));
        Ok(pb::BeginRestoreResponse { node, parts, plan: hash })
    }

    fn put(&self, chunk: &pb::PutChunkRequest) -> Result<pb::PutChunkResponse, Failure> {
        let Phase::Filling(plan) = &*self.phase.lock() else {
            return Err(wrong("the restore has not begun, or is being checked"));
        };
        let wanted = plan
            .groups
            .iter()
            .any(|(group, _)| PartKind::ALL.iter().any(|kind| group.path(*kind) == chunk.path));
        if !wanted {
            return Err(Failure::new(Reason::NotFound, "no part of this backup"));
        }
        if hansa_backup::part::checksum(chunk.offset, &chunk.data) != chunk.checksum {
            return Err(Failure::new(Reason::MessageMalformed, "the chunk's checksum"));
        }
        let bytes = self.staging.append(&chunk.path, chunk.offset, &chunk.data).map_err(disk)?;
        Ok(pb::PutChunkResponse { bytes })
    }

    fn check(self: &Arc<Self>) -> Result<pb::CheckRestoreResponse, Failure> {
        let mut phase = self.phase.lock();
        match &*phase {
            Phase::Filling(plan) => {
                let plan = plan.clone();
                *phase = Phase::Checking;
                let this = self.clone();
                self.world.env.loops.start(
                    "restore-check".to_owned(),
                    Box::pin(async move {
                        let checked = this.check_all(&plan);
                        *this.phase.lock() = Phase::Checked(plan, checked);
                    }),
                );
                Ok(pb::CheckRestoreResponse::default())
            }
            Phase::Checking => Ok(pb::CheckRestoreResponse::default()),
            Phase::Checked(_, checked) => {
                let checked = checked.clone();
                let answer = |damage, Checked { bytes, entries, .. }| pb::CheckRestoreResponse {
                    done: true,
                    damage,
                    bytes,
                    entries,
                };
                Ok(match checked {
                    Ok(checked) => answer(String::new(), checked),
                    Err(damage) => {
                        // What was sent is of no use: the next attempt begins anew.
                        self.staging.remove().map_err(disk)?;
                        *phase = Phase::Empty;
                        answer(damage, Checked::default())
                    }
                })
            }
            Phase::Empty | Phase::Committing | Phase::Done(_) => {
                Err(wrong("there is nothing to check"))
            }
        }
    }

    fn check_all(&self, plan: &Plan) -> Result<Checked, String> {
        let mut checked = Checked::default();
        for (group, restored) in &plan.groups {
            for kind in PartKind::ALL {
                verify::part(&self.staging, group, kind, &mut checked, &mut |_| {})
                    .map_err(|e| e.to_string())?;
            }
            let (fs, scratch) = (&self.world.fs, &self.staging.dir);
            machines::check(fs, scratch, &self.staging, group, Some(restored))
                .map_err(|e| e.to_string())?;
            checked.groups += 1;
        }
        Ok(checked)
    }

    fn commit(self: &Arc<Self>) -> Result<pb::CommitRestoreResponse, Failure> {
        let mut phase = self.phase.lock();
        match &*phase {
            Phase::Checked(plan, Ok(_)) => {
                let (this, plan) = (self.clone(), plan.clone());
                *phase = Phase::Committing;
                self.world.env.loops.start(
                    "restore-commit".to_owned(),
                    Box::pin(async move {
                        let done = this.install(&plan).await.map_err(|e| format!("{e:#}"));
                        let good = done.is_ok();
                        *this.phase.lock() = Phase::Done(done);
                        if good {
                            this.committed.cancel();
                        }
                    }),
                );
                Ok(pb::CommitRestoreResponse::default())
            }
            Phase::Committing => Ok(pb::CommitRestoreResponse::default()),
            Phase::Done(done) => {
                self.told.notify_one();
                let failure = done.clone().err().unwrap_or_default();
                Ok(pb::CommitRestoreResponse { done: true, failure })
            }
            _ => Err(wrong("only what was checked is put in place")),
        }
    }

    /// A host for this alone: the node's own opens what it leaves.
    async fn install(&self, plan: &Plan) -> anyhow::Result<()> {
        let (config, world) = (&self.config, &self.world);
        let me = config.own_node().ok_or_else(|| anyhow::anyhow!("not in the league"))?.id;
        let (net, tasks) = (world.net.clone(), world.env.tasks.clone());
        let peers = Peers::new(me, net, peers::Timing::default(), tasks);
        let mut settings = HostConfig::new(me, config.data_dir.clone());
        settings.wal.segment_bytes = config.log.segment_mib << 20;
        settings.wal.disk_bytes_max = u64::from(config.log.disk_mib) << 20;
        let host = Host::open(settings, world.fs.clone(), world.env.clone(), peers)?;
        let files: Files = Arc::new(self.staging.clone());
        for (group, restored) in &plan.groups {
            machines::install(&host, files.clone(), group.clone(), restored.clone()).await?;
        }
        host.stop().await;
        self.staging.remove()?;
        Ok(())
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RestoreService for Served {
    async fn begin_restore(
        &self,
        request: Request<pb::BeginRestoreRequest>,
    ) -> Answer<pb::BeginRestoreResponse> {
        Ok(Response::new(self.0.begin(request.get_ref())?))
    }

    async fn put_chunk(
        &self,
        request: Request<pb::PutChunkRequest>,
    ) -> Answer<pb::PutChunkResponse> {
        Ok(Response::new(self.0.put(request.get_ref())?))
    }

    async fn check_restore(
        &self,
        _request: Request<pb::CheckRestoreRequest>,
    ) -> Answer<pb::CheckRestoreResponse> {
        Ok(Response::new(self.0.check()?))
    }

    async fn commit_restore(
        &self,
        _request: Request<pb::CommitRestoreRequest>,
    ) -> Answer<pb::CommitRestoreResponse> {
        Ok(Response::new(self.0.commit()?))
    }
}
