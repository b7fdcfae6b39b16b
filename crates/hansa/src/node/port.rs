//! The internal port's services, which become more once: orders start when a directory is there,
//! and a directory needs this port. Until then, what is not there yet answers UNAVAILABLE, so that
//! callers come back instead of giving up on an unknown method.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use hansa_api::status::{Failure, Reason};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

/// Services now and later.
#[derive(Clone)]
pub struct Port {
    early: Routes,
    all: Arc<OnceLock<Routes>>,
}

/// What starts late.
const LATE: [&str; 6] = [
    "/hansa.order.v1.",
    "/hansa.payment.v1.",
    "/hansa.replication.v1.",
    "/hansa.node.v1.NodeIntakeService/",
    "/hansa.node.v1.NodeReplicationService/",
    hansa_orders::Orders::SHIPMENT_PATH,
];

impl Port {
    pub fn new(early: Routes) -> Self {
        Self { early: early.prepare(), all: Arc::default() }
    }

    /// Everything is there from now on. Once.
    pub fn complete(&self, all: Routes) {
        let first = self.all.set(all).is_ok();
        assert!(first, "the port was completed twice");
    }

    /// As tonic's routes, for what takes nothing else.
    pub fn routes(&self) -> Routes {
        // One fallback for every path: the port decides.
        let router = Routes::default().into_axum_router().fallback_service(self.clone());
        Routes::from(router).prepare()
    }
}

impl<B> Service<Request<B>> for Port
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let routes = match self.all.get() {
            Some(all) => all.clone(),
            None if LATE.iter().any(|late| request.uri().path().starts_with(late)) => {
                let failure = Failure::new(Reason::Unavailable, "this node is starting");
                let status =
                    Status::from(failure.retry_after(std::time::Duration::from_millis(200)));
                return Box::pin(async move { Ok(status.into_http()) });
            }
            None => self.early.clone(),
        };
        let answer = routes.oneshot(request.map(Body::new));
        Box::pin(async move { Ok(answer.await?.map(Body::new)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(port: &Port, path: &str) -> String {
        let request = Request::post(path).header("content-type", "application/grpc");
        let request = request.body(Body::empty()).expect("a request");
        let Ok(answer) = port.clone().oneshot(request).await;
        let status = answer.headers().get("grpc-status").expect("a status");
        status.to_str().expect("digits").to_owned()
    }

    const UNIMPLEMENTED: &str = "12";
    const UNAVAILABLE: &str = "14";

    #[tokio::test]
    async fn what_starts_late_is_unavailable_and_not_unknown() {
        let port = Port::new(Routes::default());
        let place = "/hansa.order.v1.OrderService/PlaceOrder";
        assert_eq!(status(&port, place).await, UNAVAILABLE);
        assert_eq!(status(&port, hansa_orders::Orders::SHIPMENT_PATH).await, UNAVAILABLE);
        assert_eq!(status(&port, "/hansa.raft.v1.Nothing/Here").await, UNIMPLEMENTED);
        port.complete(Routes::default());
        assert_eq!(status(&port, place).await, UNIMPLEMENTED, "this node has no such role");
    }
}
