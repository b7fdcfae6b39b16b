//! What a vault file says: the vault's secret, its region keys, and how far groups have come.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hansa_node::env::Entropy;
use hansa_types::id::GroupId;
use hansa_types::region::RegionNumber;
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{KeyInfo, KeyLife, VaultError};
use crate::core::subjects::{KeyOf, RegionKey, SubjectId};

pub(super) const MAGIC: &str = "hansa-vault-2";
const OLD_MAGIC: &str = "hansa-vault-1";
const KEY_BYTES: usize = 32;
/// Keys and tombstones of keys that a file may list: decades of rotations.
const KEYS_MAX: usize = 1_024;

/// Erasures of one window; some 80 bytes each.
const ERASED_MAX: usize = 8_192;

pub(super) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The file's content.
#[derive(Clone)]
pub(super) struct Ring {
    /// Never rotated: pseudonyms must stay what they are.
    pub secret: Secret,
    /// Oldest first; `None` in place of a destroyed secret.
    pub keys: Vec<(KeyInfo, Option<Secret>)>,
    /// The oldest region key that each group still needs.
    pub released: BTreeMap<GroupId, RegionKey>,
    /// Data keys that were erased, and the region key that opens them in older backups.
    pub erased: BTreeMap<KeyOf, RegionKey>,
}

impl Ring {
    pub fn draw(entropy: &dyn Entropy, now_ms: u64) -> Self {
        let secret = draw(entropy);
        let mut ring = Self::empty(secret);
        ring.add(entropy, now_ms);
        ring
    }

    fn empty(secret: Secret) -> Self {
        let (released, erased) = (BTreeMap::new(), BTreeMap::new());
        Self { secret, keys: Vec::new(), released, erased }
    }

    fn add(&mut self, entropy: &dyn Entropy, made_ms: u64) -> KeyInfo {
        let secret = draw(entropy);
        let number = self.keys.last().map_or(0, |(last, _)| last.key.number()) + 1;
        let key = RegionKey::new(number, print(&secret));
        let info = KeyInfo { key, made_ms, state: KeyLife::Active };
        self.keys.push((info, Some(secret)));
        info
    }

