//! What makes a certificate an X.509-SVID of ours, on both sides of a connection.
//!
//! # Source
//! SPIFFE X509-SVID §2 (exactly one URI SAN), §4 (a leaf is no CA and signs no certificate), §5.2.

use std::sync::Arc;

use hansa_types::identity::SpiffeId;
use hansa_types::time::WallTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Never seen: our configs offer TLS 1.3 only.
const NO_TLS12: &str = "TLS 1.2 is not spoken here";

/// The part of a certificate that we act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    pub id: SpiffeId,
    pub not_after: WallTime,
}

/// Why a certificate is not the SVID it should be, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotSvid {
    #[error("no certificate was presented")]
    Missing,
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
    #[error("the peer is {0}, not the one that was called")]
    OtherPeer(SpiffeId),
}

impl Svid {
    /// Reads the SVID of a leaf certificate. The chain and the dates are verified elsewhere.
    pub fn of(leaf: &CertificateDer<'_>) -> Result<Self, NotSvid> {
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
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .collect();
        let &[uri] = uris.as_slice() else { return Err(NotSvid::UriNames(uris.len())) };
        let id = uri.parse().map_err(|_| NotSvid::NotSpiffe)?;
        let seconds = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self { id, not_after: WallTime(seconds.saturating_mul(1000)) })
    }
}

impl From<NotSvid> for rustls::Error {
    fn from(why: NotSvid) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// Lets in clients with a valid chain and one SPIFFE name of our trust domain.
#[derive(Debug)]
pub struct SvidClients {
    trust_domain: String,
    chain: Arc<dyn ClientCertVerifier>,
}

impl SvidClients {
    pub fn new(
        trust_domain: &str,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self { trust_domain: trust_domain.to_owned(), chain })
    }
}

impl ClientCertVerifier for SvidClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        let svid = Svid::of(leaf)?;
        if svid.id.trust_domain() != self.trust_domain {
            return Err(NotSvid::OtherTrustDomain(svid.id.trust_domain().to_owned()).into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(NO_TLS12.to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts one server only: the one whose SPIFFE name was dialled, whatever its address.
#[derive(Debug)]
pub struct ExactServer {
    expected: SpiffeId,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ExactServer {
    pub fn new(
        expected: SpiffeId,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { expected, roots, provider }
    }
}

impl ServerCertVerifier for ExactServer {
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
        let svid = Svid::of(leaf)?;
        if svid.id != self.expected {
            return Err(NotSvid::OtherPeer(svid.id).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(NO_TLS12.to_owned()))
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
