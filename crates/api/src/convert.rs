//! From wire messages to checked values, and back.
//!
//! A wire type stops here: `TryFrom<pb::X> for X` finds everything that is wrong with a request at
//! once and names each field. Card numbers are looked for first, in every string of the message,
//! and what was found is not echoed.

pub mod class;
pub mod customer;
pub mod id;
pub mod inventory;
pub mod money;
pub mod order;
pub mod page;
pub mod payment;
pub mod time;

use std::borrow::Cow;
use std::str::FromStr;

use hansa_types::country::{Country, UnknownCountry};
use hansa_types::id::{BadId, RequestId};
use hansa_types::limits::TEXT_BYTES_MAX;
use hansa_types::money::MoneyError;
use hansa_types::pan::looks_like_card;

use crate::classes::Texts;
use crate::status::{Failure, Reason, Violation};

/// Collects what is wrong with a request, so that the caller learns it all at once.
#[derive(Debug, Default)]
pub struct Checks {
    violations: Vec<Violation>,
}

/// More violations than anyone reads; a message of 1,000 bad lines is not answered in full.
const VIOLATIONS_MAX: usize = 20;

impl Checks {
    /// Begins with the card numbers, which end the matter.
    ///
    /// # Errors
    /// `PAN_REFUSED` with the field's path.
    pub fn begin(message: &impl Texts) -> Result<Self, Failure> {
        refuse_cards(message)?;
        Ok(Self::default())
    }

    /// Notes a violation.
    pub fn refuse(
        &mut self,
        reason: Reason,
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) {
        if self.violations.len() < VIOLATIONS_MAX {
            let (field, description) = (field.into(), description.into());
            self.violations.push(Violation { field, reason, description });
        }
    }

    /// A field that must be there and parse.
    pub fn required<T>(&mut self, field: impl Into<Cow<'static, str>>, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Blame,
    {
        self.take(field, text.parse())
    }

    /// A field that may be empty, or parses: the outer `None` is a violation.
    pub fn optional<T>(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        text: &str,
    ) -> Option<Option<T>>
    where
        T: FromStr,
        T::Err: Blame,
    {
        if text.is_empty() { Some(None) } else { self.required(field, text).map(Some) }
    }

    /// Free text, empty or not: bounded, without control characters.
    pub fn text(&mut self, field: impl Into<Cow<'static, str>>, text: &str) {
        if let Some((reason, why)) = text_fault(text) {
            self.refuse(reason, field, why);
        }
    }

    /// Free text that must say something.
    pub fn required_text(&mut self, field: &'static str, text: &str) {
        if text.trim().is_empty() {
            self.refuse(Reason::FieldEmpty, field, "required");
        } else {
            self.text(field, text);
        }
    }

    /// The idempotency key of a call that changes something.
    pub fn request_id(&mut self, text: &str) -> Option<RequestId> {
        if text.is_empty() {
            self.refuse(Reason::RequestIdMissing, "request_id", "required");
            return None;
        }
        self.required("request_id", text)
    }

    /// The value, or the violation it was refused for.
    pub fn take<T, E: Blame>(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(error.reason(), field, error.description());
                None
            }
        }
    }

    /// The checked value; it is there exactly when nothing was refused.
    ///
    /// # Errors
    /// All violations, the first giving the reason.
    pub fn done<T>(self, value: Option<T>) -> Result<T, Failure> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(Failure::fields(self.violations)),
        }
    }
}

/// An error of a plain value's parser, as a violation. None of them quotes its input.
pub trait Blame {
    fn reason(&self) -> Reason;
    fn description(&self) -> Cow<'static, str>;
}

impl Blame for BadId {
    fn reason(&self) -> Reason {
        match self {
            Self::Empty(_) => Reason::FieldEmpty,
            Self::TooLong(_) => Reason::FieldTooLong,
            Self::Grammar("order name" | "order id") => Reason::OrderNameInvalid,
            Self::RegionMismatch => Reason::OrderNameInvalid,
            Self::Grammar(_) => Reason::FieldInvalid,
        }
    }

    fn description(&self) -> Cow<'static, str> {
        self.to_string().into()
    }
}

impl Blame for MoneyError {
    fn reason(&self) -> Reason {
        match self {
            Self::UnknownCurrency => Reason::CurrencyUnknown,
            Self::CurrencyMismatch => Reason::CurrencyMixed,
            Self::SignMismatch | Self::NanosRange | Self::SubMinor | Self::Overflow => {
                Reason::MoneyInvalid
            }
        }
    }

    fn description(&self) -> Cow<'static, str> {
        self.to_string().into()
    }
}

impl Blame for UnknownCountry {
    fn reason(&self) -> Reason {
        Reason::CountryUnknown
    }

    fn description(&self) -> Cow<'static, str> {
        self.to_string().into()
    }
}

/// What is wrong with free text, `None` when nothing is.
fn text_fault(text: &str) -> Option<(Reason, Cow<'static, str>)> {
    if text.len() > TEXT_BYTES_MAX {
        Some((Reason::FieldTooLong, format!("at most {TEXT_BYTES_MAX} bytes").into()))
    } else if text.chars().any(char::is_control) {
        Some((Reason::FieldInvalid, "no control characters".into()))
    } else {
        None
    }
}

/// The residence that decides the home region.
fn residence(checks: &mut Checks, text: &str) -> Option<Country> {
    checks.required("residence_country", text)
}

/// Refuses a message that holds what looks like a card number in any string.
///
/// SKUs of up to 14 digits are let through (a GTIN can pass the Luhn check by chance), whatever is
/// in the form of a UUID too, and what we issued ourselves: order names, cursors, page tokens, the
/// pseudonyms of a receipt.
///
/// # Errors
/// `PAN_REFUSED` with the field's path and nothing of its content.
pub fn refuse_cards(message: &impl Texts) -> Result<(), Failure> {
    let bad = |field: &str, text: &str| match field {
        "order" | "name" if text.parse::<hansa_types::id::OrderName>().is_ok() => false,
        "page_token" | "cursor" => false,
        "subject" if is_pseudonym(text) => false,
        "sku" => text.chars().filter(char::is_ascii_digit).count() > 14 && looks_like_card(text),
        // What is mostly one is looked at as one first.
        "request_id" | "customer_id" => !is_uuid(text) && looks_like_card(text),
        _ => looks_like_card(text) && !is_uuid(text),
    };
    message.find(&bad).map_err(|path| {
        Failure::field(Reason::PanRefused, path, "no payment card numbers; send a token")
    })
}

/// 8-4-4-4-12 hex digits, of which the random digits may look like anything.
fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|c| c == b'-' || c.is_ascii_hexdigit())
}

/// 32 hex digits, of which some may look like anything.
pub(crate) fn is_pseudonym(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
