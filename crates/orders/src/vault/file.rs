//! One key per region, in a file that only its owner may read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hansa_node::env::Entropy;
use hansa_types::id::OrderId;
use hansa_wal::fs::Fs;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{Vault, VaultError};
use crate::core::contents::Sealed;

const KEY_BYTES: usize = 32;
const MAGIC: &str = "hansa-vault-1";
const FILE_BYTES_MAX: u64 = 256;

/// The region's key, shared by its nodes through the configured path.
///
/// # Source
/// RFC 8439 (ChaCha20-Poly1305), RFC 5869 (HKDF): one secret, one derived key for each purpose.
pub struct FileVault {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    entropy: Arc<dyn Entropy>,
    /// Empty until the file is there.
    keys: OnceLock<Keys>,
}

/// What the file's secret becomes.
struct Keys {
    id: u64,
    seal: LessSafeKey,
    print: hmac::Key,
}

impl FileVault {
    /// Reads the key if the file is there. Makes none: see [`Vault::make`].
    ///
    /// # Errors
    /// The file is there and is no key of ours, or cannot be read.
    pub fn open(
        fs: Arc<dyn Fs>,
        path: &Path,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, VaultError> {
        let vault = Self { fs, path: path.to_owned(), entropy, keys: OnceLock::new() };
        vault.id()?;
        Ok(vault)
    }

    /// The keys, read at the first call that finds the file.
    fn load(&self) -> Result<&Keys, VaultError> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let secret = match read(self.fs.as_ref(), &self.path) {
            Err(VaultError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                return Err(VaultError::NoKey);
            }
            other => other?,
        };
        let keys = Keys::of_secret(&secret)?;
        Ok(self.keys.get_or_init(|| keys))
    }

    fn keys(&self) -> Result<&Keys, VaultError> {
        self.keys.get().ok_or(VaultError::NoKey)
    }
}

impl Keys {
    fn of_secret(secret: &[u8; KEY_BYTES]) -> Result<Self, VaultError> {
        let base = hkdf::Salt::new(hkdf::HKDF_SHA256, MAGIC.as_bytes()).extract(secret);
        let seal = derive(&base, b"seal")?;
        let print = derive(&base, b"fingerprint")?;
        let named = derive(&base, b"key id")?;
        let seal = UnboundKey::new(&CHACHA20_POLY1305, &seal[..]).map_err(|_| VaultError::Seal)?;
        let mut id = [0; 8];
        id.copy_from_slice(&named[..8]);
        Ok(Self {
            id: u64::from_be_bytes(id),
            seal: LessSafeKey::new(seal),
            print: hmac::Key::new(hmac::HMAC_SHA256, &print[..]),
        })
    }
}

impl Vault for FileVault {
    fn seal(&self, order: OrderId, plain: &[u8]) -> Result<Sealed, VaultError> {
        let keys = self.keys()?;
        // 96 random bits: below 2^32 blocks per key the chance of a repeat is under 2^-32, and a
        // repeat would expose the two blocks only (NIST SP 800-38D §8.3 sets that bound).
        let mut nonce = [0; 12];
        self.entropy.fill(&mut nonce);
        let mut block = plain.to_vec();
        let aad = Aad::from(order.to_bytes());
        let sealed = Nonce::assume_unique_for_key(nonce);
        let done = keys.seal.seal_in_place_append_tag(sealed, aad, &mut block);
        done.map_err(|_| VaultError::Seal)?;
        Ok(Sealed { key_id: keys.id, nonce, ciphertext: Bytes::from(block) })
    }

    fn open(&self, order: OrderId, sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys()?;
        if sealed.key_id != keys.id {
            return Err(VaultError::Open);
        }
        let mut block = sealed.ciphertext.to_vec();
        let aad = Aad::from(order.to_bytes());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let plain = keys.seal.open_in_place(nonce, aad, &mut block);
        Ok(plain.map_err(|_| VaultError::Open)?.to_vec())
    }

    fn fingerprint(&self, purpose: &str, bytes: &[u8]) -> Result<u128, VaultError> {
        let mut context = hmac::Context::with_key(&self.keys()?.print);
        context.update(&(purpose.len() as u64).to_le_bytes());
        context.update(purpose.as_bytes());
        context.update(bytes);
        let mut first = [0; 16];
        first.copy_from_slice(&context.sign().as_ref()[..16]);
        Ok(u128::from_be_bytes(first))
    }

