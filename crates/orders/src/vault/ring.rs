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

const MAGIC: &str = "hansa-vault-4";
/// Read as well: the third lacks what was dropped, the second what was forgotten, and whose word
/// on `released` it is.
const FORMER_MAGICS: [&str; 2] = ["hansa-vault-3", "hansa-vault-2"];
const OLD_MAGIC: &str = "hansa-vault-1";
/// Pseudonyms and ids of vaults stay what they were when the format was young.
const NAMES: &str = "hansa-vault-2";
const KEY_BYTES: usize = 32;
/// Keys that a file may list; a window holds fewer.
const KEYS_MAX: usize = 1_024;
/// Tombstones of keys among them. Older ones are one line: whatever is not newer is destroyed.
const TOMBSTONES_MAX: usize = 512;

/// Erasures of one window; some 80 bytes each.
const ERASED_MAX: usize = 8_192;

pub(super) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The file's content.
#[derive(Clone)]
pub struct Ring {
    /// Never rotated: pseudonyms must stay what they are.
    pub secret: Secret,
    /// Oldest first; `None` in place of a destroyed secret.
    pub keys: Vec<(KeyInfo, Option<Secret>)>,
    /// The newest key whose tombstone made room: what is not newer and not listed is destroyed.
    pub forgotten: Option<RegionKey>,
    /// The oldest region key that each group still needs, and in which epoch it said so: a group
    /// that comes back from a backup needs again what it had let go of.
    pub released: BTreeMap<GroupId, (u64, RegionKey)>,
    /// Data keys that were erased, and the region key that opens them in older backups.
    pub erased: BTreeMap<KeyOf, RegionKey>,
    /// The newest region key under which each group has dropped something.
    pub dropped: BTreeMap<GroupId, RegionKey>,
}

impl Ring {
    pub fn draw(entropy: &dyn Entropy, now_ms: u64) -> Self {
        let secret = draw(entropy);
        let mut ring = Self::empty(secret);
        ring.add(entropy, now_ms, 1);
        ring
    }

    fn empty(secret: Secret) -> Self {
        let (released, erased, dropped) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { secret, keys: Vec::new(), forgotten: None, released, erased, dropped }
    }

    fn add(&mut self, entropy: &dyn Entropy, made_ms: u64, number: u32) -> KeyInfo {
        let secret = draw(entropy);
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
        match self.keys.iter().find(|(info, _)| info.key == key) {
            Some((_, secret)) => secret.as_ref().ok_or(VaultError::Destroyed(key)),
            None if self.forgotten.is_some_and(|last| key.number() <= last.number()) => {
                Err(VaultError::Destroyed(key))
            }
            None => Err(VaultError::UnknownKey(key)),
        }
    }

    /// A new key in the place of `former`; the one that took it if that happened before.
    pub fn rotate(
        &mut self,
        former: RegionKey,
        now_ms: u64,
        window_ms: u64,
        entropy: &dyn Entropy,
    ) -> Result<KeyInfo, VaultError> {
        // First: what it takes out moves the others.
        self.prune();
        let at = self.keys.iter().position(|(info, _)| info.key == former);
        let at = at.ok_or(VaultError::NotNewest(former))?;
        if let Some((next, _)) = self.keys.get(at + 1) {
            return Ok(*next);
        }
        let number = former.number() + 1;
        if self.keys.len() >= KEYS_MAX || number > RegionKey::NUMBER_MAX {
            return Err(VaultError::Full);
        }
        let destroy_after_ms = now_ms.saturating_add(window_ms);
        self.keys[at].0.state = KeyLife::Retired { at_ms: now_ms, destroy_after_ms };
        Ok(self.add(entropy, now_ms, number))
    }

    /// Makes one line of the oldest tombstones.
    fn prune(&mut self) {
        let dead =
            |(info, _): &(KeyInfo, Option<Secret>)| matches!(info.state, KeyLife::Destroyed { .. });
        let mut over = self.keys.iter().filter(|key| dead(key)).count();
        over = over.saturating_sub(TOMBSTONES_MAX);
        let mut last = self.forgotten;
        self.keys.retain(|key| {
            let goes = over > 0 && dead(key);
            if goes {
                over -= 1;
                last = last.max(Some(key.0.key));
            }
            !goes
        });
        self.forgotten = last;
    }

