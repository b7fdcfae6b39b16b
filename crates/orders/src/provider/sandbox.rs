//! A provider that is always at hand: what it does follows from the token alone.
//!
//! | token | does |
//! |---|---|
//! | `tok_approve` | approves |
//! | `tok_decline` | declines: `card_declined` |
//! | `tok_timeout_after_charge` | charges, and does not answer the first call |
//! | `tok_late` | charges, but knows and says so only `late_ms` later |
//! | `tok_unreachable` | cannot be reached; never charges |
//! | `tok_capture_refused` | approves, then refuses to capture |
//! | any other | declines: `unknown_token` |
//!
//! The plain tokens need no memory: a reference proves its own authorization. What the others did,
//! and every void, is a line in a journal that the region's nodes share, so a restart changes
//! nothing.

mod journal;
mod settlement;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use hansa_node::env::Clock;

use super::{Answer, Charge, Fault, Listing, Provider, Reply};
use journal::{Journal, Known};
use settlement::{Said, Settlement};

/// The sandbox; what it remembers outlives the nodes that call it.
pub struct SandboxProvider {
    clock: Arc<dyn Clock>,
    journal: Journal,
    late_ms: u64,
    remember_all: bool,
    settlement: Option<Settlement>,
}

impl SandboxProvider {
    /// # Errors
    /// The journal cannot be opened.
    pub fn open(journal: &Path, late_ms: u64, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let journal = Journal::open(journal)?;
        Ok(Self { clock, journal, late_ms, remember_all: false, settlement: None })
    }

    /// Plain charges are remembered too, and listed.
    #[must_use]
    pub fn remembering(self, all: bool) -> Self {
        Self { remember_all: all, ..self }
    }

    /// What it does is also said in a settlement file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn settling(self, path: Option<&Path>) -> std::io::Result<Self> {
        let settlement = path.map(Settlement::open).transpose()?;
        Ok(Self { settlement, ..self })
    }

    /// Says what was done; what was not done needs no word.
    fn said(
        &self,
        done: Result<Answer, Fault>,
        kind: &'static str,
        charge: &Charge,
        reference: &str,
    ) -> Result<Answer, Fault> {
        let Some(settlement) = &self.settlement else { return done };
        let reference = match &done {
            Ok(Answer::Authorized { reference }) => reference,
            Ok(Answer::Done) => reference,
            _ => return done,
        };
        let said = Said {
            key: &charge.key,
            kind,
            amount_minor: charge.amount_minor,
            currency: charge.currency.as_str(),
            reference,
        };
        settlement.say(&said, self.now())?;
        done
    }

    /// A sandbox apart from the nodes, which all call this one: it remembers for as long as it
    /// lives.
    ///
    /// As a third party it has its own clock.
    pub fn apart(late_ms: u64, clock: Arc<dyn Clock>) -> Self {
        let journal = Journal::apart();
        Self { clock, journal, late_ms, remember_all: false, settlement: None }
    }

    /// What it remembers, as its journal has it.
    pub fn journal(&self) -> String {
        self.journal.text()
    }

    fn now(&self) -> u64 {
        self.clock.wall().ms()
    }

    fn authorize_now(&self, charge: &Charge, token: &str) -> Result<Answer, Fault> {
        let approved = || Ok(Answer::Authorized { reference: reference("ok", charge) });
        let declined = |why: &str| Ok(Answer::Declined { why: why.to_owned() });
        match token {
            "tok_approve" | "tok_capture_refused" => match self.journal.known(&charge.key)? {
                Some(Known { void: true, .. }) => declined("cancelled"),
                None if token == "tok_approve" && self.remember_all => {
                    self.journal.charge(&charge.key, &reference("ok", charge), self.now())?;
                    approved()
                }
                _ if token == "tok_approve" => approved(),
                _ => Ok(Answer::Authorized { reference: reference("nocap", charge) }),
            },
            "tok_decline" => declined("card_declined"),
            "tok_timeout_after_charge" => self.remembered(charge, self.now()),
            "tok_late" => self.remembered(charge, self.now() + self.late_ms),
            "tok_unreachable" => Err(Fault::Timeout),
            _ => declined("unknown_token"),
        }
    }

    /// The first call charges and stays silent; later ones tell, once the charge is visible.
    fn remembered(&self, charge: &Charge, visible_ms: u64) -> Result<Answer, Fault> {
        match self.journal.known(&charge.key)? {
            None => {
                self.journal.charge(&charge.key, &reference("ok", charge), visible_ms)?;
                Err(Fault::Timeout)
            }
            Some(known) if known.void => Ok(Answer::Declined { why: "cancelled".to_owned() }),
            Some(known) if known.visible_ms > self.now() => Err(Fault::Timeout),
            Some(known) => Ok(Answer::Authorized { reference: known.reference }),
        }
    }

    fn cancel_now(&self, key: &str, proof: &str) -> Result<Answer, Fault> {
        let known = self.journal.known(key)?;
        let proven = proves(proof, key);
        match known {
            Some(known) if known.void => Ok(Answer::Done),
            Some(known) if known.visible_ms > self.now() && !proven => Ok(Answer::NotFound),
            None if !proven => Ok(Answer::NotFound),
            _ => {
                self.journal.void(key)?;
                Ok(Answer::Done)
            }
        }
    }

    fn lookup_now(&self, key: &str) -> Result<Answer, Fault> {
        Ok(match self.journal.known(key)? {
            Some(known) if known.visible_ms <= self.now() && !known.void => {
                Answer::Authorized { reference: known.reference }
            }
            _ => Answer::NotFound,
        })
    }

    fn capture_now(&self, charge: &Charge, proof: &str) -> Result<Answer, Fault> {
        let refused = |why: &str| Ok(Answer::Refused { why: why.to_owned() });
        if proof == reference("nocap", charge) {
            return refused("capture_refused");
        }
        if proof != reference("ok", charge) {
            return refused("not_authorized");
        }
        match self.journal.known(&charge.key)? {
            Some(known) if known.void => refused("void"),
            _ => Ok(Answer::Done),
        }
    }
}

