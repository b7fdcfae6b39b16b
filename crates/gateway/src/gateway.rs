//! A gateway, put together.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hansa_api::pb::admin::admin_service_server::AdminServiceServer;
use hansa_api::pb::admin::audit_service_server::AuditServiceServer;
use hansa_api::pb::admin::backup_service_server::BackupServiceServer;
use hansa_api::pb::admin::membership_service_server::MembershipServiceServer;
use hansa_api::pb::admin::reconcile_service_server::ReconcileServiceServer;
use hansa_api::pb::admin::region_loss_service_server::RegionLossServiceServer;
use hansa_api::pb::admin::replication_service_server::ReplicationServiceServer;
use hansa_api::pb::admin::residency_service_server::ResidencyServiceServer;
use hansa_api::pb::admin::version_service_server::VersionServiceServer;
use hansa_api::pb::region::region_service_server::RegionServiceServer;
use hansa_node::config::Text;
use hansa_node::env::Env;
use hansa_node::peers::{Address, Peers};
use hansa_node::tasks::OnError;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{NodeRole, Snapshot};
use hansa_region_router::core::route::{Entry, METHODS};
use hansa_region_router::forward::{Forward, Upstreams};
use hansa_types::identity::SpiffeId;
use thiserror::Error;
use tonic::service::Routes;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_health::{ServingStatus, pb::health_server::HealthServer};

use crate::admit::Admit;
use crate::config::Config;
use crate::core::authz::{Authz, Refused};
use crate::door::{Door, House};
use crate::service::Own;

/// The authorization policy as shipped, for a gateway that is given no file.
pub const AUTHZ: &str = include_str!("../../../deploy/policy/authz.toml");

/// Why a gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error(transparent)]
    Authz(Refused),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running gateway; clones are one gateway.
pub struct Gateway<U = Peers> {
    house: Arc<House<U>>,
    health: HealthReporter,
}

impl<U> Clone for Gateway<U> {
    fn clone(&self) -> Self {
        Self { house: self.house.clone(), health: self.health.clone() }
    }
}

impl Gateway<Peers> {
    /// Starts the gateway of the node whose peers these are.
    ///
    /// It learns the addresses of other regions' gateways from the directory; those of this
    /// region's nodes the binary registers, because the directory itself is reached through them.
    ///
    /// `authz`: the authorization policy, `None` for the shipped one.
    ///
    /// # Errors
    /// An authorization policy that cannot be read or does not hold together.
    pub fn start(
        env: &Env,
        trust_domain: &str,
        book: Book,
        peers: Peers,
        config: Config,
        authz: Option<Text>,
    ) -> Result<Self, StartError> {
        let (register, learned) = (peers.clone(), book.clone());
        let (domain, stop) = (trust_domain.to_owned(), env.tasks.stop_token());
        let gateway = Self::assemble(env, trust_domain, book, peers, config, authz)?;
        env.tasks.spawn("gateway-regions", OnError::StopNode, async move {
            stop.run_until_cancelled(learn_gateways(&domain, &learned, &register)).await;
        });
        Ok(gateway)
    }
}

impl<U: Upstreams> Gateway<U>
where
    U::Peer: Sync,
{
    /// As [`Gateway::start`], over any upstreams.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(
        env: &Env,
        trust_domain: &str,
        book: Book,
        upstreams: U,
        config: Config,
    ) -> Result<Self, StartError> {
        let authz = config.authz_file.clone().map(Text::file);
        Self::assemble(env, trust_domain, book, upstreams, config, authz)
    }

    fn assemble(
        env: &Env,
        trust_domain: &str,
        book: Book,
        upstreams: U,
        config: Config,
        authz_file: Option<Text>,
    ) -> Result<Self, StartError> {
        let text = read(authz_file.as_ref())?;
        let authz = Authz::parse(&text).map_err(StartError::Authz)?;
        let forward = Forward::new(upstreams.clone(), book.clone(), env.entropy.clone())
            .with_lanes(env.tasks.clone());
        let health = HealthReporter::new();
        let (clock, entropy) = (env.clock.clone(), env.entropy.clone());
        let services =
            Own { book: book.clone(), upstreams, forward: forward.clone(), clock, entropy };
        let house = Arc::new(House {
            trust_domain: trust_domain.to_owned(),
            message_bytes_max: config.message_bytes_max,
            authz: ArcSwap::from_pointee(authz),
            admit: Admit::new(&config, env.clock.clone()),
            book: book.clone(),
            forward,
            tasks: env.tasks.clone(),
            own: routes(services, health.clone(), config.reflection)?,
        });
        let gateway = Self { house, health };
        let (ready, stop) = (gateway.clone(), env.tasks.stop_token());
        env.tasks.spawn("gateway-ready", OnError::StopNode, async move {
            ready.set_serving(false).await;
            if stop.run_until_cancelled(book.ready()).await.is_some() {
                ready.set_serving(true).await;
            }
        });
        if let Some(file) = authz_file {
            let (every, stop) =
                (Duration::from_millis(config.authz_reload_ms), env.tasks.stop_token());
            let reader = gateway.clone();
            env.tasks.spawn("gateway-authz", OnError::StopNode, async move {
                stop.run_until_cancelled(reader.keep_authz(&file, text, every)).await;
            });
        }
        Ok(gateway)
    }

    /// The service of the public port: everything that a client may ask.
    pub fn public(&self) -> Door<U> {
        self.house.door(Entry::Client)
    }

    /// The service for calls that other regions' gateways pass on: `internal::Internal` takes it.
    pub fn forwarded(&self) -> Door<U> {
        self.house.door(Entry::Forwarded)
    }

    /// What health checks say, for the whole process and each public service; a drain sets `false`
    /// first.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in std::iter::once("").chain(services()) {
            self.health.set_service_status(name, status).await;
        }
    }

    /// Reads the authorization policy again and again; a bad one is logged once and not taken.
    /// `last`: the text that was read last.
    async fn keep_authz(&self, file: &Text, mut last: String, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let text = match file.read() {
                Ok(text) if text == last => continue,
                Ok(text) => text,
                Err(error) => {
                    tracing::warn!(?file, %error, "authorization policy not read");
                    continue;
                }
            };
            match Authz::parse(&text) {
                Ok(authz) => {
                    tracing::info!(version = authz.version(), "authorization policy loaded");
                    self.house.authz.store(Arc::new(authz));
                }
                Err(error) => tracing::error!(%error, "authorization policy not taken"),
            }
            last = text;
        }
    }
}

