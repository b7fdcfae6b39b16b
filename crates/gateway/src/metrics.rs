//! What a gateway counts.
//!
//! | name | unit | help | labels |
//! |---|---|---|---|
//! | `hansa_gateway_calls_total` | calls | let in, orders of streams too, by where to | `to` |
//! | `hansa_gateway_refused_total` | calls | the same, refused at the door | `reason` |
//! | `hansa_gateway_streams` | streams | streams open: of events, of orders and others | |

use hansa_api::status::Reason;
use metrics::{counter, gauge};

pub fn let_in(to: &'static str) {
    counter!("hansa_gateway_calls_total", "to" => to).increment(1);
}

pub fn refused(reason: Reason) {
    counter!("hansa_gateway_refused_total", "reason" => reason.as_str()).increment(1);
}

pub fn streams(change: f64) {
    gauge!("hansa_gateway_streams").increment(change);
}