impl Provider for SandboxProvider {
    fn authorize<'a>(&'a self, charge: &'a Charge, token: &'a str) -> Reply<'a> {
        let done = self.authorize_now(charge, token);
        Box::pin(std::future::ready(self.said(done, "auth", charge, "")))
    }

    fn capture<'a>(&'a self, charge: &'a Charge, reference: &'a str) -> Reply<'a> {
        let done = self.capture_now(charge, reference);
        Box::pin(std::future::ready(self.said(done, "capture", charge, reference)))
    }

    fn cancel<'a>(&'a self, key: &'a str, reference: &'a str) -> Reply<'a> {
        let done = self.cancel_now(key, reference);
        // By its key alone, when the caller never heard of a reference.
        let known = match self.journal.known(key) {
            Ok(Some(known)) if reference.is_empty() => known.reference,
            _ => reference.to_owned(),
        };
        let done = match authorized(&known) {
            Some((amount_minor, currency)) => {
                let charge = Charge { key: key.to_owned(), amount_minor, currency };
                self.said(done, "void", &charge, &known)
            }
            // Nothing was proven to have been held.
            None => done,
        };
        Box::pin(std::future::ready(done))
    }

    fn lookup<'a>(&'a self, key: &'a str) -> Reply<'a> {
        Box::pin(std::future::ready(self.lookup_now(key)))
    }

    fn list(&self, since_ms: u64) -> Listing<'_> {
        let charges = self.journal.charges(since_ms);
        Box::pin(std::future::ready(charges.map(Some)))
    }

    fn refund<'a>(&'a self, charge: &'a Charge, proof: &'a str, refund: &'a str) -> Reply<'a> {
        // The amount refunded may be less than the charge; the reference proves the key alone.
        let answer = match proves(proof, &charge.key) {
            true => Answer::Done,
            false => Answer::Refused { why: "not_captured".to_owned() },
        };
        Box::pin(std::future::ready(self.said(Ok(answer), "refund", charge, refund)))
    }
}

/// The amount that a reference was given for.
fn authorized(reference: &str) -> Option<(i64, hansa_types::money::Currency)> {
    let mut parts = reference.strip_prefix("sbx-")?.split('-');
    let (_, amount, currency) = (parts.next()?, parts.next()?, parts.next()?);
    Some((amount.parse().ok()?, currency.parse().ok()?))
}

/// A reference that proves by itself which key and amount were authorized.
fn reference(kind: &str, charge: &Charge) -> String {
    let amount = format!("{}-{}", charge.amount_minor, charge.currency.as_str());
    format!("sbx-{kind}-{amount}-{:016x}", seal(&charge.key, kind, &amount))
}

fn proves(reference: &str, key: &str) -> bool {
    let Some(rest) = reference.strip_prefix("sbx-") else { return false };
    let Some((kind, rest)) = rest.split_once('-') else { return false };
    let Some((amount, hash)) = rest.rsplit_once('-') else { return false };
    u64::from_str_radix(hash, 16) == Ok(seal(key, kind, amount))
}

fn seal(key: &str, kind: &str, amount: &str) -> u64 {
    let hash = blake3::hash(format!("{key}\n{kind}\n{amount}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first)
}
