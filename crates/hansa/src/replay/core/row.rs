//! One line of the file, checked. A line that does not parse is a value too: it is reported by its
//! line number and skipped, and the rest of the file goes on.

use std::io::Read;

/// The columns the replay needs, in the order of the published file.
pub const HEADER: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// A well-formed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// 1-based line in the file, header included: what an editor shows.
    pub line: u64,
    pub invoice: String,
    pub stock_code: String,
    pub description: String,
    /// Units; negative on returns and corrections, never 0.
    pub quantity: i64,
    pub date: String,
    /// Minor units of the file's currency (pence); negative only on accounting entries.
    pub unit_price_minor: i64,
    /// Empty for a guest.
    pub customer: String,
    pub country: String,
}

/// A line that was skipped, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Malformed {
    pub line: u64,
    pub why: String,
}

/// The file as a whole could not be read: nothing of it was replayed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file has no header line; expected: {}", HEADER.join(","))]
    NoHeader,
    #[error("column {position} of the header is `{found}`, expected `{expected}`")]
    Header { position: usize, found: String, expected: &'static str },
    #[error("the file broke off")]
    Read(#[from] csv::Error),
}

/// Reads every line, in file order; malformed ones are set aside.
///
/// # Errors
/// Only a wrong header or a broken read stops it. A wrong header means that this is another file,
/// so guessing on would be worse than stopping.
pub fn read(source: impl Read) -> Result<(Vec<Row>, Vec<Malformed>), FileError> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(source);
    let mut records = reader.byte_records();
    check_header(records.next().ok_or(FileError::NoHeader)??)?;
    let (mut rows, mut malformed) = (Vec::new(), Vec::new());
    for record in records {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        match parse(line, &record) {
            Ok(row) => rows.push(row),
            Err(why) => malformed.push(Malformed { line, why }),
        }
    }
    Ok((rows, malformed))
}

fn check_header(record: csv::ByteRecord) -> Result<(), FileError> {
    for (index, expected) in HEADER.iter().enumerate() {
        let found = record.get(index).map(String::from_utf8_lossy).unwrap_or_default();
        let found = found.trim_start_matches('\u{feff}').trim();
        if found != *expected {
            let found = found.to_owned();
            return Err(FileError::Header { position: index + 1, found, expected });
        }
    }
    Ok(())
}

fn parse(line: u64, record: &csv::ByteRecord) -> Result<Row, String> {
    if record.len() != HEADER.len() {
        return Err(format!("{} fields, expected {}", record.len(), HEADER.len()));
    }
    let text = |index: usize| -> Result<String, String> {
        std::str::from_utf8(&record[index])
            .map(|value| value.trim().to_owned())
            .map_err(|_| format!("{} is not UTF-8", HEADER[index]))
    };
    let required = |index: usize| -> Result<String, String> {
        let value = text(index)?;
        if value.is_empty() { Err(format!("{} is empty", HEADER[index])) } else { Ok(value) }
    };
    let invoice = required(0)?;
    if !invoice.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("InvoiceNo `{invoice}` is not letters and digits"));
    }
    let quantity = required(3)?;
    let quantity: i64 =
        quantity.parse().map_err(|_| format!("Quantity `{quantity}` is not a whole number"))?;
    if quantity == 0 {
        return Err("Quantity is 0".to_owned());
    }
    let date = required(4)?;
    if !is_minute(&date) {
        return Err(format!("InvoiceDate `{date}` is not YYYY-MM-DD HH:MM"));
    }
    Ok(Row {
        line,
        invoice,
        stock_code: required(1)?,
        description: text(2)?,
        quantity,
        date,
        unit_price_minor: price(&required(5)?)?,
        customer: text(6)?,
        country: required(7)?,
    })
}

fn is_minute(date: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00 00:00";
    date.len() == SHAPE.len()
        && date.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// Pounds with at most two decimals to pence; a third decimal is refused, never rounded.
fn price(text: &str) -> Result<i64, String> {
    let wrong = || format!("UnitPrice `{text}` is not an amount with at most two decimals");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |s: &str| s.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 2 || !numeric(whole) || !numeric(part) {
        return Err(wrong());
    }
    let minor: i64 = format!("{whole}{part:0<2}").parse().map_err(|_| wrong())?;
    Ok(if negative { -minor } else { minor })
}

#[cfg(test)]
mod tests;
