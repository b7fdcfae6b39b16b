//! Refuses at once when too many calls are in flight: a queue would only make all of them late.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::{BoxError, Layer, Service};

use super::Settings;
use crate::{metrics, refusal};

/// How long a refused client should wait: a few typical calls, so that the load falls in between.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// All services made by one layer share one bound.
#[derive(Debug, Clone)]
pub struct ShedLayer {
    listener: &'static str,
    free: Arc<Semaphore>,
    exempt: fn(&str) -> bool,
}

impl ShedLayer {
    pub fn new(settings: &Settings) -> Self {
        Self {
            listener: settings.listener,
            free: Arc::new(Semaphore::new(settings.in_flight_max)),
            exempt: settings.exempt.from_shedding,
        }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { shared: self.clone(), inner }
    }
}

#[derive(Debug, Clone)]
pub struct Shed<S> {
    shared: ShedLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Shed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if (self.shared.exempt)(request.uri().path()) {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        }
        // Held until the answer begins: a watch stream is open for hours and is bounded per
        // connection.
        let Ok(slot) = self.shared.free.clone().try_acquire_owned() else {
            metrics::call_shed(self.shared.listener);
            return Box::pin(async { Err(refusal::overloaded(RETRY_AFTER).into()) });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _slot = slot;
            answer.await.map_err(Into::into)
        })
    }
}
