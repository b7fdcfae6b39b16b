//! What a node says under its own name.

use hansa_api::signature::Signed;

use super::Identity;

impl Identity {
    /// Signs a text with the certificate's key.
    ///
    /// # Errors
    /// A key that signs with nothing that we verify.
    pub fn sign(&self, message: &[u8]) -> Result<Signed, rustls::Error> {
        let current = self.inner.current.load();
        let chain = current.key.cert.clone();
        Signed::by(&*current.key.key, chain, &self.inner.provider, message)
    }
}
