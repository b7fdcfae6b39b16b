//! Money: what was held, captured and given back for an order is FINANCIAL.

use std::io::Read;

use hansa_api::classes::DataClass;
use hansa_consensus::ThawError;
use hansa_consensus::inspect::{self, Archived};
use hansa_ledger::core::payments::{
    Authorize, Capture, Chunk, Command, Looked, Payments, Refund, ShelvedPayment, Void,
};
use hansa_ledger::machine::{CHUNKS, FORMAT, PAYMENTS, POSTINGS, SPENT};

use super::Hearing;
use crate::fact::{Fact, Whose, only};

fn money(payment: u128) -> Fact {
    Fact::new(Whose::Payment(payment), only(DataClass::Financial), "money of a payment")
}

pub fn command(bytes: &[u8], to: &mut Hearing<'_>) -> Result<(), String> {
    let none = || "not a batch of money commands".to_owned();
    let (format, mut rest) = bytes.split_first().ok_or_else(none)?;
    if *format != FORMAT {
        return Err(none());
    }
    while !rest.is_empty() {
        let (command, after) = postcard::take_from_bytes::<Command>(rest).map_err(|_| none())?;
        let again = postcard::to_allocvec(&command).map_err(|_| none())?;
        if again != rest[..rest.len() - after.len()] {
            return Err(none());
        }
        rest = after;
        let payment = match command {
            Command::Authorize(Authorize { payment, order, .. }) => {
                to.findings.payment(payment.0, order);
                payment
            }
            Command::Open(open) => {
                to.findings.payment(open.payment.0, open.order);
                open.payment
            }
            Command::Capture(Capture { payment, .. })
            | Command::Void(Void { payment, .. })
            | Command::Refund(Refund { payment, .. })
            | Command::Looked(Looked { payment, .. }) => payment,
            Command::Recall(recalled) => shelved(&recalled.record, to).ok_or_else(none)?.key,
        };
        to.fact(money(payment.0));
    }
    Ok(())
}

pub fn record(record: &Archived, to: &mut Hearing<'_>) -> Result<(), String> {
    match record.table {
        POSTINGS => {
            for posting in super::inventory::postings(record)? {
                to.fact(money(posting.reference.0));
            }
        }
        PAYMENTS => {
            let of = shelved(&record.value, to).filter(|of| *record.key == of.place());
            let of = of.ok_or_else(|| "not a payment that left".to_owned())?;
            to.fact(money(of.key.0));
        }
        CHUNKS => {
            let chunk = Chunk::decode(&record.key, &record.value);
            let chunk = chunk.filter(|chunk| chunk.encode() == record.value);
            let chunk = chunk.ok_or_else(|| "not a chunk of payments that left".to_owned())?;
            chunk.rows.iter().for_each(|row| to.fact(money(row.key)));
        }
        SPENT if record.key.len() == 8 && record.value.is_empty() => {}
        other => return Err(format!("table {other} is none of ours, or its record is not")),
    }
    Ok(())
}

/// The payment that a record of the shelf has, its order told.
fn shelved(record: &[u8], to: &mut Hearing<'_>) -> Option<ShelvedPayment> {
    let of = ShelvedPayment::decode(record)?;
    to.findings.payment(of.key.0, of.payment.order);
    Some(of)
}

pub fn state(from: &mut dyn Read, to: &mut Hearing<'_>) -> Result<u64, ThawError> {
    inspect::machine::<Payments>(from).map(|books| facts(&books, to))
}

/// What the books say; answers how many records they have.
pub fn facts(books: &Payments, to: &mut Hearing<'_>) -> u64 {
    let mut records = 0;
    for (key, payment) in books.payments() {
        to.findings.payment(key.0, payment.order);
        to.fact(money(key.0));
        records += 1;
    }
    records
}
