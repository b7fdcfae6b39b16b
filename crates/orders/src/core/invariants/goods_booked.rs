//! 2. What came back is what left: no line returns more than was shipped of it.
//!
//! Nor do a region's books take back as their own more than those had shipped.

use std::collections::BTreeSet;

use crate::core::contents::Contents;
use crate::core::order::{Done, Movement, Order};

pub fn check(order: &Order, _contents: &Contents) -> Result<(), String> {
    let back = || order.returns.iter().filter(|of| of.state.counts());
    let all = |place| back().map(|of: &Movement| of.units(place)).sum::<u32>();
    let places: BTreeSet<u16> = back().flat_map(|of| &of.lines).map(|(place, _)| *place).collect();
    for place in places {
        let shipped = order.shipments.iter().filter(|of| of.state == Done::Done);
        let shipped: u32 = shipped.map(|of| of.units(place)).sum();
        if all(place) > shipped {
            return Err(format!("line {place}: {} of {shipped} units came back", all(place)));
        }
        let books: BTreeSet<_> = back().filter_map(|of| of.booked).collect();
        for region in books {
            let booked = back().filter(|of| of.booked == Some(region));
            let own: u32 = booked.map(|of| of.own_units(place)).sum();
            let shipped = order.shipped_by(region, place);
            if own > shipped {
                return Err(format!("line {place}: {own} of {shipped} units of region {region}"));
            }
        }
    }
    Ok(())
}
