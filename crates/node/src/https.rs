//! Requests to a server that is none of ours: one connection, kept while it lasts, one request at
//! a time. Who asks sets the limit of time and decides what is worth a repeat.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::sync::Mutex;
pub use tower::BoxError;

use crate::net::{self, Net, Outsider};
use crate::tasks::{OnError, Tasks};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// Who the server is cannot be found out.
    #[error("{0}")]
    Server(BoxError),
    #[error("{0}")]
    Net(#[from] net::Error),
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is longer than {0} bytes, or broke off")]
    Body(usize),
}

/// See the module.
pub struct Client {
    net: Arc<dyn Net>,
    tasks: Tasks,
    /// Away while a request is under way: one that was given up leaves none behind.
    up: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub fn new(net: Arc<dyn Net>, tasks: Tasks) -> Self {
        Self { net, tasks, up: Mutex::new(None) }
    }

    /// Sends `request`, its target a path, and reads the answer, of `max` bytes at most. `to` is
    /// looked up only if there is no connection.
    ///
    /// # Errors
    /// No connection, or one that broke: whether the server did it is not known then.
    pub async fn ask(
        &self,
        to: impl Fn() -> Result<Outsider, BoxError>,
        request: Request<Full<Bytes>>,
        max: usize,
    ) -> Result<Response<Bytes>, Error> {
        let mut slot = self.up.lock().await;
        let mut request = request;
        if let Some(mut up) = slot.take().filter(|up| !up.is_closed()) {
            match up.try_send_request(request).await {
                Ok(answer) => return Self::whole(answer, max, up, &mut slot).await,
                // Given back unsent: the server had hung up.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut up = self.dial(&to().map_err(Error::Server)?).await?;
        let answer = up.send_request(request).await?;
        Self::whole(answer, max, up, &mut slot).await
    }

    async fn whole(
        answer: Response<hyper::body::Incoming>,
        max: usize,
        up: SendRequest<Full<Bytes>>,
        slot: &mut Option<SendRequest<Full<Bytes>>>,
    ) -> Result<Response<Bytes>, Error> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, max).collect().await.map_err(|_| Error::Body(max))?;
        *slot = Some(up);
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn dial(&self, to: &Outsider) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = self.net.reach(to).await?;
        let (up, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let stop = self.tasks.stop_token();
        self.tasks.spawn("outside-connection", OnError::Log, async move {
            // What breaks it is told to whoever waits for an answer.
            let _ = stop.run_until_cancelled(connection).await;
        });
        Ok(up)
    }
}
