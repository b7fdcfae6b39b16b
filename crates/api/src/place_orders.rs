//! `PlaceOrders` as a gateway sees it: the orders and their answers stay the bytes they are.
//!
//! A gateway reads the routing fields of each order and nothing else, so it must not decode what
//! lies around them either. A message is taken apart order by order, as there is room for them:
//! what its sender wrote into it never becomes more bytes than it was.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};

use crate::codec::Write;
use crate::pb::node::taken_order::Result as Taken;
use crate::pb::node::{TakeOrdersResponse, TakenOrder};
use crate::routing::wire::{self, Malformed, Value};
use crate::status::{Failure, Reason, encoded};

/// One order of a `PlaceOrdersRequest`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub tag: u64,
    /// A `PlaceOrderRequest`.
    pub order: Bytes,
    pub timeout_ms: u32,
    pub first_sent_ms: u64,
}

/// The orders of one `PlaceOrdersRequest` that were not taken yet.
#[derive(Default)]
pub struct Orders(Bytes);

impl Orders {
    pub fn of(message: Bytes) -> Self {
        Self(message)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next order, `None` when all were taken.
    ///
    /// # Errors
    /// `MESSAGE_MALFORMED`; there is nothing to be had after that.
    pub fn take(&mut self) -> Result<Option<Asked>, Failure> {
        let whole = self.0.clone();
        let mut rest = &whole[..];
        let found = loop {
            match wire::next(&mut rest).map_err(malformed)? {
                Some(field) if field.tag == 6 => match field.value {
                    Value::Bytes(order) => break Some(asked(&whole, order).map_err(malformed)?),
                    Value::Varint(_) | Value::Fixed => return Err(malformed(Malformed)),
                },
                Some(_unknown) => {}
                None => break None,
            }
        };
        self.0.advance(whole.len() - rest.len());
        Ok(found)
    }
}

fn asked(whole: &Bytes, mut message: &[u8]) -> Result<Asked, Malformed> {
    let mut asked = Asked::default();
    while let Some(field) = wire::next(&mut message)? {
        match (field.tag, field.value) {
            (1, Value::Varint(tag)) => asked.tag = tag,
            (2, Value::Bytes(order)) => asked.order = whole.slice_ref(order),
            // As everywhere in Protobuf: what does not fit loses its upper bits.
            (3, Value::Varint(timeout_ms)) => asked.timeout_ms = timeout_ms as u32,
            (4, Value::Varint(first_sent_ms)) => asked.first_sent_ms = first_sent_ms,
            (1..=4, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(asked)
}

fn malformed(_: Malformed) -> Failure {
    Failure::of(Reason::MessageMalformed)
}

/// A `PlaceOrdersResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Answers {
    #[prost(message, repeated, tag = "1")]
    pub answers: Vec<Answer>,
    #[prost(uint64, optional, tag = "2")]
    pub taken: Option<u64>,
}

/// An `OrderAnswer`: one of both is there.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(uint64, tag = "1")]
    pub tag: u64,
    /// A `PlaceOrderResponse`.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub placed: Option<Bytes>,
    /// A `google.rpc.Status`.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub refused: Option<Bytes>,
}

impl Answer {
    pub fn new(tag: u64, result: Result<Bytes, Status>) -> Self {
        match result {
            Ok(placed) => Self { tag, placed: Some(placed), refused: None },
            Err(status) => Self { tag, placed: None, refused: Some(encoded(&status)) },
        }
    }

    /// Bytes of it, about.
    pub fn size(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.placed) + bytes(&self.refused)
    }
}

/// What a group's leader answers differs in its name only.
impl From<Answers> for TakeOrdersResponse {
    fn from(said: Answers) -> Self {
        let order = |Answer { tag, placed, refused }: Answer| TakenOrder {
            tag,
            result: placed.map(Taken::Placed).or(refused.map(Taken::Refused)),
        };
        Self { orders: said.answers.into_iter().map(order).collect(), taken: said.taken }
    }
}

/// Leaves what comes in as it is, and encodes `T`.
pub struct Opaque<T>(PhantomData<T>);

impl<T> Default for Opaque<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static> Codec for Opaque<T> {
    type Encode = T;
    type Decode = Bytes;
    type Encoder = Write<T>;
    type Decoder = Whole;

    fn encoder(&mut self) -> Write<T> {
        Write::default()
    }

    fn decoder(&mut self) -> Whole {
        Whole
    }
}

/// A message as the bytes it is.
#[derive(Debug)]
pub struct Whole;

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

#[cfg(test)]
mod tests;
