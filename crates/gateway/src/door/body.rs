//! Bodies as they pass through the door.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hansa_api::status::{Failure, Reason};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic::body::Body;

use crate::admit::Stream;
use crate::core::frame::{Bad, Gather};

/// The whole of a unary request's body: one frame.
///
/// The wait is bounded by the call's deadline, which the layer above enforces.
///
/// # Errors
/// What [`Bad`] names, with its reason; `CANCELLED` when the client goes away in the middle.
pub async fn gather(mut body: Body, message_bytes_max: usize) -> Result<Bytes, Failure> {
    let mut gather = Gather::new(message_bytes_max);
    while let Some(part) = body.frame().await {
        let part = part.map_err(|_| Failure::of(Reason::Cancelled))?;
        if let Ok(chunk) = part.into_data() {
            gather.push(chunk).map_err(refuse)?;
        }
    }
    gather.finish().map_err(refuse)
}

fn refuse(bad: Bad) -> Failure {
    let reason = match bad {
        Bad::Compressed => Reason::Unimplemented,
        Bad::TooLarge { .. } => Reason::MessageTooLarge,
        Bad::Flag | Bad::Trailing | Bad::Truncated => Reason::MessageMalformed,
    };
    Failure::new(reason, bad.to_string())
}

/// `body`, which keeps `open` until it ends or is dropped.
pub fn holding(body: Body, open: Stream) -> Body {
    Body::new(Holding { body, _open: open })
}

struct Holding {
    body: Body,
    _open: Stream,
}

impl http_body::Body for Holding {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
