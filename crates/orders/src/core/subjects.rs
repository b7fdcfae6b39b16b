//! Whose data it is: one data key per customer, wrapped by a key of the region's vault.
//!
//! State holds no plain key and no name: a customer is a keyed pseudonym here. Keys come wrapped
//! from the shell; apply only decides which one counts, so replicas agree and nothing is drawn.

mod apply;
mod hold;
mod owed;
mod repeat;

use std::fmt;

use bytes::Bytes;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::keys::Scope;
use super::shelf::LeftOf;

pub(in crate::core) use self::apply::under_way;
pub use self::hold::Subjects;
pub use self::owed::Owed;

/// A customer, or a guest's one request, as a pseudonym that only its home's vault can make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SubjectId {
    /// Whose vault made the pseudonym.
    pub home: RegionNumber,
    pub hash: u128,
}

/// A subject's key of one generation: erased ones are followed by new ones, never brought back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct KeyOf {
    pub subject: SubjectId,
    pub generation: u32,
}

impl KeyOf {
    /// What a wrapped key and a sealed block are bound to.
    pub fn to_bytes(self) -> [u8; 22] {
        let mut bytes = [0; 22];
        bytes[..2].copy_from_slice(&self.subject.home.get().to_be_bytes());
        bytes[2..18].copy_from_slice(&self.subject.hash.to_be_bytes());
        bytes[18..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }
}

/// Generations that one epoch may give a subject.
const GENERATIONS: u32 = 1 << 16;

/// The first generation that a group of this epoch gives out.
///
/// A backup has forgotten which generations came after it; copies in other regions and the vault's
/// list of erasures have not. So each life of a group counts in a space of its own: no two keys of
/// a subject ever share a number.
pub fn first_generation(epoch: u64) -> u32 {
    let lives = epoch.saturating_sub(1).min(u64::from(u32::MAX / GENERATIONS));
    // Not above the highest multiple: the cast keeps it whole.
    lives as u32 * GENERATIONS + 1
}

/// A key of the region's vault. A later one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RegionKey(pub u64);

impl RegionKey {
    /// Enough for a rotation every hour through 1,900 years.
    pub const NUMBER_MAX: u32 = (1 << 24) - 1;
    const PRINT_BITS: u32 = 40;

    /// The `number`th key of a vault, told from another vault's by 40 bits of its own.
    pub fn new(number: u32, print: u64) -> Self {
        let print = print & ((1 << Self::PRINT_BITS) - 1);
        Self(u64::from(number.min(Self::NUMBER_MAX)) << Self::PRINT_BITS | print)
    }

    pub fn number(self) -> u32 {
        (self.0 >> Self::PRINT_BITS) as u32
    }
}

impl fmt::Display for RegionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A data key under a region key; useless without the vault.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wrapped {
    pub by: RegionKey,
    pub nonce: [u8; 12],
    pub ciphertext: Bytes,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped {{ by: {}, [redacted] }}", self.by)
    }
}

/// Longer than any wrapped key: a vault's service may add a header of its own.
pub const WRAPPED_BYTES_MAX: usize = 512;
/// Keys in one command that re-wraps, takes or forgets: what apply costs stays small.
pub const KEYS_MAX: usize = 256;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SubjectRow {
    /// The generation of `key`, or of the last one if there is none.
    pub generation: u32,
    /// `None` once erased, until the customer orders again.
    pub key: Option<Wrapped>,
    /// Living keys of earlier generations, oldest first, which no erasure ended: their home came
    /// back from a backup that did not know them, and what it had shared is here still; or they
    /// are to go once an order has ended, and he ordered here or came before that.
    pub older: Vec<(u32, Wrapped)>,
    /// What was erased, oldest first: the tombstones.
    pub erased: Vec<Erased>,
    /// Orders of his that left hot state, by generation, ascending.
    pub left: Vec<LeftOf>,
}

