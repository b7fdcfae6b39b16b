//! Records of ownership: the text that an operator signs, and whether he did.
//!
//! # Source
//! docs/adr/0016-region-loss.md

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hansa_types::identity::{Role, SpiffeId};
use rustls::crypto::CryptoProvider;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use crate::client::tls::{Identity, NotSvid, svid};
use crate::pb::directory::OwnershipRecord;

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

/// A signature and the certificates under it.
pub struct Signed {
    pub chain: Vec<CertificateDer<'static>>,
    pub scheme: SignatureScheme,
    pub signature: Vec<u8>,
}

/// Whom our trust domain believes.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub trust_domain: String,
    pub roots: Arc<RootCertStore>,
    pub provider: Arc<CryptoProvider>,
}

/// Why a record is not believed, in the order of the checks.
#[derive(Debug, Error)]
pub enum BadSignature {
    #[error("it carries no certificate")]
    Empty,
    #[error("its certificate was not issued by our authorities, or not for its time: {0}")]
    Chain(rustls::Error),
    #[error("our authorities: {0}")]
    Roots(#[from] VerifierBuilderError),
    #[error("its certificate names nobody: {0}")]
    NotSvid(#[from] NotSvid),
    #[error("it names {named} as its signer, the certificate is of {found}")]
    OtherName { named: String, found: SpiffeId },
    #[error("{0} is no client of our trust domain")]
    NotAClient(SpiffeId),
    #[error("its signature is of a kind that we do not verify")]
    Scheme,
    #[error("its signature is not of this text")]
    Signature,
}

/// Whether a client of our trust domain signed the record, by certificates that were good at the
/// record's own time: so the same bytes are judged alike whenever they come.
///
/// # Errors
/// See [`BadSignature`]; the first that applies.
pub fn verify(record: &OwnershipRecord, by: &Authorities) -> Result<(), BadSignature> {
    let chain: Vec<CertificateDer<'_>> =
        record.certificates.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
    let (leaf, intermediates) = chain.split_first().ok_or(BadSignature::Empty)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(by.roots.clone(), by.provider.clone());
    let at = UnixTime::since_unix_epoch(Duration::from_millis(record.time_ms));
    let chained = verifier.build()?.verify_client_cert(leaf, intermediates, at);
    chained.map_err(BadSignature::Chain)?;
    let found = svid(leaf)?;
    if found.to_string() != record.signed_by {
        return Err(BadSignature::OtherName { named: record.signed_by.clone(), found });
    }
    let client = matches!(found.role(), Some(Role::Client { .. }));
    if !client || found.trust_domain() != by.trust_domain {
        return Err(BadSignature::NotAClient(found));
    }
    let algorithms = &by.provider.signature_verification_algorithms;
    let wanted = u16::try_from(record.scheme).map_err(|_| BadSignature::Scheme)?;
    let of = |(scheme, _): &&(SignatureScheme, _)| u16::from(*scheme) == wanted;
    let (_, fit) = algorithms.mapping.iter().find(of).ok_or(BadSignature::Scheme)?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| NotSvid::Unreadable)?;
    let text = text(record);
    let good = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        leaf.verify_signature(*algorithm, text.as_bytes(), &record.signature).is_ok()
    };
    match fit.iter().any(good) {
        true => Ok(()),
        false => Err(BadSignature::Signature),
    }
}

#[cfg(test)]
mod tests;
