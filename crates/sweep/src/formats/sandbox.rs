//! The sandbox provider's files: charges, by the key of their order. FINANCIAL.

use std::io;

use hansa_api::classes::DataClass;
use hansa_orders::core::order::PROVIDER_KEY;

use crate::fact::{Fact, Whose, only};
use crate::findings::{Findings, Stays};
use crate::format::{Cursor, Format, Opened, Piece, last};

/// `sandbox.journal`.
pub struct Journal;

/// The settlement file, as a statement.
pub struct Settlement;

const HEADER: &str = "key,kind,amount,currency,time,reference";

/// The order of a key at the provider.
fn charged(file: &Opened<'_>, line: u64, key: &str, to: &mut Findings) -> Result<(), &'static str> {
    let order = key.strip_prefix(PROVIDER_KEY).and_then(|id| id.get(..36)?.parse().ok());
    let order = order.ok_or("a key that is no order's")?;
    let fact = Fact::new(Whose::Order(order), only(DataClass::Financial), "a charge");
    to.fact(&file.place(Stays::Kept), fact, || format!("line {line}"));
    Ok(())
}

fn lines(
    name: &'static str,
    file: &Opened<'_>,
    to: &mut Findings,
    mut each: impl FnMut(u64, &str, &mut Findings) -> Result<(), &'static str>,
) -> io::Result<Piece> {
    let Some(text) = file.text(to)? else { return Ok(Piece::whole(file.length)) };
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        // The last line of a live file may be under way.
        let torn = !line.ends_with('\n') && file.live;
        if let Err(why) = each(number, line.trim_end_matches('\n'), to)
            && !torn
        {
            to.unexplained(file.name, offset, line.len() as u64, why);
        }
        to.tally(name).records += 1;
        offset += line.len() as u64;
    }
    Ok(Piece::whole(file.length))
}

impl Format for Journal {
    fn name(&self) -> &'static str {
        "provider journal"
    }

    fn claims(&self, path: &str) -> bool {
        last(path).ends_with(".journal")
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        lines(self.name(), file, to, |number, line, to| {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["charge", key, visible, reference] if !reference.is_empty() => {
                    visible.parse::<u64>().map_err(|_| "a charge at no time")?;
                    reference.starts_with("sbx-").then_some(()).ok_or("a strange reference")?;
                    charged(file, number, key, to)
                }
                ["void", key] => charged(file, number, key, to),
                // What a crash cut short, ended by the next line's writer: part of one of these.
                _ if line.ends_with('?') => torn(file, number, line, to),
                _ => Err("a line that is none of the journal's"),
            }
        })
    }
}

fn torn(file: &Opened<'_>, line: u64, text: &str, to: &mut Findings) -> Result<(), &'static str> {
    let text = text.trim_end_matches('?');
    let begun = ["charge ", "void "].iter().find_map(|verb| text.strip_prefix(verb));
    let key = begun.map(|rest| rest.split(' ').next().unwrap_or_default());
    match key {
        Some(key) if key.len() >= PROVIDER_KEY.len() + 36 => charged(file, line, key, to),
        Some(key) if key.starts_with(PROVIDER_KEY) || PROVIDER_KEY.starts_with(key) => Ok(()),
        None if "charge ".starts_with(text) || "void ".starts_with(text) => Ok(()),
        _ => Err("a torn line that is none of the journal's"),
    }
}

impl Format for Settlement {
    fn name(&self) -> &'static str {
        "settlement"
    }

    fn claims(&self, path: &str) -> bool {
        let name = last(path);
        name.contains("settlement") && name.ends_with(".csv")
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        lines(self.name(), file, to, |number, line, to| {
            if number == 1 {
                return if line == HEADER { Ok(()) } else { Err("another header") };
            }
            let words: Vec<&str> = line.split(',').collect();
            let [key, kind, amount, currency, time, reference] = words[..] else {
                return Err("a line of another number of columns");
            };
            let known = kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let good = known
                && amount.parse::<i64>().is_ok()
                && currency.parse::<hansa_types::money::Currency>().is_ok()
                && time.parse::<u64>().is_ok()
                && (reference.is_empty() || reference.starts_with("sbx-"));
            if good { charged(file, number, key, to) } else { Err("a column that does not read") }
        })
    }
}
