//! The two ways in: clients on the public port, other regions' gateways on the internal one.
//!
//! Who is it, may it, is there room, where does it belong: in that order, so that a stranger costs
//! as little as possible and nothing is read of a body before its caller may send it.

mod body;
mod placing;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hansa_api::principal::{self, Principal, Roles};
use hansa_api::routing::{Extra, Routing};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::tasks::Tasks;
use hansa_node::tls::PeerIdentity;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::route::{self, Decision, Entry, Method};
use hansa_region_router::forward::{Call, Forward, To, Upstreams};
use hansa_types::identity::{Role, SpiffeId};
use hansa_types::limits::CALL_DEADLINE_MS_MAX;
use hansa_types::region::RegionName;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt as _};

use crate::admit::Admit;
use crate::core::authz::Authz;
use crate::core::frame::HEAD_BYTES;
use crate::metrics;

/// For a call that came through no deadline layer.
const OTHERWISE: Duration = Duration::from_millis(CALL_DEADLINE_MS_MAX);

/// A policy reaches every region in seconds when an operator loads it everywhere.
const MOVING_RETRY: Duration = Duration::from_secs(1);

/// Services that every authenticated caller may use; they tell nothing about orders.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// What both doors share.
pub struct House<U> {
    pub trust_domain: String,
    pub message_bytes_max: usize,
    pub authz: ArcSwap<Authz>,
    pub admit: Admit,
    pub book: Book,
    pub forward: Forward<U>,
    /// Where streams of orders are served.
    pub tasks: Tasks,
    /// What this gateway answers by itself.
    pub own: Routes,
}

/// A door as a tower service; always ready, never fails: a refusal is an answer.
pub struct Door<U> {
    house: Arc<House<U>>,
    entry: Entry,
}

impl<U> Clone for Door<U> {
    fn clone(&self) -> Self {
        Self { house: self.house.clone(), entry: self.entry }
    }
}

impl<U: Upstreams> Service<Request<Body>> for Door<U> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (house, entry) = (self.house.clone(), self.entry);
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let caller = match entry {
                Entry::Client => house.client(&mut head),
                Entry::Forwarded => house.forwarded(&mut head),
            };
            let answer = match caller {
                Ok(caller) => house.serve(caller, entry, head, body).await,
                Err(failure) => Err(failure),
            };
            Ok(answer.unwrap_or_else(|failure| {
                metrics::refused(failure.reason());
                Status::from(failure).into_http()
            }))
        })
    }
}

/// Who calls, and from where.
struct Caller {
    id: SpiffeId,
    /// Where the call entered; `None` for a call that enters here.
    entered: Option<Entered>,
}

/// The region that passed a call on.
struct Entered {
    region: RegionName,
    /// The policy by which it did; 0 when it does not say.
    policy: u64,
}

impl Caller {
    /// The name that the authorization policy knows it by; empty for what is no client of ours.
    fn client<'a>(&'a self, trust_domain: &str) -> &'a str {
        client_of(&self.id, trust_domain)
    }
}

fn client_of<'a>(id: &'a SpiffeId, trust_domain: &str) -> &'a str {
    match id.role() {
        Some(Role::Client { name }) if id.trust_domain() == trust_domain => name,
        _ => "",
    }
}

impl<U: Upstreams> House<U> {
    pub fn door(self: &Arc<Self>, entry: Entry) -> Door<U> {
        Door { house: self.clone(), entry }
    }

    /// A client on the public port: its certificate says who it is, its headers say nothing.
    fn client(&self, head: &mut Parts) -> Result<Caller, Failure> {
        principal::strip(&mut head.headers);
        let peer = head.extensions.get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
        if peer.0.trust_domain() != self.trust_domain {
            return Err(Reason::Unauthenticated.into());
        }
        Ok(Caller { id: peer.0.clone(), entered: None })
    }

    /// A call that another region's gateway vouches for. The gateway must be a node of the region
    /// it claims to be, and may only speak for what entered there.
    fn forwarded(&self, head: &mut Parts) -> Result<Caller, Failure> {
        let refused = || Failure::of(Reason::ForwardRefused);
        let by = principal::forwarded_by(&head.headers)?.ok_or_else(refused)?;
        let peer = head.extensions.get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
        let node_of = match peer.0.role() {
            Some(Role::Node { region, .. }) if peer.0.trust_domain() == self.trust_domain => region,
            _ => return Err(refused()),
        };
        let principal = Principal::read(&head.headers)?.ok_or_else(refused)?;
        let directory = self.directory()?;
        let here = directory.own_region().map(|region| &region.name);
        let known = directory.number(&by).is_some() && here != Some(&by);
        if node_of != by || principal.region != by || !known {
            return Err(refused());
        }
        let policy = head.headers.get(principal::POLICY).and_then(|value| value.to_str().ok());
        let policy = policy.and_then(|version| version.parse().ok()).unwrap_or_default();
        principal::strip(&mut head.headers);
        Ok(Caller { id: principal.id, entered: Some(Entered { region: by, policy }) })
    }

