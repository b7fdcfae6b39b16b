//! Which clients a listener lets in; the servers that we dial are judged by `hansa_api::client`.
//!
//! # Source
//! SPIFFE X509-SVID §2 (exactly one URI SAN), §4 (a leaf signs no certificate), §5.2.

use std::sync::Arc;

use hansa_api::client::tls::{NotSvid, svid};
use hansa_types::identity::SpiffeId;
use hansa_types::time::WallTime;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The part of a certificate that we act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    pub id: SpiffeId,
    pub not_after: WallTime,
}

impl Svid {
    /// Reads the SVID of a leaf certificate. The chain and the dates are verified elsewhere.
    pub fn of(leaf: &CertificateDer<'_>) -> Result<Self, NotSvid> {
        let id = svid(leaf)?;
        let (_, cert) = X509Certificate::from_der(leaf).map_err(|_| NotSvid::Unreadable)?;
        let seconds = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self { id, not_after: WallTime(seconds.saturating_mul(1000)) })
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
        let id = svid(leaf)?;
        if id.trust_domain() != self.trust_domain {
            return Err(NotSvid::OtherTrustDomain(id.trust_domain().to_owned()).into());
        }
        Ok(verified)
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
        self.chain.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
