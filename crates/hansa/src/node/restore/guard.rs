//! Who may restore: operators of the region, by certificate and the policy file.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use hansa_api::principal::Role;
use hansa_api::status::{Failure, Reason};
use hansa_gateway::AUTHZ;
use hansa_gateway::core::authz::Authz;
use hansa_node::tls::PeerIdentity;
use hansa_types::identity;
use hansa_types::region::RegionName;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt as _};

use super::service::{Restorer, server};
use crate::config::Config;
use crate::node::world::World;

/// The one service, behind the one question.
#[derive(Clone)]
pub struct Guard {
    trust_domain: Arc<str>,
    region: RegionName,
    authz: Arc<Authz>,
    routes: Routes,
}

impl Guard {
    pub fn new(config: &Config, world: &World, restorer: Arc<Restorer>) -> anyhow::Result<Self> {
        let text = match &config.gateway.authz_file {
            Some(file) => world.text(file.clone()).read().context("gateway.authz_file")?,
            None => AUTHZ.to_owned(),
        };
        let authz = Authz::parse(&text).map_err(|e| anyhow::anyhow!("authz_file: {e}"))?;
        Ok(Self {
            trust_domain: config.trust_domain.as_str().into(),
            region: config.region.clone(),
            authz: Arc::new(authz),
            routes: Routes::new(server(restorer)).prepare(),
        })
    }

    fn admit(&self, request: &Request<Body>) -> Result<(), Failure> {
        let peer = request.extensions().get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
        let ours = peer.0.trust_domain() == &*self.trust_domain;
        let Some(identity::Role::Client { name }) = peer.0.role().filter(|_| ours) else {
            return Err(Reason::PermissionDenied.into());
        };
        match self.authz.roles(name, &self.region).has(Role::Operator) {
            true => Ok(()),
            false => Err(Reason::PermissionDenied.into()),
        }
    }
}

impl Service<Request<Body>> for Guard {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Err(failure) = self.admit(&request) {
            return Box::pin(async move { Ok(Status::from(failure).into_http()) });
        }
        let answer = self.routes.clone().oneshot(request);
        Box::pin(async move { Ok(answer.await?.map(Body::new)) })
    }
}
