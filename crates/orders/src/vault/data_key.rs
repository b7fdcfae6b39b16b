//! One customer's data key: seals his personal blocks, fingerprints his requests.

use bytes::Bytes;
use hansa_node::env::Entropy;
use hansa_types::id::OrderId;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use zeroize::Zeroizing;

use super::VaultError;
use crate::core::contents::Sealed;
use crate::core::subjects::KeyOf;

const HALF: usize = 32;

/// Two independent keys, drawn together: nothing is derived, so a use costs no hash more.
///
/// # Source
/// RFC 8439 (ChaCha20-Poly1305), RFC 2104 (HMAC).
pub struct DataKey(Zeroizing<[u8; Self::BYTES]>);

impl DataKey {
    pub const BYTES: usize = 2 * HALF;

    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        entropy.fill(&mut bytes[..]);
        Self(bytes)
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; Self::BYTES]);
        if bytes.len() != Self::BYTES {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// Seals `plain` for the order; nobody can move it to another order or customer unnoticed.
    ///
    /// # Errors
    /// The block is too long.
    pub fn seal(
        &self,
        of: KeyOf,
        order: OrderId,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Sealed, VaultError> {
        let (nonce, block) = seal(&self.0[..HALF], &aad(of, order), plain, entropy)?;
        Ok(Sealed { nonce, ciphertext: Bytes::from(block) })
    }

    /// # Errors
    /// Another key, another order, or damage: they cannot be told apart.
    pub fn open(
        &self,
        of: KeyOf,
        order: OrderId,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        open(&self.0[..HALF], &aad(of, order), sealed.nonce, &sealed.ciphertext)
    }

    /// Equal for equal requests, telling nothing about them.
    pub fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> u128 {
        fingerprint(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[HALF..]), purpose, bytes)
    }
}

fn aad(of: KeyOf, order: OrderId) -> [u8; 38] {
    let mut aad = [0; 38];
    aad[..22].copy_from_slice(&of.to_bytes());
    aad[22..].copy_from_slice(&order.to_bytes());
    aad
}

pub(super) fn fingerprint(key: &hmac::Key, purpose: &str, bytes: &[u8]) -> u128 {
    let mut context = hmac::Context::with_key(key);
    context.update(&(purpose.len() as u64).to_le_bytes());
    context.update(purpose.as_bytes());
    context.update(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&context.sign().as_ref()[..16]);
    u128::from_be_bytes(first)
}

pub(super) fn seal(
    key: &[u8],
    aad: &[u8],
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Result<([u8; 12], Vec<u8>), VaultError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| VaultError::Seal)?;
    // 96 random bits: below 2^32 blocks per key the chance of a repeat is under 2^-32, and a
    // repeat would expose the two blocks only (NIST SP 800-38D §8.3 sets that bound).
    let mut nonce = [0; 12];
    entropy.fill(&mut nonce);
    let mut block = plain.to_vec();
    let sealed = Nonce::assume_unique_for_key(nonce);
    let done = LessSafeKey::new(key).seal_in_place_append_tag(sealed, Aad::from(aad), &mut block);
    done.map_err(|_| VaultError::Seal)?;
    Ok((nonce, block))
}

pub(super) fn open(
    key: &[u8],
    aad: &[u8],
    nonce: [u8; 12],
    block: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| VaultError::Open)?;
    let mut block = Zeroizing::new(block.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = LessSafeKey::new(key).open_in_place(nonce, Aad::from(aad), &mut block);
    let length = plain.map_err(|_| VaultError::Open)?.len();
    block.truncate(length);
    Ok(block)
}
