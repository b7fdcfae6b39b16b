//! What is published of an order.

use std::hash::{Hash, Hasher};

use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use crate::core::status::Face;

/// One published change of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub version: u64,
    pub seq: u64,
    pub at: LogTime,
    pub face: Face,
}

impl Hash for Change {
    /// One write: the state digest hashes the whole history of an order that changes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let face = &self.face;
        let flags = u64::from_le_bytes([
            face.order as u8,
            face.payment as u8,
            face.fulfillment as u8,
            u8::from(face.cancel_asked),
            face.refused.to_le_bytes()[0],
            face.refused.to_le_bytes()[1],
            face.asked.to_le_bytes()[0],
            face.asked.to_le_bytes()[1],
        ]);
        let money = [face.authorized_minor, face.captured_minor, face.refunded_minor];
        let [authorized, captured, refunded] = money.map(i64::cast_unsigned);
        let words = [
            self.version,
            self.seq,
            self.at.ms(),
            flags,
            authorized,
            captured,
            refunded,
            face.shipped,
            face.returned,
            u64::from(face.parked) | u64::from(face.settled) << 32,
        ];
        let mut bytes = [0; 80];
        for (word, place) in words.iter().zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        state.write(&bytes);
    }
}
