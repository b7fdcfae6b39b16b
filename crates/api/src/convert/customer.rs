//! Requests about a customer: who he is, by his id or by the order that he placed as a guest.

use hansa_types::country::Country;
use hansa_types::id::{CustomerId, OrderName, RequestId};
use hansa_types::region::RegionName;

use super::Checks;
use crate::pb::customer as pb;
use crate::status::{Failure, Reason};

/// Erased keys of copies in one request: a customer has as many as he was erased times.
const COPIES_MAX: usize = 64;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Person {
    Customer(CustomerId),
    Guest(OrderName),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EraseCustomer {
    pub person: Person,
    pub residence: Option<Country>,
    /// Named by a caller who asks every region in turn: one that knows nothing is no failure.
    pub region: Option<RegionName>,
    pub request_id: RequestId,
    pub copies: Vec<CopyKey>,
}

/// A key as the customer's home names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyKey {
    pub home: RegionName,
    pub subject: u128,
    pub generation: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCustomer {
    pub person: Person,
    pub residence: Option<Country>,
    pub region: Option<RegionName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveAction {
    /// Only says where it stands.
    Tell,
    Move,
    /// Deletes what he left, before it is due.
    Finish,
    /// Calls off a move that is not decided.
    Cancel,
    /// Takes him back from a region that cannot be asked.
    Recall,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveCustomer {
    /// A customer: a guest has no second order to place elsewhere.
    pub person: Person,
    pub residence: Option<Country>,
    pub region: Option<RegionName>,
    pub request_id: RequestId,
    pub action: MoveAction,
    /// There for a move.
    pub to: Option<RegionName>,
    pub window_ms: Option<u64>,
    pub reason: String,
    pub ticket: String,
}

impl TryFrom<pb::MoveCustomerRequest> for MoveCustomer {
    type Error = Failure;
    fn try_from(request: pb::MoveCustomerRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let person = checks.required("customer_id", &request.customer_id).map(Person::Customer);
        let residence = checks.optional("residence_country", &request.residence_country);
        let region = checks.optional("region", &request.region);
        let id = checks.request_id(&request.request_id);
        let to = checks.optional("to", &request.to);
        let action = match request.action() {
            pb::MoveAction::Unspecified => MoveAction::Tell,
            pb::MoveAction::Move => MoveAction::Move,
            pb::MoveAction::Finish => MoveAction::Finish,
            pb::MoveAction::Cancel => MoveAction::Cancel,
            pb::MoveAction::Recall => MoveAction::Recall,
        };
        // Who and why stand in the chain for ever.
        if action != MoveAction::Tell {
            checks.required_text("reason", &request.reason);
            checks.required_text("ticket", &request.ticket);
        }
        if action == MoveAction::Move && request.to.is_empty() {
            checks.refuse(Reason::FieldEmpty, "to", "the region where he is to live");
        }
        let value = (|| {
            Some(Self {
                person: person?,
                residence: residence?,
                region: region?,
                request_id: id?,
                action,
                to: to?,
                window_ms: Some(request.window_ms).filter(|ms| *ms > 0),
                reason: request.reason,
                ticket: request.ticket,
            })
        })();
        checks.done(value)
    }
}

impl TryFrom<pb::EraseCustomerRequest> for EraseCustomer {
    type Error = Failure;
    fn try_from(request: pb::EraseCustomerRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let person = person(&mut checks, &request.customer_id, &request.order);
        let residence = checks.optional("residence_country", &request.residence_country);
        let region = checks.optional("region", &request.region);
        let id = checks.request_id(&request.request_id);
        if request.copies.len() > COPIES_MAX {
            checks.refuse(Reason::FieldTooLong, "copies", "at most 64");
        }
        let mut copies = Vec::new();
        for (n, copy) in request.copies.iter().take(COPIES_MAX).enumerate() {
            copies.extend(copy_key(&mut checks, n, copy));
        }
        let value = (|| {
            let (person, request_id) = (person?, id?);
            Some(Self { person, residence: residence?, region: region?, request_id, copies })
        })();
        checks.done(value)
    }
}

impl TryFrom<pb::ExportCustomerRequest> for ExportCustomer {
    type Error = Failure;
    fn try_from(request: pb::ExportCustomerRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let person = person(&mut checks, &request.customer_id, &request.order);
        let residence = checks.optional("residence_country", &request.residence_country);
        let region = checks.optional("region", &request.region);
        let value = (|| Some(Self { person: person?, residence: residence?, region: region? }))();
        checks.done(value)
    }
}

fn person(checks: &mut Checks, customer: &str, order: &str) -> Option<Person> {
    match (customer.is_empty(), order.is_empty()) {
        (false, true) => checks.required("customer_id", customer).map(Person::Customer),
        (true, false) => checks.required("order", order).map(Person::Guest),
        _ => {
            let why = "a customer, or the order of a guest";
            checks.refuse(Reason::FieldInvalid, "customer_id", why);
            None
        }
    }
}

fn copy_key(checks: &mut Checks, n: usize, copy: &pb::ErasedKey) -> Option<CopyKey> {
    let home = checks.required(format!("copies[{n}].home_region"), &copy.home_region);
    let whole = super::is_pseudonym(&copy.subject);
    let subject = u128::from_str_radix(&copy.subject, 16).ok().filter(|_| whole);
    if subject.is_none() {
        let why = "32 hex digits, as the receipt says";
        checks.refuse(Reason::FieldInvalid, format!("copies[{n}].subject"), why);
    }
    Some(CopyKey { home: home?, subject: subject?, generation: copy.generation })
}

#[cfg(test)]
mod tests {
    use hansa_types::pan::looks_like_card;

    use super::*;

    #[test]
    fn a_request_names_a_customer_or_a_guests_order_and_never_both() {
        let order = "regions/eu-west/orders/0190f5a1-7c00-8000-8000-000000000001";
        let ask = |customer: &str, order: &str| {
            ExportCustomer::try_from(pb::ExportCustomerRequest {
                customer_id: customer.into(),
                order: order.into(),
                ..Default::default()
            })
        };
        assert!(matches!(ask("c-1", "").unwrap().person, Person::Customer(_)));
        assert_eq!(ask("", "").unwrap_err().reason(), Reason::FieldInvalid);
        assert_eq!(ask("c-1", order).unwrap_err().reason(), Reason::FieldInvalid);
    }

    #[test]
    fn a_copy_is_named_in_full_or_refused() {
        let ask = |subject: &str| {
            EraseCustomer::try_from(pb::EraseCustomerRequest {
                customer_id: "c-1".into(),
                request_id: "r-1".into(),
                copies: vec![pb::ErasedKey {
                    home_region: "eu-west".into(),
                    subject: subject.into(),
                    generation: 1,
                }],
                ..Default::default()
            })
        };
        assert_eq!(ask(&"0f".repeat(16)).unwrap().copies[0].generation, 1);
        for bad in ["", "f", "+0000000000000000000000000000000", &"0".repeat(33)] {
            assert!(ask(bad).is_err(), "{bad}");
        }
        // One of seed 13759: a vault makes digits that look like a card.
        assert!(looks_like_card("57de0566552594633954627322ddb0c7"));
        assert_eq!(ask("57de0566552594633954627322ddb0c7").unwrap().copies.len(), 1);
        let card = ask("4111111111111111").unwrap_err();
        assert_eq!(card.reason(), Reason::PanRefused);
    }
}
