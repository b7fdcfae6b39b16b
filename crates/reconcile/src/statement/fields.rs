//! One line of a statement.

use hansa_types::money::Currency;
use hansa_types::pan::looks_like_card;

use super::mapping::{Columns, Mapping, Sign, Times, Unit};

/// Columns of a statement as the sandbox writes it.
pub const HEADER: [&str; 6] = ["key", "kind", "amount", "currency", "time", "reference"];

const FIELD_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Auth,
    Capture,
    Refund,
    Void,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub key: String,
    pub kind: Kind,
    pub amount_minor: i64,
    pub currency: String,
    pub time_ms: u64,
    pub reference: String,
}

/// The line of a record; `None` for a kind that is passed over on purpose.
pub fn parse(
    record: &csv::StringRecord,
    columns: &Columns,
    mapping: &Mapping,
) -> Result<Option<Line>, String> {
    for (n, field) in record.iter().enumerate() {
        if field.len() > FIELD_BYTES_MAX {
            return Err(format!("field {}: longer than {FIELD_BYTES_MAX} bytes", n + 1));
        }
        if field.chars().any(char::is_control) {
            return Err(format!("field {}: a control character", n + 1));
        }
        // Ids of ours have a grammar of their own, and long numbers in them mean nothing.
        let key = field.strip_prefix(mapping.key_prefix.as_str()).unwrap_or(field);
        let ours = (n == columns.key && super::order_of(key).is_some())
            || (n == columns.reference && mapping.ours(field));
        if !ours && looks_like_card(field) {
            return Err(format!("field {}: could be a card number", n + 1));
        }
    }
    let get = |n: usize| record.get(n).unwrap_or_default();
    let word = get(columns.kind);
    let kind = mapping.kind(word).ok_or_else(|| format!("`{}` is no kind", shown(word)))?;
    let Some(kind) = kind else { return Ok(None) };
    let key = get(columns.key);
    let key = key.strip_prefix(mapping.key_prefix.as_str()).ok_or("the key lacks its prefix")?;
    if key.is_empty() {
        return Err("no key".to_owned());
    }
    let text = get(columns.currency);
    let currency: Currency =
        text.parse().map_err(|_| format!("`{}` is not an ISO 4217 currency", shown(text)))?;
    let amount_minor = amount(get(columns.amount), currency, kind, mapping)?;
    let time_ms = time(get(columns.time), mapping.time)?;
    let (key, reference) = (key.to_owned(), get(columns.reference).to_owned());
    let currency = currency.to_string();
    Ok(Some(Line { key, kind, amount_minor, currency, time_ms, reference }))
}

/// A short word of the line, for its message.
fn shown(text: &str) -> String {
    text.chars().take(16).collect()
}

fn amount(text: &str, currency: Currency, kind: Kind, mapping: &Mapping) -> Result<i64, String> {
    let wrong = || "the amount is not one".to_owned();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if negative && (mapping.sign == Sign::Plain || !matches!(kind, Kind::Refund | Kind::Void)) {
        return Err("a negative amount".to_owned());
    }
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let width = match mapping.unit {
        Unit::Minor => 0,
        Unit::Major => currency.exponent() as usize,
    };
    let (whole, part) = match digits.split_once(mapping.decimal) {
        Some((whole, part)) if mapping.unit == Unit::Major && !part.is_empty() => (whole, part),
        Some(_) => return Err(wrong()),
        None => (digits, ""),
    };
    if whole.is_empty() || part.len() > width || !all_digits(whole) || !all_digits(part) {
        return Err(wrong());
    }
    let minor: i64 = format!("{whole}{part:0<width$}").parse().map_err(|_| wrong())?;
    match (minor, kind) {
        // What is voided may be said without its amount.
        (0, Kind::Auth | Kind::Capture | Kind::Refund) => Err("an amount of nothing".to_owned()),
        _ => Ok(minor),
    }
}

fn time(text: &str, times: Times) -> Result<u64, String> {
    let wrong = || "the time is not one".to_owned();
    let ms = match times {
        Times::Rfc3339 => {
            let time: prost_types::Timestamp = text.parse().map_err(|_| wrong())?;
            let ms = time.seconds.checked_mul(1_000).ok_or_else(wrong)?;
            u64::try_from(ms + i64::from(time.nanos) / 1_000_000).map_err(|_| wrong())?
        }
        Times::UnixMs => text.parse().map_err(|_| wrong())?,
        Times::UnixS => {
            text.parse::<u64>().ok().and_then(|s| s.checked_mul(1_000)).ok_or_else(wrong)?
        }
    };
    // Before 2000 or after 9999 it is a column of something else.
    match (946_684_800_000..253_402_300_800_000).contains(&ms) {
        true => Ok(ms),
        false => Err("the time lies out of reach".to_owned()),
    }
}
