//! What makes a server's certificate an X.509-SVID that we accept.
//!
//! # Source
//! SPIFFE X509-SVID §2 (exactly one URI SAN), §4 (a leaf signs no certificate), §5.2.

use std::sync::Arc;

use hansa_types::identity::SpiffeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Expect;

/// Why a certificate is not the SVID it should be, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSvid {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the leaf may sign certificates")]
    Authority,
    #[error("the certificate has {0} URI names, an SVID has exactly one")]
    UriNames(usize),
    #[error("the URI name is no SPIFFE id with a path")]
    NotSpiffe,
    #[error("the trust domain is {0}, not ours")]
    OtherTrustDomain(String),
    #[error("the server is {0}, not the one that was called")]
    OtherServer(SpiffeId),
}

impl From<NotSvid> for rustls::Error {
    fn from(why: NotSvid) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// The SPIFFE id of a leaf certificate. Its chain and dates are verified elsewhere.
///
/// # Errors
/// Anything but a leaf with exactly one URI name that is a SPIFFE id.
pub fn svid(leaf: &CertificateDer<'_>) -> Result<SpiffeId, NotSvid> {
    let (rest, cert) = X509Certificate::from_der(leaf).map_err(|_| NotSvid::Unreadable)?;
    if !rest.is_empty() {
        return Err(NotSvid::Unreadable);
    }
    let constraints = cert.basic_constraints().map_err(|_| NotSvid::Unreadable)?;
    let usage = cert.key_usage().map_err(|_| NotSvid::Unreadable)?;
    let signs = usage.is_some_and(|u| u.value.key_cert_sign() || u.value.crl_sign());
    if signs || constraints.is_some_and(|c| c.value.ca) {
        return Err(NotSvid::Authority);
    }
    // A second subjectAltName extension is an error here, so no name can hide in it.
    let names = cert.subject_alternative_name().map_err(|_| NotSvid::Unreadable)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    let uris: Vec<String> = names.iter().filter_map(uri).collect();
    match uris.as_slice() {
        [uri] => uri.parse().map_err(|_| NotSvid::NotSpiffe),
        more => Err(NotSvid::UriNames(more.len())),
    }
}

/// Accepts servers by the SPIFFE id in their certificate; the address they have means nothing.
#[derive(Debug)]
pub struct SvidServers {
    trust_domain: String,
    expect: Expect,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl SvidServers {
    pub fn new(
        trust_domain: String,
        expect: Expect,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { trust_domain, expect, roots, provider }
    }
}

impl ServerCertVerifier for SvidServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        let id = svid(leaf)?;
        if id.trust_domain() != self.trust_domain {
            return Err(NotSvid::OtherTrustDomain(id.trust_domain().to_owned()).into());
        }
        match self.expect.accepts(&id) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(NotSvid::OtherServer(id).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Never reached: the config offers TLS 1.3 only.
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
