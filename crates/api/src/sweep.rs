//! Reports of what a node keeps: signed by the node, believed by whoever knows our authorities.

use hansa_types::identity::{Role, SpiffeId};
use prost::Message as _;
use thiserror::Error;

use crate::pb::admin::{NodeSweep, SignedSweep};
use crate::signature::{Authorities, BadSignature, Signed, Signer};

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

/// Why a report is not believed.
#[derive(Debug, Error)]
pub enum Unbelieved {
    #[error("it does not read as a report")]
    Unreadable,
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error("it is about {node} of {region}, its certificate is of {found}")]
    OtherNode { node: String, region: String, found: SpiffeId },
}

/// The report, and who signed it: the node that it is about, by a certificate that was good when
/// it ended.
///
/// # Errors
/// See [`Unbelieved`]; the first that applies.
pub fn believe(from: &SignedSweep, by: &Authorities) -> Result<(NodeSweep, SpiffeId), Unbelieved> {
    let report = NodeSweep::decode(from.report.clone()).map_err(|_| Unbelieved::Unreadable)?;
    let certificates = from.certificates.iter().map(AsRef::as_ref);
    let signer = Signer::of(certificates, report.time_ms, by)?;
    let found = signer.id.clone();
    let is_it = found.trust_domain() == by.trust_domain
        && matches!(found.role(), Some(Role::Node { region, name })
            if region.as_str() == report.region && name == report.node_name);
    if !is_it {
        let (node, region) = (report.node_name, report.region);
        return Err(Unbelieved::OtherNode { node, region, found });
    }
    signer.signed(&text(&from.report), from.scheme, &from.signature, by)?;
    Ok((report, found))
}
