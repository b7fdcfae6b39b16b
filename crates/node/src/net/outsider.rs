//! A server that is none of our nodes, and what proves that it is the one we mean.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::tls;

/// Known by its DNS name or IP address, proven by an authority of its own. We show it no
/// certificate: it asks for a token, or for nothing.
#[derive(Clone)]
pub struct Outsider {
    /// `host:port`; a name is resolved at each connect.
    pub(super) addr: String,
    pub(super) name: ServerName<'static>,
    pub(super) tls: Arc<ClientConfig>,
}

impl Outsider {
    /// `ca`: PEM, of the file at `path`, which errors name.
    ///
    /// # Errors
    /// No name, or no authority in it.
    pub fn new(host: &str, port: u16, path: &Path, ca: &[u8]) -> Result<Self, tls::Error> {
        let file = |source| tls::Error::File { path: path.to_owned(), source };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca) {
            roots.add(root.map_err(file)?)?;
        }
        if roots.is_empty() {
            return Err(tls::Error::Empty { path: path.to_owned() });
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare);
        let name = name.map_err(|_| rustls::Error::General(format!("{host}: no server's name")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.resumption = Resumption::disabled();
        Ok(Self { addr: format!("{host}:{port}"), name, tls: Arc::new(tls) })
    }
}
