//! A client's identity, and which servers it accepts: by SPIFFE name, never by address.

mod verify;

pub use verify::{NotSvid, SvidServers, svid};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hansa_types::identity::{Role, SpiffeId};
use hansa_types::region::RegionName;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::signature::{Authorities, Signed};

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
    #[error("the certificate names {now}, this client is {was}")]
    OtherName { was: SpiffeId, now: SpiffeId },
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}

/// Who we are, to every server we call; clones are one, renewed together.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Inner>);

struct Inner {
    files: Files,
    id: SpiffeId,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
}

/// One generation of certificate, key and roots.
struct Current {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
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
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (id, current) = Current::read(files)?;
        let current = ArcSwap::from_pointee(current);
        let identity = Self(Arc::new(Inner { files: files.clone(), id, provider, current }));
        // Whether key and certificate belong together is found out now, not at the first call.
        identity.config(&Expect::AnyNode)?;
        Ok(identity)
    }

    /// Reads the files again; `true` when something in them changed. The next connection uses it.
    ///
    /// # Errors
    /// Anything wrong with the new files leaves the old identity in place.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let inner = &self.0;
        let (id, next) = Current::read(&inner.files)?;
        if id != inner.id {
            return Err(IdentityError::OtherName { was: inner.id.clone(), now: id });
        }
        let was = inner.current.load();
        if was.chain == next.chain && was.roots.roots == next.roots.roots {
            return Ok(false);
        }
        self.config_of(&next, &Expect::AnyNode)?;
        inner.current.store(Arc::new(next));
        Ok(true)
    }

    /// Reloads every `every`, for ever: the user's task to spawn, and to drop. A bad file changes
    /// nothing and is read again the next time.
    pub async fn keep_fresh(self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.reload() {
                tracing::warn!(id = %self.id(), %error, "identity not renewed");
            }
        }
    }

    /// The SPIFFE id in our certificate.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// Signs a text with the certificate's key.
    ///
    /// # Errors
    /// A key that signs with nothing that we verify.
    pub fn sign(&self, message: &[u8]) -> Result<Signed, rustls::Error> {
        let (current, provider) = (self.0.current.load(), &self.0.provider);
        let key = provider.key_provider.load_private_key(current.key.clone_key())?;
        Signed::by(&*key, current.chain.clone(), provider, message)
    }

    /// The authorities that we trust.
    pub fn authorities(&self) -> Authorities {
        let (roots, provider) = (self.0.current.load().roots.clone(), self.0.provider.clone());
        Authorities { trust_domain: self.0.id.trust_domain().to_owned(), roots, provider }
    }

    /// A rustls config that shows our certificate and accepts only `expect`.
    ///
    /// TLS 1.3 only, and no resumption: a resumed session would outlive its certificate.
    ///
    /// # Errors
    /// A key that is not the certificate's.
    pub fn config(&self, expect: &Expect) -> Result<Arc<ClientConfig>, rustls::Error> {
        self.config_of(&self.0.current.load(), expect)
    }

    fn config_of(
        &self,
        current: &Current,
        expect: &Expect,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let inner = &self.0;
        let verifier = SvidServers::new(
            inner.id.trust_domain().to_owned(),
            expect.clone(),
            current.roots.clone(),
            inner.provider.clone(),
        );
        let mut config = ClientConfig::builder_with_provider(inner.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous() // The verifier below replaces names by SPIFFE ids, nothing else.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(current.chain.clone(), current.key.clone_key())?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl Current {
    fn read(files: &Files) -> Result<(SpiffeId, Self), IdentityError> {
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
        Ok((id, Self { chain, key, roots: Arc::new(roots) }))
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
pub(crate) mod tests;
