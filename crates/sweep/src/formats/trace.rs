//! Logs and traces: lines that say what a program did, and nothing PERSONAL or FINANCIAL of
//! anybody, wherever he lives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::OnceLock;

use hansa_api::classes::{DataClass, table};
use serde_json::Value;

use super::archive::carved;
use crate::fact::{Fact, Whose, only};
use crate::findings::{Findings, Place, Stays};
use crate::format::{Cursor, Format, Opened, Piece};

/// A log in text or JSON, or exported spans as JSON, a record a line.
pub struct Trace;

/// Longer than any hash in hex: what is longer and cannot be read is not explained.
const BLOB_MAX: usize = 64;
/// Bytes from which on something encoded is looked into.
const BLOB_MIN: usize = 24;

impl Format for Trace {
    fn name(&self) -> &'static str {
        "trace"
    }

    /// No node keeps any: such files are named by whoever has them.
    fn claims(&self, _: &str) -> bool {
        false
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Some(text) = file.text(to)? {
            lines(file.name, &text, to);
        }
        Ok(Piece::whole(file.length))
    }
}

/// Looks at every line of a log.
pub fn lines(file: &str, text: &str, to: &mut Findings) {
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let said = line.trim_end();
        match serde_json::from_str::<Value>(said) {
            Ok(value @ Value::Object(_)) => json(file, number, &value, to),
            _ if said.is_empty() => {}
            _ if stamped(said) => words(file, number, said, to),
            _ => to.unexplained(file, offset, line.len() as u64, "no line of a log"),
        }
        to.tally("trace").records += 1;
        offset += line.len() as u64;
    }
}

fn place(file: &str) -> Place {
    Place { file: file.into(), stays: Stays::Kept }
}

/// Whether a line begins with a time, as every line of ours does.
fn stamped(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.len() > 20
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[10] == b'T'
}

fn json(file: &str, line: u64, value: &Value, to: &mut Findings) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                field(file, line, name, to);
                // An attribute of a span: its name stands beside its value.
                if let ("key", Value::String(name)) = (name.as_str(), value) {
                    field(file, line, name, to);
                }
                json(file, line, value, to);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| json(file, line, value, to)),
        Value::String(text) => words(file, line, text, to),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Names of wire fields that are PERSONAL or FINANCIAL in every message that has them.
fn secret_fields() -> &'static BTreeMap<&'static str, DataClass> {
    static FIELDS: OnceLock<BTreeMap<&'static str, DataClass>> = OnceLock::new();
    FIELDS.get_or_init(|| {
        let plain: BTreeSet<_> =
            table().iter().filter(|row| row.2 == DataClass::Operational).map(|row| row.1).collect();
        let secret = table().iter().filter(|row| row.2 != DataClass::Operational);
        secret.filter(|row| !plain.contains(row.1)).map(|row| (row.1, row.2)).collect()
    })
}

/// A field's name alone says that its value has no place here.
pub fn field(file: &str, line: u64, name: &str, to: &mut Findings) {
    let name = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    if let Some(class) = secret_fields().get(name.as_str()) {
        somebody(file, line, *class, "a field that no log may have", to);
    }
}

fn somebody(file: &str, line: u64, class: DataClass, what: &'static str, to: &mut Findings) {
    let fact = Fact::new(Whose::Somebody, only(class), what);
    to.fact(&place(file), fact, || format!("line {line}"));
}

/// Looks at every word of a text.
pub fn words(file: &str, line: u64, text: &str, to: &mut Findings) {
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '{' | '}')) {
        if let Some((name, _)) = word.split_once('=') {
            field(file, line, name, to);
        }
        if mail(word) {
            somebody(file, line, DataClass::Personal, "a mail address", to);
        }
        if ["tok_", "sbx-"].iter().any(|begin| value_of(word).starts_with(begin)) {
            somebody(file, line, DataClass::Financial, "a payment's token or reference", to);
        }
        if word.len() <= 32 && hansa_types::pan::looks_like_card(word) && !word.contains(':') {
            somebody(file, line, DataClass::Financial, "a card number", to);
        }
    }
    for run in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/_-".contains(c))) {
        if run.len() >= BLOB_MIN {
            blob(file, line, run, to);
        }
    }
}

fn value_of(word: &str) -> &str {
    word.split_once('=').map_or(word, |(_, value)| value)
}

fn mail(word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
    let Some((user, host)) = word.split_once('@') else { return false };
    user.ends_with(part) && host.starts_with(part) && host.contains('.')
}

/// Something encoded: looked into, and not explained when it is long and says nothing.
fn blob(file: &str, line: u64, run: &str, to: &mut Findings) {
    for bytes in [unhex(run), unbase64(run)].into_iter().flatten() {
        carved(&bytes, &place(file), to);
    }
    // Paths and names have separators; keys, blocks and messages have none.
    let longest = run.split(['/', '-', '_', '+']).map(str::len).max().unwrap_or(0);
    if longest > BLOB_MAX {
        let why = format!("line {line}: {} characters that say nothing", run.len());
        to.unexplained(file, 0, run.len() as u64, why);
    }
}

fn unhex(run: &str) -> Option<Vec<u8>> {
    if !run.len().is_multiple_of(2) {
        return None;
    }
    let digits = run.as_bytes().chunks_exact(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// Either alphabet, without padding.
fn unbase64(run: &str) -> Option<Vec<u8>> {
    let (mut out, mut held, mut bits) = (Vec::with_capacity(run.len()), 0_u32, 0);
    for byte in run.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(out)
}