    async fn serve(
        self: &Arc<Self>,
        caller: Caller,
        entry: Entry,
        head: Parts,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let path = head.uri.path();
        if entry == Entry::Client && OPEN.iter().any(|open| path.starts_with(open)) {
            self.admit.open()?;
            metrics::let_in("open");
            return Ok(self.answer(Request::from_parts(head, body)).await);
        }
        let authz = self.authz.load_full();
        let client = caller.client(&self.trust_domain);
        // A stranger learns nothing of which methods there are.
        let method = route::method(path).filter(|method| authz.anywhere(client, method.name));
        let method =
            method.ok_or_else(|| match client.is_empty() || route::method(path).is_some() {
                true => Failure::of(Reason::PermissionDenied),
                false => Failure::of(Reason::Unimplemented),
            })?;
        if entry == Entry::Client {
            self.admit.call(&caller.id, client)?;
        }
        if method.name == placing::METHOD {
            return self.place_orders(caller, entry, head, body).await;
        }
        let frame = body::gather(body, self.message_bytes_max).await?;
        let routing = Routing::decode(&frame[HEAD_BYTES..], Extra::of_path(path))?;
        let directory = self.directory()?;
        let decision = route::route(method, &routing, entry, &directory);
        let decision = match (&caller.entered, decision) {
            (Some(by), Err(refusal)) => return Err(elsewhere(refusal, by, &directory)),
            (_, decision) => decision?,
        };
        if let Some(by) = &caller.entered {
            route::check_entry(method, &routing, &by.region, &directory)?;
        }
        let principal = self.principal(&authz, caller, method, decision, &directory)?;
        self.dispatch(decision, method, principal, head, frame).await
    }

    /// On whose behalf a call goes on, whoever let it in.
    fn principal(
        &self,
        authz: &Authz,
        caller: Caller,
        method: &Method,
        decision: Decision,
        directory: &Snapshot,
    ) -> Result<Principal, Failure> {
        let client = caller.client(&self.trust_domain);
        let roles = self.roles(authz, client, method, decision, directory)?;
        let region = match caller.entered {
            Some(by) => by.region,
            None => directory.own_region().ok_or_else(starting)?.name.clone(),
        };
        Ok(Principal { id: caller.id, roles, region })
    }

    /// The caller's roles where the call is served; one of them must allow the method there.
    fn roles(
        &self,
        authz: &Authz,
        client: &str,
        method: &Method,
        decision: Decision,
        directory: &Snapshot,
    ) -> Result<Roles, Failure> {
        let served = match decision {
            Decision::Region(region) => directory.region(region),
            Decision::Gateway | Decision::Group(_) => directory.own_region(),
        };
        let roles = authz.roles(client, &served.ok_or_else(starting)?.name);
        if authz.allows(roles, method.name) {
            Ok(roles)
        } else {
            Err(Failure::of(Reason::PermissionDenied))
        }
    }

    async fn dispatch(
        &self,
        decision: Decision,
        method: &Method,
        principal: Principal,
        head: Parts,
        frame: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let Some(to) = let_in(decision) else {
            let mut request = Request::from_parts(head, Body::new(Full::new(frame)));
            request.extensions_mut().insert(principal);
            return Ok(self.answer(request).await);
        };
        let open =
            || self.admit.stream(&principal.id, client_of(&principal.id, &self.trust_domain));
        let stream = if method.streams { Some(open()?) } else { None };
        let deadline = Deadline::of(&head.extensions, OTHERWISE);
        let Parts { uri, headers, .. } = head;
        let streams = method.streams;
        let call = Call { to, uri, headers, frame, principal, deadline, streams };
        let answer = self.forward.clone().call(call).await?;
        Ok(match stream {
            Some(open) => answer.map(|body| body::holding(body, open)),
            None => answer,
        })
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match self.own.clone().oneshot(request).await {
            Ok(answer) => answer.map(Body::new),
            Err(never) => match never {},
        }
    }

    fn directory(&self) -> Result<Arc<Snapshot>, Failure> {
        self.book.now().ok_or_else(starting)
    }
}

/// Where a call goes that is let in; `None` for one that is answered here.
fn let_in(decision: Decision) -> Option<To> {
    let (to, name) = match decision {
        Decision::Gateway => (None, "gateway"),
        Decision::Group(group) => (Some(To::Group(group)), "group"),
        Decision::Region(region) => (Some(To::Region(region)), "region"),
    };
    metrics::let_in(name);
    to
}

/// Why a call that was passed on to here is not served. An entry that goes by a newer policy may be
/// right: the policy is on its way to here as well, so the call is to come again. Two that go by
/// one policy disagree only while the record of an owner is on its way from one to the other:
/// regions tell each other every second.
fn elsewhere(refusal: route::Refusal, by: &Entered, directory: &Snapshot) -> Failure {
    let wrong = matches!(refusal, route::Refusal::WrongRegion { .. });
    if wrong && by.policy >= directory.policy.version() {
        return Failure::of(Reason::HomeMoving).retry_after(MOVING_RETRY);
    }
    refusal.into()
}

fn starting() -> Failure {
    Failure::new(Reason::Unavailable, "the gateway does not know its directory yet")
        .retry_after(Duration::from_millis(500))
}
