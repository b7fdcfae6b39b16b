//! Protobuf on the wire, with our own status for bytes that cannot be read.
//!
//! tonic's codec answers INTERNAL to a request that is not valid Protobuf or UTF-8; that is the
//! caller's fault, so ours answers `MESSAGE_MALFORMED`. It is also where sizes are known exactly.

use std::marker::PhantomData;

use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::status::{Failure, Reason};

/// Encodes `T`, decodes `U`; named by the generated clients and servers.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Write<T>;
    type Decoder = Read<U>;

    fn encoder(&mut self) -> Write<T> {
        Write(PhantomData)
    }

    fn decoder(&mut self) -> Read<U> {
        Read(PhantomData)
    }
}

#[derive(Debug)]
pub struct Write<T>(PhantomData<T>);

impl<T> Default for Write<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message> Encoder for Write<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // The buffer grows, so the only error that prost knows cannot come; it is ours if it does.
        item.encode(buf).map_err(|_| Reason::Internal.into())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

#[derive(Debug)]
pub struct Read<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for Read<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buf).map(Some).map_err(|_| unreadable::<U>().into())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// A request is the caller's fault, a response the server's.
fn unreadable<U: Name>() -> Failure {
    match U::NAME.ends_with("Request") {
        true => Failure::of(Reason::MessageMalformed),
        false => Failure::new(Reason::Internal, "the response cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use tonic::{Request, Response};

    use super::*;
    use crate::pb::order::{PlaceOrderRequest, PlaceOrderResponse};
    use crate::pb::raft::InstallSnapshotResponse;
    use crate::pb::region::region_service_server::{RegionService, RegionServiceServer};
    use crate::pb::region::{
        ExplainRouteRequest, ExplainRouteResponse, ListRegionsRequest, ListRegionsResponse,
    };

    struct Untouched;

    #[tonic::async_trait]
    impl RegionService for Untouched {
        async fn list_regions(
            &self,
            _request: Request<ListRegionsRequest>,
        ) -> Result<Response<ListRegionsResponse>, Status> {
            unreachable!("not called")
        }

        async fn explain_route(
            &self,
            _request: Request<ExplainRouteRequest>,
        ) -> Result<Response<ExplainRouteResponse>, Status> {
            unreachable!("a message that cannot be read reaches no service")
        }
    }

    /// Bytes where the service has a string.
    #[tokio::test]
    async fn text_that_is_not_utf8_is_refused_before_the_service() {
        let mut grpc = tonic::client::Grpc::new(RegionServiceServer::new(Untouched));
        let sent = InstallSnapshotResponse { body: vec![0xff, 0xfe].into() };
        let path = PathAndQuery::from_static("/hansa.region.v1.RegionService/ExplainRoute");
        let codec = Codec::<InstallSnapshotResponse, ExplainRouteResponse>::default();
        grpc.ready().await.unwrap();
        let status = grpc.unary(Request::new(sent), path, codec).await.unwrap_err();
        assert_eq!(Failure::from(status).reason(), Reason::MessageMalformed);
    }

    #[test]
    fn an_unreadable_request_is_the_callers_fault() {
        assert_eq!(unreadable::<PlaceOrderRequest>().reason(), Reason::MessageMalformed);
        assert_eq!(unreadable::<PlaceOrderResponse>().reason(), Reason::Internal);
    }
}
