//! Pages of a listing (AIP-158).
//!
//! A token carries where each group's part of the listing stopped and a hash of the query, so a
//! token is of use for its own query only. It grants nothing: a forged one can but skip entries
//! of a listing that its holder may read anyway.

use hansa_types::id::GroupId;
use hansa_types::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::Checks;
use crate::status::{Failure, Reason};

/// The last key that a group has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub group: GroupId,
    pub key: Vec<u8>,
}

/// What page of a listing is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub size: usize,
    /// One position per group that has given any; empty for the first page.
    pub after: Vec<Position>,
    query: u64,
}

/// Positions of one token; more groups than a region will have of one kind.
const POSITIONS_MAX: usize = 256;
const KEY_BYTES_MAX: usize = 255;
const QUERY_BYTES: usize = 8;
const GROUP_BYTES: usize = 4;

impl Page {
    /// `query`: the request with page size and token cleared; all else must stay the same.
    pub(super) fn read(
        checks: &mut Checks,
        size: i32,
        token: &str,
        query: &impl Message,
    ) -> Option<Self> {
        let query = xxh3_64(&query.encode_to_vec());
        let Ok(wanted) = u32::try_from(size) else {
            checks.refuse(Reason::PageSizeInvalid, "page_size", "0 or more");
            return None;
        };
        let size = if wanted == 0 { PAGE_SIZE_DEFAULT } else { wanted.min(PAGE_SIZE_MAX) };
        match decode(token, query) {
            Some(after) => Some(Self { size: size as usize, after, query }),
            None => {
                let why = "the next_page_token of the same query";
                checks.refuse(Reason::PageTokenInvalid, "page_token", why);
                None
            }
        }
    }

    /// Where this page begins in a group.
    pub fn after(&self, group: GroupId) -> Option<&[u8]> {
        self.after.iter().find(|p| p.group == group).map(|p| p.key.as_slice())
    }

    /// The token of the page that follows: `positions` after this page, in any order.
    ///
    /// # Errors
    /// INTERNAL for keys over 255 bytes or positions over 256: no listing of ours has them.
    pub fn next(&self, positions: &[Position]) -> Result<String, Failure> {
        let fits = positions.len() <= POSITIONS_MAX
            && positions.iter().all(|p| p.key.len() <= KEY_BYTES_MAX);
        if !fits {
            return Err(Failure::of(Reason::Internal));
        }
        let mut bytes = self.query.to_be_bytes().to_vec();
        for position in positions {
            bytes.extend(position.group.number().to_be_bytes());
            bytes.push(position.key.len() as u8);
            bytes.extend(&position.key);
        }
        Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }
}

fn decode(token: &str, query: u64) -> Option<Vec<Position>> {
    if token.is_empty() {
        return Some(Vec::new());
    }
    let bytes = unhex(token)?;
    let (head, mut rest) = bytes.split_at_checked(QUERY_BYTES)?;
    if head != query.to_be_bytes() {
        return None;
    }
    let mut positions = Vec::new();
    while !rest.is_empty() && positions.len() < POSITIONS_MAX {
        let (group, tail) = rest.split_at_checked(GROUP_BYTES)?;
        let group = GroupId::from_number(u32::from_be_bytes(group.try_into().ok()?))?;
        let (&len, tail) = tail.split_first()?;
        let (key, tail) = tail.split_at_checked(usize::from(len))?;
        positions.push(Position { group, key: key.to_vec() });
        rest = tail;
    }
    rest.is_empty().then_some(positions)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests;
