//! Who we are and whom we talk to: an X.509-SVID that rotates under a running process.
//!
//! Every socket takes the rustls config that is current when it opens, so a renewed certificate
//! needs no restart. Sessions are never resumed: a resumed session would outlive its certificate.

mod sign;
mod verify;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hansa_api::client::tls::{Expect, SvidServers};
use hansa_api::signature::Authorities;
use hansa_types::identity::SpiffeId;
use hansa_types::time::WallTime;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::metrics;

pub use self::verify::Svid;
use self::verify::SvidClients;
pub use hansa_api::client::tls::{ALPN_H2, NotSvid};

/// HTTP/2 between nodes of one region: what carries Raft, the books' commands and the directory.
/// A server ends the handshake of whoever asks for it and is no node of its region.
pub const ALPN_REGION: &[u8] = b"hansa-region/1";

/// The caller's name, in the extensions of every request that reached us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity(pub SpiffeId);

/// Where an identity lives on disk, all PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Our certificate, then its intermediates if any.
    pub cert: PathBuf,
    /// The private key of `cert`.
    pub key: PathBuf,
    /// The certificate authorities of our trust domain.
    pub ca: PathBuf,
}

impl From<Files> for hansa_api::client::Files {
    fn from(files: Files) -> Self {
        Self { cert: files.cert, key: files.key, ca: files.ca }
    }
}

/// Why an identity cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{}: no certificate in it", path.display())]
    Empty { path: PathBuf },
    #[error("{}: {source}", path.display())]
    NotSvid { path: PathBuf, source: NotSvid },
    #[error("{}: key and certificate do not belong together", path.display())]
    KeyMismatch { path: PathBuf },
    #[error("the certificate names {now}, this process is {was}")]
    OtherName { was: SpiffeId, now: SpiffeId },
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    #[error("client verifier: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A process's identity, shared by its listeners and peers; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    files: Files,
    id: SpiffeId,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
}

/// One generation of certificate, key and roots.
struct Current {
    /// Cancelled when the roots are no longer those we trust.
    doubted: CancellationToken,
    leaf: CertificateDer<'static>,
    not_after: WallTime,
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Loads and checks the files: no identity, no listener.
    pub fn load(files: Files) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (id, current) = read(&files, &provider)?;
        let current = ArcSwap::from_pointee(current);
        Ok(Self { inner: Arc::new(Inner { files, id, provider, current }) })
    }

    /// Our own name.
    pub fn id(&self) -> &SpiffeId {
        &self.inner.id
    }

    /// The authorities that we trust.
    pub fn authorities(&self) -> Authorities {
        let (roots, provider) = (self.inner.current.load().roots.clone(), &self.inner.provider);
        let trust_domain = self.inner.id.trust_domain().to_owned();
        Authorities { trust_domain, roots, provider: provider.clone() }
    }

    /// When the current certificate ends, for the alarm before it does.
    pub fn not_after(&self) -> WallTime {
        self.inner.current.load().not_after
    }

    /// Reads the files again; `true` when the identity changed.
    ///
    /// # Errors
    /// Anything wrong with the new files leaves the old identity in place.
    pub fn reload(&self) -> Result<bool, Error> {
        let inner = &self.inner;
        let (id, mut next) = read(&inner.files, &inner.provider)?;
        if id != inner.id {
            return Err(Error::OtherName { was: inner.id.clone(), now: id });
        }
        let was = inner.current.load_full();
        let same_roots = was.roots.roots == next.roots.roots;
        if same_roots && was.leaf == next.leaf {
            return Ok(false);
        }
        if same_roots {
            next.doubted = was.doubted.clone();
        }
        inner.current.store(Arc::new(next));
        metrics::identity_renewed(inner.id.as_str());
        if !same_roots {
            was.doubted.cancel();
        }
        Ok(true)
    }

    /// Cancelled when the authorities that we trust now have changed: whoever proved himself by
    /// them must do so again.
    pub fn doubted(&self) -> CancellationToken {
        self.inner.current.load().doubted.clone()
    }

    /// Reloads every `every` until `stop`; a bad file is logged once per reading and changes
    /// nothing.
    pub async fn keep_fresh(self, every: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            match self.reload() {
                Ok(true) => tracing::info!(id = %self.id(), "identity renewed"),
                Ok(false) => {}
                Err(error) => tracing::warn!(id = %self.id(), %error, "identity not renewed"),
            }
            metrics::identity_ends(self.id().as_str(), self.not_after());
        }
    }

    /// The config for the next accepted socket: TLS 1.3, h2, a client SVID of our trust domain.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.inner.current.load().server.clone()
    }

    /// The config for the next dialled socket, which must turn out to be `expected` and no other,
    /// and is offered these protocols.
    pub fn client_config(
        &self,
        expected: &SpiffeId,
        offered: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, Error> {
        let current = self.inner.current.load();
        let provider = &self.inner.provider;
        let verifier = SvidServers::new(
            self.inner.id.trust_domain().to_owned(),
            Expect::Exactly(expected.clone()),
            current.roots.clone(),
            provider.clone(),
        );
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous() // Only the name check is ours: the chain is still verified.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(current.key.clone())));
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The SVID that the other side of a finished handshake presented.
pub fn peer_svid(certificates: Option<&[CertificateDer<'_>]>) -> Result<Svid, NotSvid> {
    let leaf = certificates.and_then(|chain| chain.first()).ok_or(NotSvid::Unreadable)?;
    Svid::of(leaf)
}

fn read(files: &Files, provider: &Arc<CryptoProvider>) -> Result<(SpiffeId, Current), Error> {
    let chain = certificates(&files.cert)?;
    let leaf = chain[0].clone();
    let svid =
        Svid::of(&leaf).map_err(|source| Error::NotSvid { path: files.cert.clone(), source })?;
    let private = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| Error::File { path: files.key.clone(), source })?;
    let signing = provider.key_provider.load_private_key(private)?;
    let key = Arc::new(CertifiedKey::new(chain, signing));
    key.keys_match().map_err(|_| Error::KeyMismatch { path: files.key.clone() })?;
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.ca)? {
        roots.add(root)?;
    }
    let roots = Arc::new(roots);
    let clients = SvidClients::new(svid.id.trust_domain(), roots.clone(), provider.clone())?;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    // The region's own first: rustls takes the first of ours that the client offers.
    server.alpn_protocols = vec![ALPN_REGION.to_vec(), ALPN_H2.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let server = Arc::new(server);
    let (doubted, not_after) = (CancellationToken::new(), svid.not_after);
    Ok((svid.id, Current { doubted, leaf, not_after, key, roots, server }))
}

/// All certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(file)?.collect();
    let read = read.map_err(file)?;
    if read.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(read) }
}
