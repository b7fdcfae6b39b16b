//! Signatures that outlive a connection: made with the key of a certificate of our trust domain,
//! and judged as of a time of their own.

use std::sync::Arc;
use std::time::Duration;

use hansa_types::identity::SpiffeId;
use rustls::crypto::CryptoProvider;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SigningKey;
use rustls::{RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use thiserror::Error;

use crate::client::tls::{NotSvid, svid};

/// A signature and the certificates under it, the signer's first.
pub struct Signed {
    pub chain: Vec<CertificateDer<'static>>,
    pub scheme: SignatureScheme,
    pub signature: Vec<u8>,
}

impl Signed {
    /// Signs a text.
    ///
    /// # Errors
    /// A key that signs with nothing that we verify.
    pub fn by(
        key: &dyn SigningKey,
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
        text: &[u8],
    ) -> Result<Self, rustls::Error> {
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let other = || rustls::Error::General("the key signs with nothing that we verify".into());
        let signer = key.choose_scheme(&schemes).ok_or_else(other)?;
        Ok(Self { chain, scheme: signer.scheme(), signature: signer.sign(text)? })
    }
}

/// Whom our trust domain believes.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub trust_domain: String,
    pub roots: Arc<RootCertStore>,
    pub provider: Arc<CryptoProvider>,
}

/// Why a signature is not believed, in the order of the checks.
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

/// A signer whom our authorities know; whether he is the right one is the caller's to say.
pub(crate) struct Signer<'a> {
    leaf: CertificateDer<'a>,
    pub id: SpiffeId,
}

impl<'a> Signer<'a> {
    /// By certificates, leaf first, DER, that were good at a time: so the same bytes are judged
    /// alike whenever they come.
    ///
    /// # Errors
    /// See [`BadSignature`].
    pub fn of(
        certificates: impl IntoIterator<Item = &'a [u8]>,
        time_ms: u64,
        by: &Authorities,
    ) -> Result<Self, BadSignature> {
        let mut chain = certificates.into_iter().map(CertificateDer::from);
        let leaf = chain.next().ok_or(BadSignature::Empty)?;
        let intermediates: Vec<_> = chain.collect();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(by.roots.clone(), by.provider.clone());
        let at = UnixTime::since_unix_epoch(Duration::from_millis(time_ms));
        let chained = verifier.build()?.verify_client_cert(&leaf, &intermediates, at);
        chained.map_err(BadSignature::Chain)?;
        let id = svid(&leaf)?;
        Ok(Self { leaf, id })
    }

    /// Whether he signed a text. `scheme`: TLS SignatureScheme.
    ///
    /// # Errors
    /// [`BadSignature::Scheme`], [`BadSignature::Signature`].
    pub fn signed(
        &self,
        text: &[u8],
        scheme: u32,
        signature: &[u8],
        by: &Authorities,
    ) -> Result<(), BadSignature> {
        let algorithms = &by.provider.signature_verification_algorithms;
        let wanted = u16::try_from(scheme).map_err(|_| BadSignature::Scheme)?;
        let of = |(scheme, _): &&(SignatureScheme, _)| u16::from(*scheme) == wanted;
        let (_, fit) = algorithms.mapping.iter().find(of).ok_or(BadSignature::Scheme)?;
        let leaf = webpki::EndEntityCert::try_from(&self.leaf).map_err(|_| NotSvid::Unreadable)?;
        let good = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            leaf.verify_signature(*algorithm, text, signature).is_ok()
        };
        match fit.iter().any(good) {
            true => Ok(()),
            false => Err(BadSignature::Signature),
        }
    }
}
