//! A client's identity, and which servers it accepts: by SPIFFE name, never by address.

mod verify;

pub use verify::{NotSvid, SvidServers, svid};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_types::identity::{Role, SpiffeId};
use hansa_types::region::RegionName;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The only application protocol we speak.
pub const ALPN_H2: &[u8] = b"h2";

/// Which servers are accepted; all must chain to our CA and lie in our trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Exactly this process.
    Exactly(SpiffeId),
    /// Any node of this region.
    NodeOf(RegionName),
    /// Any node of any region.
    AnyNode,
}

impl Expect {
    /// Whether a server that has proven this name is meant.
    pub fn accepts(&self, server: &SpiffeId) -> bool {
        match (self, server.role()) {
            (Self::Exactly(id), _) => id == server,
            (Self::NodeOf(wanted), Some(Role::Node { region, .. })) => *wanted == region,
            (Self::AnyNode, Some(Role::Node { .. })) => true,
            (Self::NodeOf(_) | Self::AnyNode, Some(Role::Client { .. }) | None) => false,
        }
    }
}

/// Where an identity lives on disk, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Our certificate, then its intermediates if any.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The certificate authorities of our trust domain.
    pub ca: PathBuf,
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{}: no certificate in it", path.display())]
    Empty { path: PathBuf },
    #[error("{}: {source}", path.display())]
    NotSvid { path: PathBuf, source: NotSvid },
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}

/// Who we are, to every server we call; cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Inner>);

struct Inner {
    id: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.id) // Never the key.
    }
}

impl Identity {
    /// # Errors
    /// A file that is missing or not PEM; a certificate that is no SVID; a key of another one.
    pub fn read(files: &Files) -> Result<Self, IdentityError> {
        let chain = certificates(&files.cert)?;
        let path = files.key.clone();
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| IdentityError::File { path, source })?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&files.ca)? {
            roots.add(root)?;
        }
        let leaf = chain.first().ok_or(IdentityError::Empty { path: files.cert.clone() })?;
        let id = svid(leaf)
            .map_err(|source| IdentityError::NotSvid { path: files.cert.clone(), source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let identity = Self(Arc::new(Inner { id, chain, key, roots, provider }));
        // Whether key and certificate belong together is found out now, not at the first call.
        identity.config(&Expect::AnyNode)?;
        Ok(identity)
    }

    /// The SPIFFE id in our certificate.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// A rustls config that shows our certificate and accepts only `expect`.
    ///
    /// TLS 1.3 only, and no resumption: a resumed session would outlive its certificate.
    ///
    /// # Errors
    /// A key that is not the certificate's.
    pub fn config(&self, expect: &Expect) -> Result<Arc<ClientConfig>, rustls::Error> {
        let inner = &self.0;
        let verifier = SvidServers::new(
            inner.id.trust_domain().to_owned(),
            expect.clone(),
            inner.roots.clone(),
            inner.provider.clone(),
        );
        let mut config = ClientConfig::builder_with_provider(inner.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous() // The verifier below replaces names by SPIFFE ids, nothing else.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(inner.chain.clone(), inner.key.clone_key())?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let file = |source| IdentityError::File { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(file)?
        .collect::<Result<_, _>>()
        .map_err(file)?;
    match found.is_empty() {
        true => Err(IdentityError::Empty { path: path.to_owned() }),
        false => Ok(found),
    }
}

#[cfg(test)]
pub(super) mod tests;
