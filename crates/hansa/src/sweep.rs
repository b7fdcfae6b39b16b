//! Sweeps of what nodes keep: the files that only this crate knows, and what a sweep comes to on
//! the wire.

use std::io;

use hansa_api::classes::DataClass;
use hansa_api::pb::admin as pb;
use hansa_api::pb::hansa::options::v1::DataClass as WireClass;
use hansa_gateway::core::authz;
use hansa_sweep::format::{Cursor, Format, Opened, Piece, last};
use hansa_sweep::{Findings, Sweep, Verdict};

use crate::config::Config;

/// A node's config, strictly read: what it names are machines. Comments are not looked into.
pub struct NodeConfig;

impl Format for NodeConfig {
    fn name(&self) -> &'static str {
        "config"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == "node.toml"
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Some(text) = file.text(to)?
            && let Err(error) = hansa_node::config::parse::<Config>(file.path, &text)
        {
            to.unexplained(file.name, 0, file.length, error.to_string());
        }
        Ok(Piece::whole(file.length))
    }
}

/// The authorization policy: clients and what they may do.
pub struct Authz;

impl Format for Authz {
    fn name(&self) -> &'static str {
        "authz"
    }

    fn claims(&self, path: &str) -> bool {
        last(path) == "authz.toml"
    }

    fn read(&self, file: &Opened<'_>, _: Cursor, to: &mut Findings) -> io::Result<Piece> {
        if let Some(text) = file.text(to)?
            && let Err(refused) = authz::Authz::parse(&text)
        {
            to.unexplained(file.name, 0, file.length, format!("{refused:?}"));
        }
        Ok(Piece::whole(file.length))
    }
}

/// The formats of files that only this crate knows.
pub fn formats() -> Vec<Box<dyn Format>> {
    vec![Box::new(NodeConfig), Box::new(Authz)]
}

/// A sweep that has ended, without who made it and when.
pub fn report(sweep: &Sweep) -> pb::NodeSweep {
    let findings = &sweep.findings;
    let formats = findings.tallies.iter().map(|(name, tally)| pb::SweptFormat {
        name: (*name).to_owned(),
        files: tally.files,
        bytes: tally.bytes,
        searched_bytes: tally.unused,
        records: tally.records,
    });
    let unexplained = findings.unexplained.iter().map(|found| pb::UnexplainedBytes {
        file: found.file.clone(),
        offset: found.offset,
        bytes: found.bytes,
        why: found.why.clone(),
    });
    let unread = sweep.unread.iter();
    let unread = unread.map(|(file, why)| pb::UnreadFile { file: file.clone(), why: why.clone() });
    pb::NodeSweep {
        region: findings.law.here.to_string(),
        policy_version: findings.law.now.version(),
        formats: formats.collect(),
        findings: findings.found().into_iter().map(finding).collect(),
        unexplained: unexplained.collect(),
        more_unexplained: findings.more_unexplained,
        unread: unread.collect(),
        unplaced: findings.unplaced,
        ..Default::default()
    }
}

fn finding(found: hansa_sweep::Found) -> pb::ResidencyFinding {
    let class = match found.class {
        DataClass::Operational => WireClass::Operational,
        DataClass::Personal => WireClass::Personal,
        DataClass::Financial => WireClass::Financial,
    };
    let verdict = match found.verdict {
        Verdict::Foreign => pb::ResidencyVerdict::Foreign,
        Verdict::Expiring => pb::ResidencyVerdict::Expiring,
    };
    pb::ResidencyFinding {
        verdict: verdict.into(),
        file: found.file,
        what: found.what.to_owned(),
        class: class.into(),
        residence_country: found.residence.map_or_else(String::new, |of| of.to_string()),
        count: found.count,
        first: found.first,
        goes_ms: found.goes_ms,
        goes: found.goes.to_owned(),
    }
}