    /// Retired keys whose window is over and that no group needs any more; what a group said in
    /// a life before `epoch` counts for nothing.
    pub fn due(&self, groups: &[GroupId], epoch: u64, now_ms: u64) -> Vec<RegionKey> {
        let said = |group| self.released.get(group).filter(|(of, _)| *of >= epoch);
        let needed = |group| said(group).map_or(RegionKey(0), |(_, key)| *key);
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
        self.dropped.retain(|_, under| !keys.contains(under));
        self.prune();
    }

    /// Notes that a group of this epoch needs nothing older than `key`; whether that is news.
    pub fn release(&mut self, group: GroupId, said: (u64, RegionKey)) -> bool {
        let before = self.released.insert(group, said);
        match before {
            Some(before) if before >= said => {
                self.released.insert(group, before);
                false
            }
            _ => true,
        }
    }

    /// Notes what a living region key still opens, as far as there is room: whether that is news,
    /// and whether all of it found room.
    pub fn note_erased(&mut self, erased: &[(KeyOf, RegionKey)]) -> (bool, bool) {
        let (mut news, mut room) = (false, true);
        for (of, under) in erased {
            if self.secret_of(*under).is_err() || self.erased.contains_key(of) {
                continue;
            }
            match self.erased.len() < ERASED_MAX {
                true => news |= self.erased.insert(*of, *under).is_none(),
                false => room = false,
            }
        }
        (news, room)
    }

    /// Notes that a group has dropped something under a living region key; whether that is news.
    pub fn note_dropped(&mut self, group: GroupId, under: RegionKey) -> bool {
        let known = self.dropped.get(&group).is_some_and(|known| *known >= under);
        !known && self.secret_of(under).is_ok() && self.dropped.insert(group, under) != Some(under)
    }

    pub fn write(&self) -> Zeroizing<String> {
        self.write_as(MAGIC)
    }

    /// Whether this is how we write the ring, in this format or a former one.
    pub fn is_written(&self, text: &str) -> bool {
        let mut magics = [MAGIC].into_iter().chain(FORMER_MAGICS);
        magics.any(|magic| self.write_as(magic).trim_end() == text.trim_end())
    }

    fn write_as(&self, magic: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{magic}\nsecret {}\n", hex(&self.secret).as_str()));
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
        if let Some(last) = self.forgotten {
            let _ = writeln!(text, "forgotten {last}");
        }
        for (group, (epoch, key)) in &self.released {
            let _ = writeln!(text, "released {} {epoch} {key}", group.number());
        }
        for (of, under) in &self.erased {
            let KeyOf { subject: SubjectId { home, hash }, generation } = of;
            let _ = writeln!(text, "erased {home} {hash:032x} {generation} {under}");
        }
        for (group, under) in &self.dropped {
            let _ = writeln!(text, "dropped {} {under}", group.number());
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
        if !lines.next().is_some_and(|line| line == MAGIC || FORMER_MAGICS.contains(&line)) {
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
            // Of a life that is not named: the group says it again within seconds.
            ["released", group, of] => {
                GroupId::from_number(group.parse().ok()?)?;
                return key(of).map(drop);
            }
            ["released", group, epoch, of] => {
                let group = GroupId::from_number(group.parse().ok()?)?;
                self.released.insert(group, (number(epoch)?, key(of)?));
                return Some(());
            }
            ["dropped", group, under] => {
                self.dropped.insert(GroupId::from_number(group.parse().ok()?)?, key(under)?);
                return Some(());
            }
            ["forgotten", last] => {
                self.forgotten = Some(key(last)?);
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
        let base = hkdf::Salt::new(hkdf::HKDF_SHA256, NAMES.as_bytes()).extract(&secret[..]);
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

#[cfg(test)]
mod tests;
