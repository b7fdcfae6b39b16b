//! Who an order's customer is, for whoever may see it: read from the sealed block, never from
//! state.

use hansa_api::pb::customer::PersonalBlock;
use hansa_api::pb::order as wire;
use hansa_api::principal::{Principal, Role};
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{CustomerId, OrderId, RequestId};
use prost::Message;
use zeroize::Zeroizing;

use super::keys::vault_failed;
use super::{Hosted, Shell};
use crate::core::contents::Sealed;
use crate::core::state::State;
use crate::core::subjects::{KeyOf, KeyState, SubjectId};
use crate::vault::VaultError;

/// Who may see name and address: whoever sells, ships or is asked about the order.
const SEES_PERSONAL: [Role; 3] = [Role::Storefront, Role::Warehouse, Role::Operator];

/// Whether the caller may see more of the customer than his id.
pub fn sees_details(principal: &Principal) -> bool {
    principal.require(&SEES_PERSONAL).is_ok()
}

/// What a sealed block said.
#[derive(Clone, Default)]
pub struct Shown {
    customer_id: String,
    details: Option<wire::PersonalDetails>,
    state: wire::PersonalState,
}

impl Shown {
    /// Completes an answer with it; the details only if the caller may see them.
    pub fn put(&self, order: &mut wire::Order, details: bool) {
        order.customer_id = self.customer_id.clone();
        order.personal = self.details.clone().filter(|_| details);
        order.personal_state = self.state.into();
    }
}

/// A block with what there is to open it.
struct Found {
    of: KeyOf,
    sealed: Option<Sealed>,
    key: KeyState,
    /// Why there is nothing to see without the key.
    gone: wire::PersonalState,
}

impl Found {
    /// The order's own block; or, where that opens no more or is another region's, the one that
    /// its customer brought along when he moved here.
    fn of(state: &State, id: OrderId) -> Option<Self> {
        let own = state.contents.get(&id).map(|contents| {
            let of = contents.sealed_with;
            let gone = match state.moves.is_gone(of) {
                true => wire::PersonalState::Moved,
                false => wire::PersonalState::Erased,
            };
            Self { of, sealed: contents.personal.clone(), key: state.subjects.key(of), gone }
        });
        let kept = state.moves.kept.get(&id).map(|kept| {
            let (of, sealed) = (kept.of, Some(kept.personal.clone()));
            Self { of, sealed, key: state.subjects.key(of), gone: wire::PersonalState::Erased }
        });
        let opens = |found: &Self| matches!(found.key, KeyState::Living(_));
        own.filter(|own| opens(own) || !kept.as_ref().is_some_and(opens)).or(kept)
    }
}

/// Opens the order's block as this replica knows it.
///
/// # Errors
/// `VAULT_UNAVAILABLE`; `INTERNAL` for a block that does not open with its own key.
pub async fn shown(shell: &Shell, hosted: &Hosted, id: OrderId) -> Result<Shown, Failure> {
    let Some(found) = hosted.group.peek(|machine| Found::of(&machine.state, id)) else {
        return Ok(Shown::default());
    };
    open(shell, id, found).await
}

/// The same, put into an answer.
///
/// # Errors
/// As [`shown`].
pub async fn reveal(
    shell: &Shell,
    hosted: &Hosted,
    id: OrderId,
    order: &mut wire::Order,
    details: bool,
) -> Result<(), Failure> {
    shown(shell, hosted, id).await?.put(order, details);
    Ok(())
}

async fn open(shell: &Shell, id: OrderId, found: Found) -> Result<Shown, Failure> {
    let erased = Shown { state: found.gone, ..Shown::default() };
    let wrapped = match found.key {
        KeyState::Living(wrapped) => wrapped,
        KeyState::Erased => return Ok(erased),
        KeyState::Unknown => return Ok(Shown::default()),
    };
    let Some(sealed) = found.sealed else { return Ok(Shown::default()) };
    let key = match shell.keyring.unwrap(found.of, &wrapped).await {
        Ok(key) => key,
        // A backup brought it back, and what would open it is gone; or it was erased just now.
        Err(VaultError::Destroyed(_) | VaultError::Erased) => return Ok(erased),
        Err(error) => return Err(vault_failed(&error)),
    };
    let plain = key.open(found.of, id, &sealed).map_err(|error| not_opened(id, &error))?;
    let block = PersonalBlock::decode(plain.as_slice());
    let block = block.map_err(|error| not_opened(id, &error))?;
    let PersonalBlock { customer_id, details } = block;
    Ok(Shown { customer_id, details, ..Shown::default() })
}

fn not_opened(order: OrderId, error: &dyn std::error::Error) -> Failure {
    tracing::error!(%error, %order, "personal block not opened");
    Failure::of(Reason::Internal)
}

/// The bytes of a block; `None` when there is nothing personal to say.
pub fn block(
    customer: Option<&CustomerId>,
    details: Option<&wire::PersonalDetails>,
) -> Option<Zeroizing<Vec<u8>>> {
    let customer_id = customer.map_or_else(String::new, ToString::to_string);
    if customer_id.is_empty() && details.is_none() {
        return None;
    }
    let block = PersonalBlock { customer_id, details: details.cloned() };
    Some(Zeroizing::new(block.encode_to_vec()))
}

/// The pseudonym of a customer.
///
/// # Errors
/// `VAULT_UNAVAILABLE`
pub fn customer(shell: &Shell, customer: &CustomerId) -> Result<SubjectId, Failure> {
    let hash = shell.vault.fingerprint("customer", customer.as_str().as_bytes());
    let hash = hash.map_err(|error| vault_failed(&error))?;
    Ok(SubjectId { home: shell.number, hash })
}

/// The pseudonym of whoever orders: of a customer by his id, of a guest by his one request.
///
/// # Errors
/// `VAULT_UNAVAILABLE`
pub fn subject(
    shell: &Shell,
    whose: Option<&CustomerId>,
    (caller, request): (&str, &RequestId),
) -> Result<SubjectId, Failure> {
    if let Some(whose) = whose {
        return customer(shell, whose);
    }
    // A caller's name has no zero byte.
    let guest = [caller.as_bytes(), &[0], request.as_str().as_bytes()].concat();
    let hash = shell.vault.fingerprint("guest", &guest).map_err(|error| vault_failed(&error))?;
    Ok(SubjectId { home: shell.number, hash })
}
