//! This node's part of `ResidencyService.VerifyResidency`: a sweep of all that it keeps.
//!
//! One at a time. Each piece runs on the loop of the slow disk work, where nothing is written to
//! archives and checkpoints meanwhile, and is followed by a pause as long as it took.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::pb::admin::SignedSweep;
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_residency_service_server::{
    NodeResidencyService, NodeResidencyServiceServer,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::tasks::OnError;
use hansa_node::telemetry;
use hansa_orders::config::Vault;
use hansa_sweep::formats::{
    metrics, pem::Pem, policy::PolicyFile, sandbox, vault::VaultFile, view,
};
use hansa_sweep::{Findings, Law, Root, Step, Sweep};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::inside::Inside;
use super::world::{Pages, World};
use crate::config::Config;
use crate::sweep;

/// Messages on their way.
const STEPS_MAX: usize = 4;
/// Shortest and longest pause after a piece.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(2));
/// Bytes between two messages about progress.
const TELL_BYTES: u64 = 8 << 20;

pub fn service(
    inside: Arc<Inside>,
    config: &Config,
    world: &World,
) -> NodeResidencyServiceServer<Serve> {
    let (config, world) = (Arc::new(config.clone()), world.clone());
    let one = Arc::new(Semaphore::new(1));
    NodeResidencyServiceServer::new(Serve { at: At { inside, config, world }, one })
}

/// See [`service`].
pub struct Serve {
    at: At,
    one: Arc<Semaphore>,
}

#[derive(Clone)]
struct At {
    inside: Arc<Inside>,
    config: Arc<Config>,
    world: World,
}

type Told = Result<pb::SweepNodeResponse, Status>;

#[tonic::async_trait]
impl NodeResidencyService for Serve {
    type SweepNodeStream = BoxStream<'static, Told>;

    async fn sweep_node(
        &self,
        _request: Request<pb::SweepNodeRequest>,
    ) -> Result<Response<Self::SweepNodeStream>, Status> {
        let full = || Failure::of(Reason::Overloaded).retry_after(Duration::from_secs(10));
        let permit = Arc::clone(&self.one).try_acquire_owned().map_err(|_| full())?;
        let sweep = self.at.sweep().await?;
        let (to, told) = mpsc::channel(STEPS_MAX);
        let at = self.at.clone();
        let stop = at.world.env.tasks.stop_token();
        self.at.world.env.tasks.spawn("residency sweep", OnError::Log, async move {
            let swept = stop.run_until_cancelled(at.run(sweep, &to)).await;
            if let Some(Err(failure)) = swept {
                // A reader that has gone needs no answer.
                let _ = to.send(Err(failure.into())).await;
            }
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(told).boxed()))
    }
}

impl At {
    /// Everything that this node keeps, and the law of now.
    async fn sweep(&self) -> Result<Sweep, Failure> {
        let starting = || Failure::new(Reason::Unavailable, "the directory is not known yet");
        let now = self.inside.book().now().ok_or_else(starting)?;
        if !self.inside.is_complete() {
            // What it kept would pass for swept.
            return Err(Failure::new(Reason::Unavailable, "the node is still starting"));
        }
        let law = Law::new(self.config.region.clone(), now.here, now.policy.clone());
        let mut findings = Findings::new(law);
        findings.now_ms = self.world.env.clock.wall().ms();
        for former in &now.former {
            findings.law.remember(former.policy.clone());
        }
        if self.world.pages == Pages::Served {
            let page = telemetry::metrics().map_err(|_| Failure::of(Reason::Internal))?.render();
            metrics::page("metrics", &page, &mut findings);
        }
        // They say when what they wrap goes; a file is read with all others.
        let remote = self.config.orders.vault.file().is_none();
        if let Some(orders) = self.inside.orders().filter(|_| remote) {
            findings.vault(orders.region_keys().await?);
        }
        Ok(Sweep::new(self.roots(), sweep::formats(), self.views(), findings))
    }

    /// The data folder, and the files that the config names beside it.
    fn roots(&self) -> Vec<Root> {
        let Config { data_dir, tls, residency_file, orders, gateway, .. } = &*self.config;
        let shared = &self.world.shared;
        let beside = |path: &std::path::Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            Root::of(shared, path, format!("config/{}", name.unwrap_or_default()), true)
        };
        // The vault first: it says when keys go.
        let vault = match &orders.vault {
            Vault::File { path } => beside(path).as_a(VaultFile),
            Vault::Hashicorp(vault) => beside(&vault.ca).as_a(Pem),
        };
        let mut roots = vec![
            vault,
            beside(&orders.provider.journal).as_a(sandbox::Journal),
            beside(residency_file).as_a(PolicyFile),
            beside(&tls.cert).as_a(Pem),
            beside(&tls.key).as_a(Pem),
            beside(&tls.ca).as_a(Pem),
            Root::of(&self.world.fs, data_dir.clone(), "", true),
        ];
        let settlement = orders.provider.settlement.as_deref();
        roots.extend(settlement.map(|path| beside(path).as_a(sandbox::Settlement)));
        roots.extend(gateway.authz_file.as_deref().map(|path| beside(path).as_a(sweep::Authz)));
        roots
    }

    fn views(&self) -> Vec<view::Source> {
        let books = self.inside.ledger().views().into_iter();
        books
            .map(|(id, view)| view::Source { folder: format!("views/{id}-entries"), view })
            .collect()
    }

    async fn run(&self, mut sweep: Sweep, to: &mpsc::Sender<Told>) -> Result<(), Failure> {
        let clock = self.world.env.clock.clone();
        let (begun, mut told_at) = (clock.monotonic(), 0);
        loop {
            let before = clock.monotonic();
            let stepped = self.inside.host().slowly(move || {
                let step = sweep.step();
                (sweep, step)
            });
            let step: Step;
            (sweep, step) = stepped.await.map_err(|_| Failure::of(Reason::Unavailable))?;
            if step.finished {
                break;
            }
            if step.done_bytes >= told_at + TELL_BYTES {
                told_at = step.done_bytes;
                let Step { done_bytes, total_bytes, .. } = step;
                let answer = pb::SweepNodeResponse { done_bytes, total_bytes, report: None };
                if to.send(Ok(answer)).await.is_err() {
                    // Nobody reads any more.
                    return Ok(());
                }
            }
            let took = clock.monotonic().saturating_sub(before);
            tokio::time::sleep(took.clamp(PAUSE.0, PAUSE.1)).await;
        }
        let elapsed = clock.monotonic().saturating_sub(begun);
        let report = self.signed(&sweep, elapsed)?;
        let answer = pb::SweepNodeResponse { report: Some(report), ..Default::default() };
        let _ = to.send(Ok(answer)).await;
        Ok(())
    }

    fn signed(&self, sweep: &Sweep, elapsed: Duration) -> Result<SignedSweep, Failure> {
        let mut report = sweep::report(sweep);
        report.node_name = self.config.name.clone();
        report.time_ms = self.world.env.clock.wall().ms();
        report.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let bytes = report.encode_to_vec();
        match self.world.net.sign(&hansa_api::sweep::text(&bytes)) {
            Some(Ok(signed)) => Ok(hansa_api::sweep::signed(&bytes, signed)),
            Some(Err(error)) => {
                tracing::error!(%error, "report not signed");
                Err(Failure::of(Reason::Internal))
            }
            // A world without certificates: nobody there asks who signed.
            None => Ok(SignedSweep { report: bytes.into(), ..Default::default() }),
        }
    }
}
