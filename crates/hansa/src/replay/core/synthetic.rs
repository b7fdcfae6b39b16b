//! The made-up part of the replay, and the only file where something is made up.
//!
//! The published data has almost no customers outside Europe and no personal field. So that every
//! region carries load and residency can be tested, a share of the UK buyers is moved, and each
//! buyer gets a name, an e-mail and an address that name nobody. All of it is a pure function of
//! the seed and the customer (the invoice, for a guest), and reports label it synthetic.

use super::action::Buyer;

/// Shares in per mille, so that the whole mapping has one seed and no float.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shares {
    pub seed: u64,
    /// UK buyers moved to [`HOMES`].
    pub rehomed: u16,
    /// Orders whose card the sandbox declines.
    pub declined: u16,
    /// Confirmed orders that are cancelled instead of shipped.
    pub cancelled: u16,
    /// SKUs (ordered more than once in a region) that start with less stock than is asked for.
    pub scarce: u16,
}

impl Default for Shares {
    fn default() -> Self {
        Self { seed: 1, rehomed: 400, declined: 15, cancelled: 15, scarce: 6 }
    }
}

/// Where moved buyers live, and the currency of their invoices. The number of minor units is kept
/// as it is: no exchange rate is claimed.
const HOMES: [(&str, &str); 4] = [("US", "USD"), ("CA", "CAD"), ("JP", "JPY"), ("AU", "AUD")];

/// A draw from 0 to 999, the same for the same seed and parts.
#[must_use]
pub fn draw(seed: u64, what: &str, subject: &str) -> u16 {
    (word(seed, what, subject) % 1_000) as u16
}

fn word(seed: u64, what: &str, subject: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("hansa replay 2026 synthetic");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(what.len() as u64).to_le_bytes());
    hasher.update(what.as_bytes());
    hasher.update(subject.as_bytes());
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Country and currency of a UK buyer after the move; `None` for one who stays.
///
/// By customer, not by invoice: a return must find the purchase it belongs to.
#[must_use]
pub fn moved(shares: &Shares, subject: &str) -> Option<(&'static str, &'static str)> {
    let stays = draw(shares.seed, "rehome", subject) >= shares.rehomed;
    let home = word(shares.seed, "home", subject) as usize % HOMES.len();
    (!stays).then_some(HOMES[home])
}

/// A person who does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub email: String,
    pub phone: String,
    pub street: String,
    pub city: String,
    pub postal_code: String,
}

const GIVEN: [&str; 16] = [
    "Ada", "Bela", "Carmen", "Dario", "Edda", "Femke", "Goran", "Hanna", "Ivo", "Jonna", "Kaito",
    "Liv", "Marek", "Noor", "Oskar", "Pia",
];
const FAMILY: [&str; 16] = [
    "Sample",
    "Fiktiv",
    "Modelo",
    "Exemple",
    "Beispiel",
    "Prova",
    "Mallo",
    "Naytos",
    "Muster",
    "Voorbeeld",
    "Eksempel",
    "Priklad",
    "Minta",
    "Exempel",
    "Mihon",
    "Probe",
];

/// The person behind a buyer; `invoice` tells guests apart.
#[must_use]
pub fn person(seed: u64, buyer: &Buyer, invoice: &str) -> Person {
    let subject = match &buyer.customer {
        Some(customer) => format!("{customer}.{}", buyer.country),
        None => format!("guest-{invoice}"),
    };
    let word = word(seed, "person", &subject);
    let pick = |names: [&'static str; 16], shift: u32| names[(word >> shift) as usize % 16];
    let (given, family) = (pick(GIVEN, 0), pick(FAMILY, 8));
    let country = buyer.country;
    Person {
        name: format!("{given} {family} {subject}"),
        // RFC 2606: no mail can ever arrive under `.example`.
        email: format!("{given}.{family}.{subject}@customers.example").to_ascii_lowercase(),
        // Too short to be anyone's number, in the block that fiction uses.
        phone: format!("+0 555 {:04}", (word >> 16) % 10_000),
        street: format!("{} Synthetic Street", 1 + (word >> 32) % 200),
        city: format!("Sampletown {country}"),
        postal_code: format!("X{:05}", (word >> 40) % 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_moves_once_and_for_all() {
        let shares = Shares::default();
        let moves: Vec<_> = (12_000..13_000).map(|id| moved(&shares, &id.to_string())).collect();
        let again: Vec<_> = (12_000..13_000).map(|id| moved(&shares, &id.to_string())).collect();
        assert_eq!(moves, again);
        let moved = moves.iter().flatten().count();
        assert!((350..450).contains(&moved), "{moved} of 1000 moved, asked for 400 per mille");
        for home in HOMES {
            assert!(moves.contains(&Some(home)), "nobody moved to {home:?}");
        }
    }

    #[test]
    fn nobody_is_made_up_who_could_be_reached() {
        let buyer = Buyer { customer: Some("17850".into()), country: "GB" };
        let person = person(1, &buyer, "536365");
        assert!(person.email.ends_with(".example"), "{}", person.email);
        assert!(person.name.contains("17850"), "told apart by their id: {}", person.name);
    }

    #[test]
    fn two_guests_are_two_people() {
        let guest = Buyer { customer: None, country: "GB" };
        assert_ne!(person(1, &guest, "536544").email, person(1, &guest, "536592").email);
    }
}
