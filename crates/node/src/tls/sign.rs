//! What a node says under its own name.

use hansa_api::ownership::Signed;

use super::Identity;

impl Identity {
    /// Signs a text with the certificate's key.
    ///
    /// # Errors
    /// A key that signs with nothing that we verify.
    pub fn sign(&self, message: &[u8]) -> Result<Signed, rustls::Error> {
        let current = self.inner.current.load();
        let schemes = self.inner.provider.signature_verification_algorithms.supported_schemes();
        let other = || rustls::Error::General("the key signs with nothing that we verify".into());
        let signer = current.key.key.choose_scheme(&schemes).ok_or_else(other)?;
        let (chain, scheme) = (current.key.cert.clone(), signer.scheme());
        Ok(Signed { chain, scheme, signature: signer.sign(message)? })
    }
}
