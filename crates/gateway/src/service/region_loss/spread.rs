//! A record on its way to the regions that can be reached; the others hear of it at first contact.

use futures::future::join_all;
use hansa_node::layers::Deadline;
use hansa_region_router::forward::Upstreams;
use hansa_region_router::ownership::learn;

use super::super::Own;

/// Regions that were told, and those that could not be.
#[derive(Default)]
pub(super) struct Spread {
    pub told: Vec<String>,
    pub untold: Vec<String>,
}

pub(super) async fn run<U: Upstreams>(own: &Own<U>, due: Deadline) -> Spread {
    let Some(now) = own.book.now() else { return Spread::default() };
    let others = now.regions.iter().filter(|(number, _)| **number != now.here);
    let others: Vec<_> = others.map(|(_, region)| region.name.clone()).collect();
    let asked = others.iter().map(|other| learn(&own.upstreams, &own.book, other, due));
    let mut spread = Spread::default();
    for (region, answer) in others.iter().zip(join_all(asked).await) {
        match answer {
            Ok(()) => spread.told.push(region.to_string()),
            Err(failure) => spread.untold.push(format!("{region} ({failure})")),
        }
    }
    spread
}
