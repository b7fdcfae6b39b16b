//! Somebody whose every word is his own, and where a word has gone: over which wires, into which
//! files.

use std::path::{Path, PathBuf};

use hansa_api::pb::order::{PersonalDetails, PlaceOrderRequest};

use crate::local::Local;
use crate::{canary, request};

pub struct Person {
    pub customer: String,
    pub name: String,
    pub email: String,
    pub street: String,
}

impl Person {
    pub fn new(tag: &str) -> Self {
        Self {
            customer: format!("canary-{tag}-41771"),
            name: format!("Canaria {tag} Vogelsang"),
            email: format!("canaria.{tag}@vogelsang.example"),
            street: format!("Kanarienweg {tag} 41771"),
        }
    }

    #[must_use]
    pub fn words(&self) -> [&str; 4] {
        [&self.customer, &self.name, &self.email, &self.street]
    }

    #[must_use]
    pub fn wish(&self, country: &str, reference: &str) -> PlaceOrderRequest {
        PlaceOrderRequest {
            residence_country: country.to_owned(),
            client_reference: reference.to_owned(),
            personal: Some(PersonalDetails {
                name: self.name.clone(),
                email: self.email.clone(),
                address_lines: vec![self.street.clone()],
                ..Default::default()
            }),
            ..request::order(&self.customer, vec![request::line("CANARY", 1)])
        }
    }
}

/// Whether a text has left one region for another, in whatever form.
pub fn left(league: &Local, from: &str, to: &str, text: &str) -> bool {
    league.tap.bytes(from, to).iter().any(|line| canary::is_in(line, text))
}

/// Between which regions a text has passed.
pub fn passed(league: &Local, text: &str) -> Vec<(String, String)> {
    let pairs = league.tap.pairs().into_iter();
    pairs.filter(|(from, to)| to != "clients" && left(league, from, to, text)).collect()
}

/// Files of a region that hold one of these texts, in whatever form.
pub fn files_with(league: &Local, region: &str, texts: &[&str]) -> Vec<PathBuf> {
    files_below(&league.data.join(region), texts)
}

/// The same of any folder.
pub fn files_below(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = todo.pop() {
        // A node may have removed it meanwhile.
        if let Ok(below) = std::fs::read_dir(&path) {
            todo.extend(below.map(|entry| entry.expect("a readable entry").path()));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| texts.iter().any(|text| canary::is_in(&bytes, text)))
        {
            found.push(path);
        }
    }
    found
}

/// Every view of an order that has passed to a region shows what that may hold, and no more.
///
/// # Panics
/// With what it shows beyond that.
pub fn views_are_lawful(league: &Local, region: &str, number: u16) {
    let mut findings = league.findings(region, number);
    let to_it = league.tap.pairs().into_iter().filter(|(_, to)| to == region);
    for (from, _) in to_it {
        for line in league.tap.bytes(&from, region) {
            hansa_sweep::search(&line, &format!("{from} to {region}"), &mut findings);
        }
    }
    findings.settle();
    assert_eq!(findings.found(), []);
}
