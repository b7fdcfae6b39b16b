//! Where one record is: on disk, or still waiting to be written.

/// A record's place on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub segment: u32,
    pub offset: u32,
    /// Bytes of the whole record.
    pub len: u32,
}

/// Twelve bytes that hold a [`Place`], a ticket, or nothing: segment 0 does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32, u32, u32);

impl Slot {
    /// No record.
    pub const HOLE: Self = Self(0, 0, 0);

    /// A record that is queued under `ticket`, which is never 0.
    pub fn waiting(ticket: u64) -> Self {
        assert!(ticket > 0, "tickets begin at 1");
        Self(0, (ticket >> 32) as u32, ticket as u32)
    }

    pub fn at(place: Place) -> Self {
        assert!(place.segment > 0, "segments begin at 1");
        Self(place.segment, place.offset, place.len)
    }

    /// The place, once the record is written.
    pub fn place(self) -> Option<Place> {
        let Self(segment, offset, len) = self;
        (segment > 0).then_some(Place { segment, offset, len })
    }

    pub fn is_hole(self) -> bool {
        self == Self::HOLE
    }
}
