//! The checked PlaceOrder request.

use hansa_types::country::Country;
use hansa_types::id::{CustomerId, RequestId, Sku};
use hansa_types::limits::{ID_BYTES_MAX, ORDER_LINES_MAX};
use hansa_types::money::Money;
use hansa_types::time::WallTime;

use super::{check_line_count, quantity};
use crate::classes::Private;
use crate::convert::{Checks, residence, text_fault};
use crate::pb::order as pb;
use crate::status::{Failure, Reason};

/// An order as it may be accepted: every field has its form, the lines add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceOrder {
    pub residence_country: Country,
    /// `None` for a guest.
    pub customer_id: Option<CustomerId>,
    pub request_id: RequestId,
    /// 1 to 1,000, in the order in which they were sent; repeated SKUs are kept.
    pub lines: Vec<Line>,
    /// Sum of the lines, zero or more, in their one currency.
    pub total: Money,
    /// Empty only when the total is zero.
    pub payment_token: Private<String>,
    pub personal: Option<Private<Personal>>,
    pub client_reference: String,
    pub placed: Option<WallTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub kind: LineKind,
    /// There for every stock line.
    pub sku: Option<Sku>,
    pub description: String,
    pub quantity: u32,
    pub unit_price: Money,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    Stock,
    Fee,
    Discount,
    NonStock,
}

/// As sent; each string within its bound.
pub type Personal = pb::PersonalDetails;

impl TryFrom<pb::PlaceOrderRequest> for PlaceOrder {
    type Error = Failure;
    fn try_from(request: pb::PlaceOrderRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let residence_country = residence(&mut checks, &request.residence_country);
        let customer_id = checks.optional("customer_id", &request.customer_id);
        let request_id = checks.request_id(&request.request_id);
        check_line_count(&mut checks, request.lines.len());
        let lines: Vec<Line> = request
            .lines
            .into_iter()
            .take(ORDER_LINES_MAX)
            .enumerate()
            .filter_map(|(n, line)| read_line(&mut checks, n, line))
            .collect();
        let total = total(&mut checks, &lines);
        check_token(&mut checks, &request.payment_token, total);
        if let Some(personal) = &request.personal {
            check_personal(&mut checks, personal);
        }
        checks.text("client_reference", &request.client_reference);
        let placed = checks.time("placed_time", request.placed_time.as_ref());
        let value = (|| {
            Some(Self {
                residence_country: residence_country?,
                customer_id: customer_id?,
                request_id: request_id?,
                lines,
                total: total?,
                payment_token: Private::new(request.payment_token),
                personal: request.personal.map(Private::new),
                client_reference: request.client_reference,
                placed,
            })
        })();
        checks.done(value)
    }
}

fn read_line(checks: &mut Checks, n: usize, line: pb::PlaceOrderLine) -> Option<Line> {
    // Paths are made only for what is wrong: an order of 1,000 good lines makes none.
    let path = |field: &str| format!("lines[{n}].{field}");
    let kind = match pb::LineKind::try_from(line.kind) {
        Ok(pb::LineKind::Stock) => Some(LineKind::Stock),
        Ok(pb::LineKind::Fee) => Some(LineKind::Fee),
        Ok(pb::LineKind::Discount) => Some(LineKind::Discount),
        Ok(pb::LineKind::NonStock) => Some(LineKind::NonStock),
        Ok(pb::LineKind::Unspecified) | Err(_) => {
            checks.refuse(Reason::LineInvalid, path("kind"), "one of LineKind");
            None
        }
    };
    let sku = match (kind, line.sku.as_str()) {
        (Some(LineKind::Fee | LineKind::Discount | LineKind::NonStock) | None, "") => Some(None),
        (_, text) => match text.parse() {
            Ok(sku) => Some(Some(sku)),
            Err(bad) => checks.take::<Option<Sku>, _>(path("sku"), Err(bad)),
        },
    };
    if let Some((reason, why)) = text_fault(&line.description) {
        checks.refuse(reason, path("description"), why);
    }
    let quantity = quantity(checks, n, line.quantity);
    let unit_price = unit_price(checks, n, kind, line.unit_price.as_ref());
    Some(Line {
        kind: kind?,
        sku: sku?,
        description: line.description,
        quantity: quantity?,
        unit_price: unit_price?,
    })
}

fn unit_price(
    checks: &mut Checks,
    n: usize,
    kind: Option<LineKind>,
    price: Option<&crate::pb::Money>,
) -> Option<Money> {
    let parsed = match price.map(Money::try_from) {
        Some(Ok(price)) => price,
        Some(Err(_)) | None => return checks.money(&format!("lines[{n}].unit_price"), price),
    };
    let wrong_sign = match kind {
        Some(LineKind::Discount) => parsed.minor > 0,
        Some(LineKind::Stock | LineKind::Fee | LineKind::NonStock) => parsed.minor < 0,
        None => false,
    };
    if wrong_sign {
        let field = format!("lines[{n}].unit_price");
        checks.refuse(Reason::MoneyInvalid, field, "not negative; not positive for a discount");
        return None;
    }
    Some(parsed)
}

/// The lines' sum, kept wide until it is known to fit.
fn total(checks: &mut Checks, lines: &[Line]) -> Option<Money> {
    let currency = lines.first()?.unit_price.currency;
    if let Some(n) = lines.iter().position(|line| line.unit_price.currency != currency) {
        let field = format!("lines[{n}].unit_price");
        checks.refuse(Reason::CurrencyMixed, field, "the currency of the first line");
        return None;
    }
    let amount = |line: &Line| i128::from(line.unit_price.minor) * i128::from(line.quantity);
    let sum: i128 = lines.iter().map(amount).sum();
    match i64::try_from(sum) {
        Ok(minor) if minor >= 0 => Some(Money::new(minor, currency)),
        Ok(_) => {
            checks.refuse(Reason::MoneyInvalid, "lines", "a total of zero or more");
            None
        }
        Err(_) => {
            checks.refuse(Reason::MoneyInvalid, "lines", "a total that fits 64-bit minor units");
            None
        }
    }
}

fn check_token(checks: &mut Checks, token: &str, total: Option<Money>) {
    let free = total.is_some_and(|total| total.minor == 0);
    if token.is_empty() && !free {
        checks.refuse(Reason::FieldEmpty, "payment_token", "required unless the total is zero");
    }
    let printable = token.bytes().all(|c| c.is_ascii_graphic());
    if token.len() > 2 * ID_BYTES_MAX {
        checks.refuse(Reason::FieldTooLong, "payment_token", "at most 128 bytes");
    } else if !printable {
        checks.refuse(Reason::FieldInvalid, "payment_token", "printable ASCII");
    }
}

/// A letter needs no more.
const ADDRESS_LINES_MAX: usize = 8;

fn check_personal(checks: &mut Checks, personal: &pb::PersonalDetails) {
    checks.text("personal.name", &personal.name);
    checks.text("personal.email", &personal.email);
    checks.text("personal.phone", &personal.phone);
    checks.text("personal.city", &personal.city);
    checks.text("personal.postal_code", &personal.postal_code);
    if personal.address_lines.len() > ADDRESS_LINES_MAX {
        let why = format!("at most {ADDRESS_LINES_MAX}");
        checks.refuse(Reason::FieldTooLong, "personal.address_lines", why);
    }
    for line in personal.address_lines.iter().take(ADDRESS_LINES_MAX) {
        checks.text("personal.address_lines", line);
    }
    let _: Option<Option<Country>> =
        checks.optional("personal.address_country", &personal.address_country);
}
