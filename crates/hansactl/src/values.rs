//! Values between the command line, the wire and the table.

use hansa_api::pb;
use hansa_types::money::{Currency, Money};

use crate::error::Problem;

/// A new request id, said on stderr so that an interrupted command can be repeated safely.
pub fn request_id(given: Option<String>) -> String {
    given.unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().to_string();
        eprintln!("request id {id}");
        id
    })
}

/// Decimal text (`2.55`) to an amount on the wire.
pub fn money(text: &str, currency: &str) -> Result<pb::Money, Problem> {
    let wrong =
        |why: String| Problem::usage(why, "write amounts like 2.55 and currencies like GBP");
    let code: Currency =
        currency.parse().map_err(|_| wrong(format!("`{currency}` is not an ISO 4217 currency")))?;
    let minor = minor(text, code.exponent())
        .ok_or_else(|| wrong(format!("`{text}` is not an amount of {currency}")))?;
    let (units, nanos) = Money::new(minor, code).to_units_nanos();
    Ok(pb::Money { currency_code: currency.to_owned(), units, nanos })
}

fn minor(text: &str, exponent: u32) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = |s: &str| s.bytes().all(|byte| byte.is_ascii_digit());
    let width = exponent as usize;
    if whole.is_empty() || part.len() > width || !digits(whole) || !digits(part) {
        return None;
    }
    let minor: i64 = format!("{whole}{part:0<width$}").parse().ok()?;
    Some(if negative { -minor } else { minor })
}

/// An amount of the wire as people write it.
pub fn amount(money: Option<&pb::Money>) -> String {
    let Some(money) = money else { return "-".to_owned() };
    let exponent = money.currency_code.parse::<Currency>().map_or(2, Currency::exponent);
    let sign = if money.units < 0 || money.nanos < 0 { "-" } else { "" };
    let (units, nanos) = (money.units.unsigned_abs(), money.nanos.unsigned_abs());
    let code = &money.currency_code;
    if exponent == 0 {
        return format!("{sign}{units} {code}");
    }
    let part = nanos / 10u32.pow(9u32.saturating_sub(exponent));
    format!("{sign}{units}.{part:0width$} {code}", width = exponent as usize)
}

/// A time of the wire in UTC.
pub fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// The same of milliseconds since 1970; `-` for none.
pub fn time_ms(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    let time = prost_types::Timestamp { seconds, nanos: 0 };
    self::time((ms > 0).then_some(&time))
}

/// `ORDER_STATE_CONFIRMED` as `CONFIRMED`.
pub fn short(name: &'static str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// Empty text as a dash, so that a column is never skipped.
pub fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_minor_units() {
        for (text, currency, shown) in [
            ("2.55", "GBP", "2.55 GBP"),
            ("2.5", "GBP", "2.50 GBP"),
            ("-0.05", "EUR", "-0.05 EUR"),
            ("255", "JPY", "255 JPY"),
        ] {
            let money = money(text, currency).expect(text);
            assert_eq!(amount(Some(&money)), shown);
        }
    }

    #[test]
    fn amounts_are_never_rounded() {
        for (text, currency) in [("2.555", "GBP"), ("1.5", "JPY"), ("", "GBP"), ("1", "XXY")] {
            assert!(money(text, currency).is_err(), "{text} {currency}");
        }
    }
}
