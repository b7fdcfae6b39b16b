//! What may come in on the internal port, and from where.
//!
//! A node of this region may reach every internal service. A node of another region may do three
//! things: pass on a client's call, replicate, and say who owns what. If it asks for the protocol
//! that nodes of one region speak with each other its handshake ends (`tls::ALPN_REGION`). A client
//! may do nothing here, whatever headers it sends: its handshake ends with its name, as does that
//! of a node whose region nobody knows.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hansa_api::principal::{self, Principal};
use hansa_api::status::{Failure, Reason};
use hansa_node::listen::Admits;
use hansa_node::tls::PeerIdentity;
use hansa_region_router::forward::Upstreams;
use hansa_types::identity::{Role, SpiffeId};
use hansa_types::region::RegionName;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt as _};

use crate::door::Door;
use crate::metrics;

/// Services that other regions' nodes may call beside forwarding. Whatever is not named is closed
/// to them: Raft, ledgers, the directory, a node's own services, and each one that comes later.
const ABROAD: [&str; 4] = [
    "/hansa.directory.v1.OwnershipService/",
    "/hansa.replication.v1.ReplicationService/",
    "/hansa.replication.v1.HomeService/",
    "/grpc.health.v1.Health/",
];

/// Who has business at the internal port of a node of `region`: nodes of our trust domain, of this
/// region or of one that is `known`.
pub fn admits(
    own: SpiffeId,
    region: RegionName,
    known: impl Fn(&RegionName) -> bool + Send + Sync + 'static,
) -> Admits {
    Arc::new(move |peer| match peer.role() {
        Some(Role::Node { region: of, .. }) => {
            peer.trust_domain() == own.trust_domain() && (of == region || known(&of))
        }
        Some(Role::Client { .. }) | None => false,
    })
}

/// The internal port's service: sorts calls by who brings them.
pub struct Internal<U> {
    own: SpiffeId,
    region: RegionName,
    /// `None` on a node without the gateway role.
    forwarded: Option<Door<U>>,
    routes: Routes,
}

impl<U> Clone for Internal<U> {
    fn clone(&self) -> Self {
        let (own, region) = (self.own.clone(), self.region.clone());
        Self { own, region, forwarded: self.forwarded.clone(), routes: self.routes.clone() }
    }
}

/// Where a call on the internal port may go.
enum Way {
    /// Through the gateway, as a client's call that entered elsewhere.
    Forwarded,
    /// To this node's services, on behalf of somebody or of the node itself.
    Services(Option<Principal>),
}

impl<U: Upstreams> Internal<U> {
    /// The port of the node `own` in `region`. `forwarded` is the gateway's second door.
    pub fn new(
        own: SpiffeId,
        region: RegionName,
        forwarded: Option<Door<U>>,
        routes: Routes,
    ) -> Self {
        Self { own, region, forwarded, routes }
    }

    fn way(&self, request: &Request<Body>) -> Result<Way, Failure> {
        let peer = request.extensions().get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
        let Some(Role::Node { region, .. }) = peer.0.role() else {
            return Err(Reason::PermissionDenied.into());
        };
        if peer.0.trust_domain() != self.own.trust_domain() {
            return Err(Reason::PermissionDenied.into());
        }
        let forwarded = principal::forwarded_by(request.headers())?.is_some();
        let path = request.uri().path();
        match (forwarded, region == self.region) {
            // The gateway's door checks who forwards; it refuses a node of our own.
            (true, _) => Ok(Way::Forwarded),
            (false, true) => Ok(Way::Services(Principal::read(request.headers())?)),
            (false, false) if ABROAD.iter().any(|open| path.starts_with(open)) => {
                Ok(Way::Services(None))
            }
            (false, false) => Err(Reason::PermissionDenied.into()),
        }
    }
}

impl<U: Upstreams> Service<Request<Body>> for Internal<U> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let way = match (self.way(&request), &self.forwarded) {
            (Ok(Way::Forwarded), Some(door)) => return door.clone().call(request),
            (Ok(Way::Forwarded), None) => Err(Reason::Unimplemented.into()),
            (Ok(Way::Services(principal)), _) => Ok(principal),
            (Err(failure), _) => Err(failure),
        };
        match way {
            Ok(principal) => {
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
                let answer = self.routes.clone().oneshot(request);
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
            Err(failure) => {
                metrics::refused(failure.reason());
                Box::pin(async move { Ok(Status::from(failure).into_http()) })
            }
        }
    }
}

#[cfg(test)]
mod tests;