/// The public services, by name.
fn services() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> =
        METHODS.iter().filter_map(|m| Some(m.name.split_once('/')?.0)).collect();
    names.dedup();
    names.into_iter()
}

fn routes<U: Upstreams>(
    own: Own<U>,
    health: HealthReporter,
    reflection: bool,
) -> Result<Routes, StartError>
where
    U::Peer: Sync,
{
    let health = HealthServer::new(HealthService::from_health_reporter(health));
    let routes = Routes::new(RegionServiceServer::new(own.clone()))
        .add_service(AuditServiceServer::new(own.clone()))
        .add_service(BackupServiceServer::new(own.clone()))
        .add_service(AdminServiceServer::new(own.clone()))
        .add_service(MembershipServiceServer::new(own.clone()))
        .add_service(ReconcileServiceServer::new(own.clone()))
        .add_service(RegionLossServiceServer::new(own.clone()))
        .add_service(ReplicationServiceServer::new(own.clone()))
        .add_service(ResidencyServiceServer::new(own.clone()))
        .add_service(VersionServiceServer::new(own))
        .add_service(health);
    if !reflection {
        return Ok(routes.prepare());
    }
    let reflect = || {
        let set = hansa_api::FILE_DESCRIPTOR_SET;
        let builder = tonic_reflection::server::Builder::configure();
        let builder = builder.register_encoded_file_descriptor_set(set);
        let health = tonic_health::pb::FILE_DESCRIPTOR_SET;
        let builder = builder.register_encoded_file_descriptor_set(health);
        let public = services().chain(["grpc.health.v1.Health"]);
        public.fold(builder, |builder, name| builder.with_service_name(name))
    };
    let (v1, v1alpha) = (reflect().build_v1()?, reflect().build_v1alpha()?);
    Ok(routes.add_service(v1).add_service(v1alpha).prepare())
}

/// The authorization policy's text: the file's, or the shipped one.
fn read(file: Option<&Text>) -> Result<String, StartError> {
    let Some(file) = file else { return Ok(AUTHZ.to_owned()) };
    file.read().map_err(|source| StartError::File { file: format!("{file:?}"), source })
}

/// Keeps the register of other regions' gateways as the directory has it.
async fn learn_gateways(trust_domain: &str, book: &Book, peers: &Peers) {
    let mut changes = book.changes();
    loop {
        if let Some(directory) = book.now() {
            for (region, addresses) in gateways(trust_domain, &directory) {
                peers.set_gateways(region, addresses);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The gateways of every region but this one.
fn gateways(
    trust_domain: &str,
    directory: &Snapshot,
) -> Vec<(hansa_types::region::RegionName, Vec<Address>)> {
    let abroad = directory.regions.iter().filter(|(number, _)| **number != directory.here);
    let of = |(number, region): (&_, &hansa_region_router::core::directory::Region)| {
        let nodes = directory.nodes(*number, NodeRole::Gateway);
        let addresses = nodes.filter_map(|node| {
            // A name that makes no SPIFFE id names no certificate either.
            let id = SpiffeId::node(trust_domain, &region.name, &node.name).ok()?;
            Some(Address { id, addr: node.internal.clone() })
        });
        (region.name.clone(), addresses.collect())
    };
    abroad.map(of).collect()
}