impl SubjectRow {
    /// Living keys with their generations.
    pub fn living(&self) -> impl Iterator<Item = (u32, &Wrapped)> {
        let newest = self.key.as_ref().map(|key| (self.generation, key));
        self.older.iter().map(|(generation, key)| (*generation, key)).chain(newest)
    }
}

/// What a former owner of his orders knew an erased customer by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Former {
    /// His keys up to this one.
    pub of: KeyOf,
    /// By these births' owner it is told: they are why anybody here speaks for another home.
    pub birth: RegionNumber,
}

/// Why a key was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// Who says that it was dropped does not say which: another region's older program, a vault's
    /// list of what went after a backup, or a region key that is gone.
    Unsaid,
    /// He lives elsewhere, and what he left there was deleted: nobody wished to forget him.
    Left,
    /// Somebody asked for him to be forgotten.
    Erased,
}

/// By which request a key goes, and why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// 0 where none asked.
    pub request: Scope,
    pub cause: Cause,
}

impl Asked {
    /// By no request that is known, and nobody says why.
    pub const UNSAID: Self = Self { request: Scope(0), cause: Cause::Unsaid };
}

/// That a key was dropped, and what the receipt of it says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Erased {
    pub generation: u32,
    /// The request that asked for it; another region's for a copy. Of what he left, the one that
    /// moved him.
    pub request: Scope,
    pub cause: Cause,
    pub at: LogTime,
    /// The group's event that says so; 0 where none does.
    pub seq: u64,
    /// The region key that wrapped it, in every log and backup until that is destroyed.
    pub under: RegionKey,
    /// Wall clock ms.
    pub asked_ms: u64,
    pub destroy_after_ms: u64,
    /// Orders that are kept without personal data.
    pub orders: u32,
    /// Dropped with it: keys of the homes from which his orders were taken over.
    pub also: Vec<Former>,
}

impl Erased {
    /// Every key that is gone with it.
    pub fn keys_of(&self, subject: SubjectId) -> impl Iterator<Item = KeyOf> {
        let own = KeyOf { subject, generation: self.generation };
        self.also.iter().map(|former| former.of).chain([own])
    }
}

/// What happens to keys; commands of the shell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyStep {
    /// New and re-wrapped keys are under this region key from now on.
    Use { key: RegionKey },
    /// The same data keys under the region key in use.
    Rewrap(Vec<KeyEntry>),
    /// Data keys of another home's customers, who may be served from here one day.
    Take(Vec<KeyEntry>),
    /// Another home dropped these, up to the generation named.
    Forget { keys: Vec<KeyOf>, asked: Asked, asked_ms: u64, destroy_after_ms: u64 },
    /// The vault has destroyed the region key: what a backup brought back under it is erased.
    Lost { key: RegionKey, asked_ms: u64 },
    /// Own customers who were erased after the backup that this group came back from: the vault
    /// remembers.
    Again { keys: Vec<KeyOf>, asked_ms: u64, destroy_after_ms: u64 },
    /// The law no longer lets this region hold these keys of another home's customers. Not
    /// erased: a later law may bring them back.
    GiveBack(Vec<KeyOf>),
    /// Own customers whom the region erased that has, or had, their orders. One who is served here
    /// still, under an order that is under way, is owed it until that is over.
    Told { keys: Vec<KeyOf>, asked: Asked, asked_ms: u64, destroy_after_ms: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyEntry {
    pub of: KeyOf,
    pub wrapped: Wrapped,
}

/// A customer's wish to be forgotten, as the shell commits it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Erase {
    pub subject: SubjectId,
    pub request: Scope,
    pub asked_ms: u64,
    pub destroy_after_ms: u64,
}

/// Whether a block can be opened, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyState {
    Living(Wrapped),
    Erased,
    /// Never heard of.
    Unknown,
}

/// Which key a new order of a subject is sealed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    Use(u32, Wrapped),
    /// Of this generation, under this region key if the group has one in use.
    Mint(u32, Option<RegionKey>),
}