    pub fn newest(&self) -> Result<(RegionKey, &Secret), VaultError> {
        let active = |(info, secret): &'_ &(KeyInfo, Option<Secret>)| {
            info.state == KeyLife::Active && secret.is_some()
        };
        let (info, secret) = self.keys.last().filter(active).ok_or(VaultError::NoKey)?;
        Ok((info.key, secret.as_ref().ok_or(VaultError::NoKey)?))
    }

    pub fn secret_of(&self, key: RegionKey) -> Result<&Secret, VaultError> {
        let found = self.keys.iter().find(|(info, _)| info.key == key);
        let (_, secret) = found.ok_or(VaultError::UnknownKey(key))?;
        secret.as_ref().ok_or(VaultError::Destroyed(key))
    }

    /// A new key in the place of `former`; the one that took it if that happened before.
    pub fn rotate(
        &mut self,
        former: RegionKey,
        now_ms: u64,
        window_ms: u64,
        entropy: &dyn Entropy,
    ) -> Result<KeyInfo, VaultError> {
        let at = self.keys.iter().position(|(info, _)| info.key == former);
        let at = at.ok_or(VaultError::NotNewest(former))?;
        if let Some((next, _)) = self.keys.get(at + 1) {
            return Ok(*next);
        }
        if self.keys.len() == KEYS_MAX {
            return Err(VaultError::Full);
        }
        let destroy_after_ms = now_ms.saturating_add(window_ms);
        self.keys[at].0.state = KeyLife::Retired { at_ms: now_ms, destroy_after_ms };
        Ok(self.add(entropy, now_ms))
    }

    /// Retired keys whose window is over and that no group needs any more.
    pub fn due(&self, groups: &[GroupId], now_ms: u64) -> Vec<RegionKey> {
        let needed = |group| self.released.get(group).copied().unwrap_or(RegionKey(0));
        let oldest = groups.iter().map(needed).min().unwrap_or(RegionKey(0));
        let over = |(info, _): &&(KeyInfo, Option<Secret>)| match info.state {
            KeyLife::Retired { destroy_after_ms, .. } => {
                now_ms >= destroy_after_ms && info.key < oldest
            }
            KeyLife::Active | KeyLife::Destroyed { .. } => false,
        };
        self.keys.iter().filter(over).map(|(info, _)| info.key).collect()
    }

    pub fn destroy(&mut self, keys: &[RegionKey], now_ms: u64) {
        for (info, secret) in self.keys.iter_mut().filter(|(info, _)| keys.contains(&info.key)) {
            info.state = KeyLife::Destroyed { at_ms: now_ms };
            *secret = None;
        }
        self.erased.retain(|_, under| !keys.contains(under));
    }

    /// Notes what a living region key still opens; whether that is news.
    ///
    /// # Errors
    /// The file is full: erasures of one window do not fit.
    pub fn note_erased(&mut self, erased: &[(KeyOf, RegionKey)]) -> Result<bool, VaultError> {
        let before = self.erased.len();
        for (of, under) in erased {
            if self.secret_of(*under).is_ok() {
                self.erased.insert(*of, *under);
            }
        }
        match self.erased.len() {
            len if len > ERASED_MAX => Err(VaultError::Full),
            len => Ok(len > before),
        }
    }

    pub fn write(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{MAGIC}\nsecret {}\n", hex(&self.secret).as_str()));
        // Writing into a string cannot fail.
        for (info, secret) in &self.keys {
            let (key, made) = (info.key, info.made_ms);
            let secret = secret.as_ref().map(hex).unwrap_or_default();
            let _ = match info.state {
                KeyLife::Active => writeln!(text, "active {key} {made} {}", secret.as_str()),
                KeyLife::Retired { at_ms, destroy_after_ms } => {
                    let secret = secret.as_str();
                    writeln!(text, "retired {key} {made} {at_ms} {destroy_after_ms} {secret}")
                }
                KeyLife::Destroyed { at_ms } => writeln!(text, "destroyed {key} {made} {at_ms}"),
            };
        }
        for (group, key) in &self.released {
            let _ = writeln!(text, "released {} {key}", group.number());
        }
        for (of, under) in &self.erased {
            let KeyOf { subject: SubjectId { home, hash }, generation } = of;
            let _ = writeln!(text, "erased {home} {hash:032x} {generation} {under}");
        }
        let sum = sum(&text);
        let _ = writeln!(text, "sum {sum}");
        text
    }

    /// # Errors
    /// Another format, or damage.
    pub fn read(text: &str) -> Result<Self, VaultError> {
        if text.starts_with(OLD_MAGIC) {
            return Err(VaultError::OldFile(OLD_MAGIC));
        }
        let bad = || VaultError::BadFile;
        let (body, last) = text.trim_end().rsplit_once('\n').ok_or_else(bad)?;
        let body = format!("{body}\n");
        let body = Zeroizing::new(body);
        if last.strip_prefix("sum ") != Some(sum(&body).as_str()) {
            return Err(bad());
        }
        let mut lines = body.lines();
        if lines.next() != Some(MAGIC) {
            return Err(bad());
        }
        let secret = lines.next().and_then(|line| line.strip_prefix("secret "));
        let secret = secret.and_then(unhex).ok_or_else(bad)?;
        let mut ring = Self::empty(secret);
        for line in lines {
            ring.line(line).ok_or_else(bad)?;
        }
        let ordered = ring.keys.windows(2).all(|pair| pair[0].0.key < pair[1].0.key);
        match ordered && ring.newest().is_ok() {
            true => Ok(ring),
            false => Err(bad()),
        }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().ok();
        let key = |text: &str| u64::from_str_radix(text, 16).ok().map(RegionKey);
        let (info, secret) = match words[..] {
            ["released", group, of] => {
                let group = GroupId::from_number(group.parse().ok()?)?;
                self.released.insert(group, key(of)?);
                return Some(());
            }
            ["erased", home, hash, generation, under] => {
                let home = RegionNumber::try_from(home.parse::<u16>().ok()?).ok()?;
                let hash = u128::from_str_radix(hash, 16).ok()?;
                let subject = SubjectId { home, hash };
                let of = KeyOf { subject, generation: generation.parse().ok()? };
                self.erased.insert(of, key(under)?);
                return Some(());
            }
            ["active", id, made, secret] => (
                KeyInfo { key: key(id)?, made_ms: number(made)?, state: KeyLife::Active },
                Some(unhex(secret)?),
            ),
            ["retired", id, made, at, after, secret] => {
                let (at_ms, destroy_after_ms) = (number(at)?, number(after)?);
                let state = KeyLife::Retired { at_ms, destroy_after_ms };
                (KeyInfo { key: key(id)?, made_ms: number(made)?, state }, Some(unhex(secret)?))
            }
            ["destroyed", id, made, at] => {
                let state = KeyLife::Destroyed { at_ms: number(at)? };
                (KeyInfo { key: key(id)?, made_ms: number(made)?, state }, None)
            }
            _ => return None,
        };
        self.keys.push((info, secret));
        Some(())
    }
}

/// What the vault's secret becomes: an id that names it and a key that makes pseudonyms.
pub(super) struct Named {
    pub id: u64,
    pub print: hmac::Key,
}

impl Named {
    pub fn of(secret: &Secret) -> Result<Self, VaultError> {
        let base = hkdf::Salt::new(hkdf::HKDF_SHA256, MAGIC.as_bytes()).extract(&secret[..]);
        let print = derive(&base, b"fingerprint")?;
        let named = derive(&base, b"vault id")?;
        let mut id = [0; 8];
        id.copy_from_slice(&named[..8]);
        let print = hmac::Key::new(hmac::HMAC_SHA256, &print[..]);
        Ok(Self { id: u64::from_be_bytes(id), print })
    }
}

fn derive(base: &hkdf::Prk, purpose: &'static [u8]) -> Result<Secret, VaultError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let parts = [purpose];
    let expanded = base.expand(&parts, hkdf::HKDF_SHA256).map_err(|_| VaultError::Seal)?;
    expanded.fill(&mut key[..]).map_err(|_| VaultError::Seal)?;
    Ok(key)
}

fn draw(entropy: &dyn Entropy) -> Secret {
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    entropy.fill(&mut secret[..]);
    secret
}

/// Names a region key without telling it.
fn print(secret: &Secret) -> u64 {
    let hash = blake3::derive_key("hansa 2026 region key name", &secret[..]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

fn sum(body: &str) -> String {
    blake3::hash(body.as_bytes()).to_hex()[..32].to_owned()
}

fn hex(secret: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES));
    for byte in secret.iter() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Secret> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    for (n, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(secret)
}
