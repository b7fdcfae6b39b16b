//! Reports of what a node keeps: signed by the node, believed by whoever knows our authorities.

use std::sync::Arc;
use std::time::Duration;

use hansa_types::identity::{Role, SpiffeId};
use prost::Message as _;
use rustls::SignatureScheme;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use crate::client::tls::{NotSvid, svid};
use crate::ownership::{Authorities, Signed};
use crate::pb::admin::{NodeSweep, SignedSweep};

/// The first line of what is signed: another text is another thing.
const TITLE: &[u8] = b"hansa residency report 1\n";

/// What a node signs of a report.
pub fn text(report: &[u8]) -> Vec<u8> {
    [TITLE, report].concat()
}

/// The report under its signature.
pub fn signed(report: &[u8], signed: Signed) -> SignedSweep {
    SignedSweep {
        report: report.to_vec().into(),
        certificates: signed.chain.iter().map(|der| der.to_vec().into()).collect(),
        scheme: u16::from(signed.scheme).into(),
        signature: signed.signature.into(),
    }
}

/// Why a report is not believed, in the order of the checks.
#[derive(Debug, Error)]
pub enum Unbelieved {
    #[error("it does not read as a report")]
    Unreadable,
    #[error("it carries no certificate")]
    Empty,
    #[error("its certificate was not issued by our authorities, or not for its time: {0}")]
    Chain(rustls::Error),
    #[error("our authorities: {0}")]
    Roots(#[from] VerifierBuilderError),
    #[error("its certificate names nobody: {0}")]
    NotSvid(#[from] NotSvid),
    #[error("it is about {node} of {region}, its certificate is of {found}")]
    OtherNode { node: String, region: String, found: SpiffeId },
    #[error("its signature is of a kind that we do not verify")]
    Scheme,
    #[error("its signature is not of this report")]
    Signature,
}

/// The report, and who signed it: the node that it is about, by a certificate that was good when
/// it ended.
///
/// # Errors
/// See [`Unbelieved`]; the first that applies.
pub fn believe(from: &SignedSweep, by: &Authorities) -> Result<(NodeSweep, SpiffeId), Unbelieved> {
    let report = NodeSweep::decode(from.report.clone()).map_err(|_| Unbelieved::Unreadable)?;
    let chain: Vec<CertificateDer<'_>> =
        from.certificates.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
    let (leaf, intermediates) = chain.split_first().ok_or(Unbelieved::Empty)?;
    let (roots, provider) = (by.roots.clone(), Arc::clone(&by.provider));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let at = UnixTime::since_unix_epoch(Duration::from_millis(report.time_ms));
    let chained = verifier.build()?.verify_client_cert(leaf, intermediates, at);
    chained.map_err(Unbelieved::Chain)?;
    let found = svid(leaf)?;
    let is_it = found.trust_domain() == by.trust_domain
        && matches!(found.role(), Some(Role::Node { region, name })
            if region.as_str() == report.region && name == report.node_name);
    if !is_it {
        let (node, region) = (report.node_name, report.region);
        return Err(Unbelieved::OtherNode { node, region, found });
    }
    let algorithms = &by.provider.signature_verification_algorithms;
    let wanted = u16::try_from(from.scheme).map_err(|_| Unbelieved::Scheme)?;
    let of = |(scheme, _): &&(SignatureScheme, _)| u16::from(*scheme) == wanted;
    let (_, fit) = algorithms.mapping.iter().find(of).ok_or(Unbelieved::Scheme)?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| NotSvid::Unreadable)?;
    let text = text(&from.report);
    let good = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        leaf.verify_signature(*algorithm, &text, &from.signature).is_ok()
    };
    match fit.iter().any(good) {
        true => Ok((report, found)),
        false => Err(Unbelieved::Signature),
    }
}
