//! The key of a request: its scope, and the fingerprint of its body under its customer's data key.
//!
//! The key that counts is the one in the group's state, so the same body is the same request on
//! every leader and after every restart. Where a customer was erased, what is still asked about
//! his orders is fingerprinted with the vault's own key.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{OrderId, OrderName, RequestId};
use hansa_types::region::{RegionNumber, Slot};
use prost::Message;
use tokio::time::Instant;
use tonic::Request;

use super::{Hosted, Sent, Shell, caller, deadline, not_read, refusal};
use crate::core::command::Refused;
use crate::core::keys::{Key, Scope};
use crate::core::state::State;
use crate::core::subjects::{KeyOf, KeyState, SubjectId};
use crate::vault::VaultError;

/// When to ask again after the vault failed.
const RETRY: Duration = Duration::from_secs(1);

/// What tells one request id from the same id elsewhere.
pub struct ScopeOf<'a> {
    pub caller: &'a str,
    pub method: &'static str,
    pub home: RegionNumber,
    pub slot: Slot,
    pub whose: Whose,
    pub request: &'a RequestId,
}

/// Another customer, or another order, is another key.
pub enum Whose {
    Subject(SubjectId),
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
            Whose::Subject(subject) => {
                part(b"subject");
                part(&subject.home.get().to_le_bytes());
                part(&subject.hash.to_le_bytes());
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
}

/// A vault that failed, as a caller hears of it; the operator reads why.
pub fn vault_failed(error: &VaultError) -> Failure {
    tracing::error!(%error, "vault");
    Failure::of(Reason::VaultUnavailable).retry_after(RETRY)
}

/// What a known request's body was fingerprinted with: by another region that this one took over
/// from, or here, with the key that seals its order.
pub fn heard_under(state: &State, scope: Scope) -> Option<KeyOf> {
    let row = state.keys.table.get(&scope)?;
    row.under.or_else(|| Some(state.contents.get(&row.target.order)?.sealed_with))
}

/// Under the data key of the order's customer, or of what the request was heard under before;
/// under the vault's own once he is erased.
///
/// # Errors
/// `REQUEST_IN_DOUBT` for one that another region heard, under a key that is not here;
/// `HOME_MOVING` for an order that is taken over just now: who asks again adopts it.
pub async fn fingerprint(
    shell: &Shell,
    hosted: &Hosted,
    (id, scope): (OrderId, Scope),
    due: Instant,
    (method, body): (&'static str, &[u8]),
) -> Result<u128, Failure> {
    let look = |state: &State| {
        let heard = state.keys.table.get(&scope).and_then(|row| row.under);
        let of = heard_under(state, scope).or(Some(state.contents.get(&id)?.sealed_with))?;
        Some((of, state.subjects.key(of), heard.is_some()))
    };
    let (of, key, heard): (KeyOf, KeyState, bool) = match hosted.group.peek(|m| look(&m.state)) {
        Some(known) => known,
        // A leader that is new may not have applied what its predecessor answered.
        None => {
            let sure = |state: &State| look(state).ok_or_else(|| state.why_unknown(id));
            let known = hosted.group.read(due, |m| sure(&m.state)).await.map_err(not_read)?;
            known.map_err(refusal)?
        }
    };
    let print = match key {
        KeyState::Living(wrapped) => match shell.keyring.unwrap(of, &wrapped).await {
            // Since this replica looked.
            Err(VaultError::Erased) => shell.vault.fingerprint(method, body),
            key => key.map(|key| key.fingerprint(method, body)),
        },
        // Its key never came here: nobody can tell whether the body is the same.
        KeyState::Unknown if heard => return Err(refusal(Refused::InDoubt)),
        KeyState::Erased | KeyState::Unknown => shell.vault.fingerprint(method, body),
    };
    print.map_err(|error| vault_failed(&error))
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
pub async fn of_order<'a, P, C>(
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
    shell.adopt_first(hosted, id, due).await?;
    // The same wherever the order is: it keeps its birth region.
    let (home, slot, whose) = (id.region(), id.slot(), Whose::Order(id));
    let scope = ScopeOf { caller: &caller, method, home, slot, whose, request }.scope();
    let body = fingerprint(shell, hosted, (id, scope), due, (method, &body)).await?;
    let key = Key { scope, body };
    Ok(OfOrder { due, id, hosted, key, sent, asked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_scope_makes_another_key() {
        let region = RegionNumber::try_from(1).unwrap();
        let (a, b) = (SubjectId { home: region, hash: 1 }, SubjectId { home: region, hash: 2 });
        let request: RequestId = "r".parse().unwrap();
        let scope = |caller, method, customer| {
            let (whose, slot) = (Whose::Subject(customer), Slot::of(b"s"));
            ScopeOf { caller, method, home: region, slot, whose, request: &request }.scope()
        };
        let all = [
            scope("shop", "PlaceOrder", a),
            scope("shop", "PlaceOrder", b),
            scope("shop", "CancelOrder", a),
            scope("desk", "PlaceOrder", a),
        ];
        for (n, scope) in all.iter().enumerate() {
            assert!(!all[..n].contains(scope));
        }
    }
}
