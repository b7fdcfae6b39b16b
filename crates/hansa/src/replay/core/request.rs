//! Request ids: the same row of the same file has the same id on every run, so that a replay within
//! the dedup window changes nothing.

use uuid::Uuid;

/// What a request does; part of its id, so that two actions on one invoice never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Receive,
    Adjust,
    Place,
    Cancel,
    Ship,
    Return,
    Refund,
}

impl Verb {
    fn text(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Adjust => "adjust",
            Self::Place => "place",
            Self::Cancel => "cancel",
            Self::Ship => "ship",
            Self::Return => "return",
            Self::Refund => "refund",
        }
    }
}

/// A name-based UUID (version 8, BLAKE3) of run, verb, subject and line.
///
/// `run` tells two deliberate replays of one file apart; the subject is an invoice number or, for
/// the stock load, region, SKU and quantity. Parts are length-prefixed: `("1", "23")` is not
/// `("12", "3")`.
/// # Source
/// RFC 9562 §5.8.
#[must_use]
pub fn id(run: &str, verb: Verb, subject: &str, line: u32) -> Uuid {
    let mut hasher = blake3::Hasher::new_derive_key("hansa replay 2026 request id");
    for part in [run, verb.text(), subject] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&line.to_le_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The id under which a request is sent once nobody can know what became of `id`.
#[must_use]
pub fn instead(id: &str) -> Uuid {
    self::id("instead", Verb::Place, id, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_row_has_the_same_id_for_ever() {
        // Changing this makes every earlier replay a new one: it is a published format.
        let id = id("", Verb::Place, "536365", 0);
        assert_eq!(id.get_version_num(), 8);
        assert_eq!(id.to_string(), PLACE_536365);
    }

    const PLACE_536365: &str = "9117acdc-3832-8ec4-b076-f87a773d0728";

    #[test]
    fn invoice_verb_line_and_run_each_make_another_id() {
        let base = id("", Verb::Return, "C536379", 1);
        assert_ne!(base, id("", Verb::Return, "C536379", 2));
        assert_ne!(base, id("", Verb::Place, "C536379", 1));
        assert_ne!(base, id("", Verb::Return, "C536383", 1));
        assert_ne!(base, id("again", Verb::Return, "C536379", 1));
        assert_ne!(id("1", Verb::Ship, "23", 0), id("12", Verb::Ship, "3", 0));
    }
}