    fn id(&self) -> Result<Option<u64>, VaultError> {
        match self.load() {
            Ok(keys) => Ok(Some(keys.id)),
            Err(VaultError::NoKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(&self) -> Result<u64, VaultError> {
        if self.id()?.is_none() {
            // Nodes that share the path race for the file: one makes it, the others read it.
            create(self.fs.as_ref(), &self.path, self.entropy.as_ref())?;
            tracing::info!(path = %self.path.display(), "vault key made");
        }
        Ok(self.load()?.id)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

fn derive(
    base: &hkdf::Prk,
    purpose: &'static [u8],
) -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let parts = [purpose];
    let expanded = base.expand(&parts, hkdf::HKDF_SHA256).map_err(|_| VaultError::Seal)?;
    expanded.fill(&mut key[..]).map_err(|_| VaultError::Seal)?;
    Ok(key)
}

/// Makes the file whole under another name first: a reader never sees half a key.
fn create(fs: &dyn Fs, path: &Path, entropy: &dyn Entropy) -> Result<(), VaultError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs.create_dir_all(folder)?;
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    entropy.fill(&mut secret[..]);
    let hex: Zeroizing<String> =
        Zeroizing::new(secret.iter().map(|byte| format!("{byte:02x}")).collect());
    let text = Zeroizing::new(format!("{MAGIC} {}\n", hex.as_str()));
    let aside = path.with_extension(format!("new-{:016x}", entropy.number()));
    let file = fs.create_private(&aside)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync_data()?;
    // Whoever comes second must not replace the first one's key.
    let made = fs.rename_new(&aside, path);
    if made.is_err() {
        fs.remove(&aside)?;
    }
    // Before the first block is sealed: a name lost in a crash would lose every block with it.
    fs.sync_dir(folder)?;
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn read(fs: &dyn Fs, path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let bytes = Zeroizing::new(fs.read(path, FILE_BYTES_MAX)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| VaultError::BadFile)?;
    let hex = text.trim().strip_prefix(MAGIC).map(str::trim).ok_or(VaultError::BadFile)?;
    if hex.len() != 2 * KEY_BYTES || !hex.is_ascii() {
        return Err(VaultError::BadFile);
    }
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    for (n, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map_err(|_| VaultError::BadFile)?;
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use hansa_node::env::SystemEntropy;
    use hansa_types::region::{RegionNumber, Slot};
    use hansa_types::time::LogTime;
    use hansa_wal::fs::RealFs;

    use super::*;

    fn order(n: u64) -> OrderId {
        OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), n)
    }

    fn vault(path: &Path) -> FileVault {
        let vault = unmade(path);
        vault.make().unwrap();
        vault
    }

    fn unmade(path: &Path) -> FileVault {
        FileVault::open(Arc::new(RealFs), path, Arc::new(SystemEntropy::new())).unwrap()
    }

    #[test]
    fn opening_makes_no_key_and_finds_the_one_that_is_put_there_later() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let (late, made) = (unmade(&here), vault(&there));
        assert_eq!(late.id().unwrap(), None);
        assert!(matches!(late.fingerprint("x", b"x"), Err(VaultError::NoKey)));
        assert!(matches!(late.seal(order(1), b"Ada"), Err(VaultError::NoKey)));
        assert!(!here.exists());
        fs::copy(&there, &here).unwrap();
        assert_eq!(late.id().unwrap(), made.id().unwrap());
        assert_eq!(late.make().unwrap(), made.make().unwrap());
        let sealed = made.seal(order(1), b"Ada").unwrap();
        assert_eq!(late.open(order(1), &sealed).unwrap(), b"Ada");
    }

    #[test]
    fn nodes_of_a_region_share_the_key_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault/region.key");
        let sealed = vault(&path).seal(order(1), b"Ada").unwrap();
        assert_eq!(vault(&path).open(order(1), &sealed).unwrap(), b"Ada");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_block_opens_for_its_own_order_only() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder.path().join("key"));
        let sealed = vault.seal(order(1), b"Ada Lovelace").unwrap();
        assert!(vault.open(order(2), &sealed).is_err());
        assert!(!sealed.ciphertext.windows(3).any(|w| w == b"Ada"));
        assert_ne!(vault.seal(order(1), b"Ada Lovelace").unwrap().nonce, sealed.nonce);
        let mut broken = sealed.clone();
        broken.ciphertext = Bytes::from(vec![0; broken.ciphertext.len()]);
        assert!(vault.open(order(1), &broken).is_err());
        assert_eq!(format!("{sealed:?}").matches("redacted").count(), 1);
    }

    #[test]
    fn fingerprints_depend_on_key_purpose_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (vault(&folder.path().join("a")), vault(&folder.path().join("b")));
        let print = |of: &FileVault, purpose, bytes| of.fingerprint(purpose, bytes).unwrap();
        let first = print(&a, "body", b"x");
        assert_eq!(first, print(&a, "body", b"x"));
        for other in [print(&a, "body", b"y"), print(&a, "other", b"x"), print(&b, "body", b"x")] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "something else").unwrap();
        let entropy = Arc::new(SystemEntropy::new());
        assert!(FileVault::open(Arc::new(RealFs), &path, entropy).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else");
    }
}
