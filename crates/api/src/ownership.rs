//! Records of ownership: the text that an operator signs, and whether he did.
//!
//! # Source
//! docs/adr/0016-region-loss.md

use std::fmt::Write as _;

use hansa_types::identity::Role;

use crate::client::tls::Identity;
use crate::pb::directory::OwnershipRecord;
use crate::signature::{Authorities, BadSignature, Signer};

/// The first line: another text is another thing.
const TITLE: &str = "hansa ownership record 1";

/// What is signed: each field on a line of its own, in a fixed order.
///
/// No field holds a line break where a record is accepted, so no text has two readings.
pub fn text(record: &OwnershipRecord) -> String {
    let mut text = format!("{TITLE}\n");
    let stopped = if record.confirmed_stopped { "yes" } else { "no" };
    let (epoch, ends) = (record.epoch.to_string(), record.ends_epoch.to_string());
    let time_ms = record.time_ms.to_string();
    for (name, value) in [
        ("birth", record.birth_region.as_str()),
        ("owner", record.owner_region.as_str()),
        ("epoch", &epoch),
        ("ends", &ends),
        ("kind", &record.kind),
        ("stopped", stopped),
        ("time_ms", &time_ms),
        ("by", &record.signed_by),
        ("ticket", &record.ticket),
        ("reason", &record.reason),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

/// Signs a record as the client that `identity` is.
///
/// # Errors
/// A key that signs with nothing that we verify.
pub fn sign(
    mut record: OwnershipRecord,
    identity: &Identity,
) -> Result<OwnershipRecord, rustls::Error> {
    record.signed_by = identity.id().to_string();
    let signed = identity.sign(text(&record).as_bytes())?;
    record.certificates = signed.chain.iter().map(|der| der.to_vec().into()).collect();
    record.scheme = u16::from(signed.scheme).into();
    record.signature = signed.signature.into();
    Ok(record)
}

/// Whether a client of our trust domain signed the record, by certificates that were good at the
/// record's own time: so the same bytes are judged alike whenever they come.
///
/// # Errors
/// See [`BadSignature`]; the first that applies.
pub fn verify(record: &OwnershipRecord, by: &Authorities) -> Result<(), BadSignature> {
    let certificates = record.certificates.iter().map(AsRef::as_ref);
    let signer = Signer::of(certificates, record.time_ms, by)?;
    let found = signer.id.clone();
    if found.to_string() != record.signed_by {
        return Err(BadSignature::OtherName { named: record.signed_by.clone(), found });
    }
    let client = matches!(found.role(), Some(Role::Client { .. }));
    if !client || found.trust_domain() != by.trust_domain {
        return Err(BadSignature::NotAClient(found));
    }
    signer.signed(text(record).as_bytes(), record.scheme, &record.signature, by)
}

#[cfg(test)]
mod tests;
