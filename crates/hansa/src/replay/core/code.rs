//! What a stock code means: goods with stock behind them, or a priced line without (fees,
//! discounts, vouchers). Codes compare in upper case.

/// A stock code, read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Goods; the code in upper case is the SKU.
    Stock(String),
    /// A priced line with no stock account behind it.
    NonStock { code: String, kind: NonStock },
}

/// Why a line has a price and no stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NonStock {
    Postage,
    Discount,
    Voucher,
    /// Bank, marketplace and manual charges, samples, bad debt, and any code we do not know:
    /// an unknown code must not invent stock.
    Fee,
}

/// Goods whose code does not start with five digits: the shop's own lines of the same catalogue.
const GOODS_PREFIXES: [&str; 2] = ["DCGS", "PADS"];

/// Reads a code.
#[must_use]
pub fn read(code: &str) -> Code {
    let code = code.trim().to_ascii_uppercase();
    let kind = match code.as_str() {
        "POST" | "DOT" | "C2" | "C3" => NonStock::Postage,
        "D" => NonStock::Discount,
        other if other.starts_with("GIFT_") => NonStock::Voucher,
        other if is_goods(other) => return Code::Stock(code),
        _ => NonStock::Fee,
    };
    Code::NonStock { code, kind }
}

fn is_goods(code: &str) -> bool {
    let digits = code.bytes().take_while(u8::is_ascii_digit).count();
    let rest = code.bytes().skip(digits).all(|byte| byte.is_ascii_alphanumeric());
    (digits >= 5 && rest) || GOODS_PREFIXES.iter().any(|prefix| code.starts_with(prefix))
}

impl Code {
    /// The code as it is sent.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Stock(code) | Self::NonStock { code, .. } => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, expected: Result<&str, (&str, NonStock)>) {
        let expected = match expected {
            Ok(sku) => Code::Stock(sku.to_owned()),
            Err((code, kind)) => Code::NonStock { code: code.to_owned(), kind },
        };
        assert_eq!(read(code), expected, "{code}");
    }

    #[test]
    fn goods_compare_in_upper_case() {
        check("85123A", Ok("85123A"));
        check("15056bl", Ok("15056BL"));
        check("DCGS0076", Ok("DCGS0076"));
        check("47503J", Ok("47503J"));
    }

    #[test]
    fn fees_have_no_stock() {
        check("POST", Err(("POST", NonStock::Postage)));
        check("DOT", Err(("DOT", NonStock::Postage)));
        check("C2", Err(("C2", NonStock::Postage)));
        check("D", Err(("D", NonStock::Discount)));
        check("m", Err(("M", NonStock::Fee)));
        check("S", Err(("S", NonStock::Fee)));
        check("B", Err(("B", NonStock::Fee)));
        check("BANK CHARGES", Err(("BANK CHARGES", NonStock::Fee)));
        check("AMAZONFEE", Err(("AMAZONFEE", NonStock::Fee)));
        check("gift_0001_40", Err(("GIFT_0001_40", NonStock::Voucher)));
    }

    #[test]
    fn an_unknown_code_invents_no_stock() {
        check("TEST001", Err(("TEST001", NonStock::Fee)));
        check("1234", Err(("1234", NonStock::Fee)));
    }
}
