//! The key of a request: its scope, and the fingerprint of its body.

use hansa_types::id::{CustomerId, OrderId, RequestId};
use hansa_types::region::{RegionNumber, Slot};
use prost::Message;

use crate::core::keys::{Key, Scope};
use crate::vault::Vault;

/// What tells one request id from the same id elsewhere.
pub struct ScopeOf<'a> {
    pub caller: &'a str,
    pub method: &'static str,
    pub home: RegionNumber,
    pub slot: Slot,
    pub whose: Whose<'a>,
    pub request: &'a RequestId,
}

/// Another customer, or another order, is another key.
pub enum Whose<'a> {
    Customer(Option<&'a CustomerId>),
    Order(OrderId),
}

impl ScopeOf<'_> {
    /// The scope as one number: a hash, so that the log need not hold the parts again.
    pub fn scope(&self) -> Scope {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.caller.as_bytes());
        part(self.method.as_bytes());
        part(&self.home.get().to_le_bytes());
        part(&self.slot.get().to_le_bytes());
        match self.whose {
            Whose::Customer(None) => part(b"guest"),
            Whose::Customer(Some(customer)) => {
                part(b"customer");
                part(customer.as_str().as_bytes());
            }
            Whose::Order(order) => {
                part(b"order");
                part(&order.to_bytes());
            }
        }
        part(self.request.as_str().as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Scope(u128::from_be_bytes(first))
    }

    /// The key of a request with this body.
    pub fn key(&self, vault: &dyn Vault, body: &impl Message) -> Key {
        let body = vault.fingerprint(self.method, &body.encode_to_vec());
        Key { scope: self.scope(), body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_scope_makes_another_key() {
        let region = RegionNumber::try_from(1).unwrap();
        let (a, b): (CustomerId, CustomerId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let request: RequestId = "r".parse().unwrap();
        let scope = |caller, method, customer| {
            let (whose, slot) = (Whose::Customer(customer), Slot::of(b"s"));
            ScopeOf { caller, method, home: region, slot, whose, request: &request }.scope()
        };
        let all = [
            scope("shop", "PlaceOrder", Some(&a)),
            scope("shop", "PlaceOrder", Some(&b)),
            scope("shop", "PlaceOrder", None),
            scope("shop", "CancelOrder", Some(&a)),
            scope("desk", "PlaceOrder", Some(&a)),
        ];
        for (n, scope) in all.iter().enumerate() {
            assert!(!all[..n].contains(scope));
        }
    }
}
