//! How a real provider's columns and words become ours: a TOML file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{HEADER, Kind};

/// `--mapping FILE`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// 1.
    pub format: u32,
    #[serde(default = "comma")]
    pub delimiter: char,
    /// The file's names of our columns.
    columns: BTreeMap<String, String>,
    /// The file's words for our kinds; `ignore` for those that are no movement of a charge.
    kinds: BTreeMap<String, Vec<String>>,
    pub unit: Unit,
    #[serde(default = "point")]
    pub decimal: char,
    #[serde(default)]
    pub sign: Sign,
    pub time: Times,
    /// What the provider writes in front of our key.
    #[serde(default)]
    pub key_prefix: String,
    /// Whether a file whose last line has no end was cut short. Off: banks leave it away, and a
    /// line that was cut lacks fields, unless the cut lies in its last one.
    #[serde(default)]
    pub final_newline: bool,
    #[serde(skip)]
    sandbox: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 255 for 2.55.
    Minor,
    Major,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    #[default]
    Plain,
    /// Refunds and voids may be negative.
    Signed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    Rfc3339,
    UnixMs,
    UnixS,
}

#[derive(Debug, thiserror::Error)]
pub enum BadMapping {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("{0}")]
    Content(String),
}

/// Where our columns are in a file.
pub struct Columns {
    pub key: usize,
    pub kind: usize,
    pub amount: usize,
    pub currency: usize,
    pub time: usize,
    pub reference: usize,
}

fn comma() -> char {
    ','
}

fn point() -> char {
    '.'
}

const KINDS: [(&str, Option<Kind>); 5] = [
    ("auth", Some(Kind::Auth)),
    ("capture", Some(Kind::Capture)),
    ("refund", Some(Kind::Refund)),
    ("void", Some(Kind::Void)),
    ("ignore", None),
];

impl Mapping {
    /// Of the file that the sandbox writes.
    pub fn sandbox() -> Self {
        let same = |word: &&str| ((*word).to_owned(), (*word).to_owned());
        let kinds = KINDS.iter().filter(|(_, kind)| kind.is_some());
        Self {
            format: 1,
            delimiter: ',',
            columns: HEADER.iter().map(same).collect(),
            kinds: kinds.map(|(word, _)| ((*word).to_owned(), vec![(*word).to_owned()])).collect(),
            unit: Unit::Minor,
            decimal: '.',
            sign: Sign::Plain,
            time: Times::UnixMs,
            key_prefix: String::new(),
            final_newline: true,
            sandbox: true,
        }
    }

    /// # Errors
    /// Not TOML, an unknown word, or a word that means two kinds.
    pub fn parse(text: &str) -> Result<Self, BadMapping> {
        let mapping: Self = toml::from_str(text)?;
        mapping.check().map_err(BadMapping::Content)?;
        Ok(mapping)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("format = {}: this release knows 1", self.format));
        }
        if !self.delimiter.is_ascii() || self.delimiter.is_ascii_alphanumeric() {
            return Err("delimiter: one ASCII sign".to_owned());
        }
        for ours in HEADER {
            if !self.columns.contains_key(ours) {
                return Err(format!("columns.{ours} is missing"));
            }
        }
        if let Some(unknown) = self.columns.keys().find(|name| !HEADER.contains(&name.as_str())) {
            return Err(format!("columns.{unknown} is none of ours: {}", HEADER.join(", ")));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (kind, words) in &self.kinds {
            if !KINDS.iter().any(|(known, _)| known == kind) {
                return Err(format!("kinds.{kind}: auth, capture, refund, void or ignore"));
            }
            if let Some(twice) = words.iter().find(|word| !seen.insert(word.as_str())) {
                return Err(format!("kinds: `{twice}` is said twice"));
            }
        }
        Ok(())
    }

    /// What a word of the file means: `Some(None)` is passed over.
    pub fn kind(&self, word: &str) -> Option<Option<Kind>> {
        let (name, _) = self.kinds.iter().find(|(_, words)| words.iter().any(|w| w == word))?;
        KINDS.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind)
    }

    /// Whether a reference is one of the sandbox's.
    pub fn ours(&self, reference: &str) -> bool {
        let known = |prefix| reference.starts_with(prefix);
        self.sandbox && (known("sbx-") || known("ref-"))
    }

    /// # Errors
    /// A column that is not there, or twice.
    pub fn columns(&self, header: &csv::StringRecord) -> Result<Columns, String> {
        let at = |ours: &str| {
            let theirs = self.columns.get(ours).map(String::as_str).unwrap_or_default();
            let mut found = header.iter().enumerate().filter(|(_, name)| *name == theirs);
            match (found.next(), found.next()) {
                (Some((n, _)), None) => Ok(n),
                (None, _) => Err(format!("the header has no column `{theirs}`")),
                (Some(_), Some(_)) => Err(format!("the header has `{theirs}` twice")),
            }
        };
        if self.sandbox && header != &csv::StringRecord::from(HEADER.to_vec()) {
            return Err(format!("the header is not `{}`; give a --mapping", HEADER.join(",")));
        }
        Ok(Columns {
            key: at("key")?,
            kind: at("kind")?,
            amount: at("amount")?,
            currency: at("currency")?,
            time: at("time")?,
            reference: at("reference")?,
        })
    }
}
