//! The key of a request: its scope, and the fingerprint of its body.

use std::sync::Arc;

use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{CustomerId, OrderId, OrderName, RequestId};
use hansa_types::region::{RegionNumber, Slot};
use prost::Message;
use tokio::time::Instant;
use tonic::Request;

use super::{Hosted, Sent, Shell, caller, deadline};
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
    ///
    /// # Errors
    /// The vault has no key yet: nobody can tell a repeat from a new request.
    pub fn key(&self, vault: &dyn Vault, body: &[u8]) -> Result<Key, Failure> {
        Ok(Key { scope: self.scope(), body: fingerprint(vault, self.method, body)? })
    }
}

fn fingerprint(vault: &dyn Vault, method: &str, body: &[u8]) -> Result<u128, Failure> {
    vault.fingerprint(method, body).map_err(|error| {
        tracing::error!(%error, method, "request not fingerprinted");
        Failure::of(Reason::Unavailable)
    })
}

/// A keyed request about one order: checked, with the order's group and the request's key.
pub struct OfOrder<'a, C> {
    pub due: Instant,
    pub id: OrderId,
    pub hosted: &'a Arc<Hosted>,
    pub key: Key,
    pub sent: Sent,
    pub asked: C,
}

/// What every keyed verb about one order begins with. `names` says which order and request id the
/// checked form holds.
///
/// # Errors
/// No principal, a bad field, or a group that another node leads.
pub fn of_order<'a, P, C>(
    shell: &'a Shell,
    method: &'static str,
    request: Request<P>,
    names: impl FnOnce(&C) -> (&OrderName, &RequestId),
) -> Result<OfOrder<'a, C>, Failure>
where
    P: Message,
    C: TryFrom<P, Error = Failure>,
{
    let (due, sent) = (deadline(&request), Sent::of(&request));
    let caller = caller(Principal::of(&request)?);
    let request = request.into_inner();
    let body = request.encode_to_vec();
    let asked = C::try_from(request)?;
    let (order, request) = names(&asked);
    let (id, hosted) = shell.find(order)?;
    let (home, slot, whose) = (shell.number, id.slot(), Whose::Order(id));
    let scope = ScopeOf { caller: &caller, method, home, slot, whose, request };
    let key = scope.key(shell.vault.as_ref(), &body)?;
    Ok(OfOrder { due, id, hosted, key, sent, asked })
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
