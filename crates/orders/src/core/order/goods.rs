//! Which region's books have what left the house and came back (ADR 0016).
//!
//! An order that was taken over was shipped from the former owner's warehouses, as that one's books
//! have it. What comes back of it comes to the new owner's: from elsewhere, and not from what that
//! one has shipped for other orders.

use hansa_types::region::RegionNumber;

use super::{Done, Movement, Order};

impl Movement {
    /// Units of one line.
    pub fn units(&self, place: u16) -> u32 {
        units(&self.lines, place)
    }

    /// Units of one line that its own region's books had shipped.
    pub fn own_units(&self, place: u16) -> u32 {
        self.units(place).saturating_sub(units(&self.elsewhere, place))
    }
}

fn units(lines: &[(u16, u32)], place: u16) -> u32 {
    lines.iter().filter(|(line, _)| *line == place).map(|(_, units)| *units).sum()
}

/// Version 0: not told yet.
fn is_after(shown: u64, version: u64) -> bool {
    shown == 0 || shown > version
}

impl Order {
    /// Of what comes back to region `here`, line by line, the units that other books than its own
    /// had shipped. Its own come back first. `but`: a return that is not counted, for it is booked
    /// anew; any other is, whatever became of it.
    pub fn from_elsewhere(
        &self,
        here: RegionNumber,
        lines: &[(u16, u32)],
        but: Option<usize>,
    ) -> Vec<(u16, u32)> {
        let foreign = |(place, units): &(u16, u32)| {
            let back = self.returns.iter().enumerate().filter(|(n, _)| Some(*n) != but);
            let back = back.filter(|(_, of)| of.booked == Some(here));
            let back: u32 = back.map(|(_, of)| of.own_units(*place)).sum();
            let own = self.shipped_by(here, *place).saturating_sub(back);
            let foreign = units.saturating_sub(own);
            (foreign > 0).then_some((*place, foreign))
        };
        lines.iter().filter_map(foreign).collect()
    }

    /// Whether goods moved after a version, or are about to.
    pub fn goods_since(&self, version: u64) -> bool {
        let moved = self.shipments.iter().chain(&self.returns).filter(|of| of.state.counts());
        moved.map(|of| of.version).any(|shown| is_after(shown, version))
    }

    /// Whether money was given back after a version, or is about to be.
    pub fn repaid_since(&self, version: u64) -> bool {
        let repaid = self.refunds.iter().filter(|of| of.state.counts());
        repaid.map(|of| of.version).any(|shown| is_after(shown, version))
    }

    /// Units of a line that left by this region's books.
    pub fn shipped_by(&self, region: RegionNumber, place: u16) -> u32 {
        let booked = self.shipments.iter().filter(|of| of.booked == Some(region));
        booked.filter(|of| of.state == Done::Done).map(|of| of.units(place)).sum()
    }
}
