//! `hansactl residency verify`: what every node of a region keeps, by its own signed word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures::StreamExt as _;
use hansa_api::pb::admin::{
    NodeSweep, ResidencyReport, ResidencyVerdict, SignedSweep, UnreadFile, VerifyResidencyRequest,
};
use hansa_api::signature::Authorities;
use hansa_api::sweep;

use crate::connect::{Role, Session};
use crate::error::{NO_ANSWER, Problem, WRONG};
use crate::output::{self, Rows};
use crate::reconcile::progress::Progress;
use crate::values::dash;

const REPORT: &str = "hansa.admin.v1.ResidencyReport";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing foreign and every byte explained; 1 foreign data, or bytes that nobody
explains; 2 usage; 3 a node or a file could not be read, or a report is not signed by its node:
nothing is known of it.

Examples:
  hansactl residency verify --region eu-west --out eu-west.json
  hansactl residency verify --check eu-west.json")]
pub struct Args {
    /// Writes the signed reports to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,
    /// Asks nobody: checks the signatures of a file that was written so, and shows it.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let authorities = session.authorities(Role::Operator)?;
    let report = match &args.check {
        Some(file) => read(file)?,
        None => ask(session).await?,
    };
    if let Some(file) = &args.out {
        let text = output::json(REPORT, &report)?;
        std::fs::write(file, text + "\n").map_err(|error| {
            let what = format!("cannot write {}: {error}", file.display());
            Problem::failed(what, "name another file with --out")
        })?;
    }
    let judged = Judged::of(&report, &authorities);
    output::print(session.format, REPORT, &report, |_| judged.rows())?;
    judged.tell();
    Ok(ExitCode::from(judged.code()))
}

fn read(file: &Path) -> Result<ResidencyReport, Problem> {
    let next = "--check takes what --out wrote";
    let text = std::fs::read_to_string(file).map_err(|error| {
        Problem::usage(format!("cannot read {}: {error}", file.display()), next)
    })?;
    output::parse(REPORT, &text)
        .map_err(|why| Problem::usage(format!("{}: {why}", file.display()), next))
}

/// Has every node sweep what it keeps.
async fn ask(session: &Session) -> Result<ResidencyReport, Problem> {
    let mut services = session.services(Role::Operator).await?;
    let request = VerifyResidencyRequest { region: session.region() };
    let mut steps = services.residency.verify_residency(request).await?.into_inner();
    let progress = Progress::new();
    let mut report = ResidencyReport { region: session.region(), ..Default::default() };
    // Who has neither reported nor failed was not read.
    let mut waiting: Vec<String> = Vec::new();
    let mut far: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(step) = steps.next().await {
        let step = match step {
            Ok(step) => step,
            Err(status) => {
                let why = hansa_api::status::Failure::from(&status).to_string();
                report.not_read.push(UnreadFile { file: "the gateway".to_owned(), why });
                break;
            }
        };
        waiting.extend(step.nodes);
        if step.node_name.is_empty() {
            continue;
        }
        let ended = step.report.is_some() || !step.failure.is_empty();
        waiting.retain(|node| !(ended && *node == step.node_name));
        if let Some(signed) = step.report {
            progress.stage(&format!("{}: read", step.node_name));
            report.nodes.push(signed);
        } else if !step.failure.is_empty() {
            let (file, why) = (step.node_name, step.failure);
            report.not_read.push(UnreadFile { file, why });
        } else {
            far.insert(step.node_name, step.done_bytes);
            progress.bytes(far.values().sum());
        }
    }
    for file in waiting {
        let why = "it did not answer to the end".to_owned();
        report.not_read.push(UnreadFile { file, why });
    }
    if report.nodes.is_empty() && report.not_read.is_empty() {
        let why = "no node was named".to_owned();
        report.not_read.push(UnreadFile { file: "the region".to_owned(), why });
    }
    Ok(report)
}

/// What reports come to, once their signatures are checked.
struct Judged {
    nodes: Vec<(NodeSweep, String)>,
    not_read: Vec<(String, String)>,
}

impl Judged {
    fn of(report: &ResidencyReport, by: &Authorities) -> Self {
        let mut judged = Self { nodes: Vec::new(), not_read: Vec::new() };
        for signed in &report.nodes {
            match sweep::believe(signed, by) {
                Ok((told, signer)) => judged.nodes.push((told, signer.to_string())),
                Err(error) => judged.not_read.push((claimed(signed), error.to_string())),
            }
        }
        let silent = report.not_read.iter();
        judged.not_read.extend(silent.map(|node| (node.file.clone(), node.why.clone())));
        for (told, _) in &judged.nodes {
            let node = &told.node_name;
            let unread = told.unread.iter();
            let unread = unread.map(|file| (format!("{node}: {}", file.file), file.why.clone()));
            judged.not_read.extend(unread);
        }
        judged
    }

    fn foreign(&self) -> u64 {
        let found = self.nodes.iter().flat_map(|(told, _)| &told.findings);
        let foreign = found.filter(|found| found.verdict() != ResidencyVerdict::Expiring);
        foreign.map(|found| found.count).sum()
    }

    fn unexplained(&self) -> u64 {
        let count = |told: &NodeSweep| told.unexplained.len() as u64 + told.more_unexplained;
        self.nodes.iter().map(|(told, _)| count(told)).sum()
    }

    fn code(&self) -> u8 {
        if self.foreign() > 0 || self.unexplained() > 0 {
            WRONG
        } else if !self.not_read.is_empty() || self.nodes.is_empty() {
            NO_ANSWER
        } else {
            0
        }
    }

    fn rows(&self) -> Rows {
        let header = ["node", "verdict", "class", "country", "count", "what", "file", "until"];
        let mut rows = Rows::new(&header, "nothing foreign, every byte explained");
        for (told, _) in &self.nodes {
            let node = told.node_name.clone();
            for found in &told.findings {
                let verdict = found.verdict().as_str_name();
                let until = match found.goes_ms {
                    0 => found.goes.clone(),
                    at => format!("{}: {}", crate::values::time_ms(at), found.goes),
                };
                rows.add([
                    node.clone(),
                    crate::values::short(verdict, "RESIDENCY_VERDICT_").to_lowercase(),
                    super::class(found.class),
                    dash(&found.residence_country),
                    found.count.to_string(),
                    format!("{} ({})", found.what, found.first),
                    found.file.clone(),
                    until,
                ]);
            }
            for found in &told.unexplained {
                let what = format!("{} bytes at {}: {}", found.bytes, found.offset, found.why);
                let (file, dash) = (found.file.clone(), || "-".to_owned());
                let verdict = "unexplained".to_owned();
                rows.add([node.clone(), verdict, dash(), dash(), dash(), what, file, dash()]);
            }
        }
        for (node, why) in &self.not_read {
            let (node, why, dash) = (node.clone(), why.clone(), || "-".to_owned());
            let verdict = "not read".to_owned();
            rows.add([node, verdict, dash(), dash(), dash(), why, dash(), dash()]);
        }
        rows
    }

    /// What was gone through, and who vouches for it.
    fn tell(&self) {
        for (told, signer) in &self.nodes {
            let sum = |of: fn(&hansa_api::pb::admin::SweptFormat) -> u64| -> u64 {
                told.formats.iter().map(of).sum()
            };
            let (files, bytes, records) = (sum(|f| f.files), sum(|f| f.bytes), sum(|f| f.records));
            let seconds = told.elapsed_ms as f64 / 1000.0;
            eprintln!(
                "{}: {files} files, {bytes} bytes, {records} records in {seconds:.1} s, by policy \
                 {}; signed by {signer} at {}",
                told.node_name,
                told.policy_version,
                crate::values::time_ms(told.time_ms)
            );
        }
        let (foreign, unexplained, not_read) =
            (self.foreign(), self.unexplained(), self.not_read.len());
        eprintln!(
            "{foreign} foreign records, {unexplained} unexplained places, {not_read} not read"
        );
        if let Some(left) = self.left() {
            eprintln!("{left}");
        }
    }

    /// What goes by itself, and when the last of it has gone.
    fn left(&self) -> Option<String> {
        let found = self.nodes.iter().flat_map(|(told, _)| &told.findings);
        let mut expiring =
            found.filter(|found| found.verdict() == ResidencyVerdict::Expiring).peekable();
        expiring.peek()?;
        let (mut count, mut dated, mut undated) = (0, 0, false);
        for found in expiring {
            count += found.count;
            dated = dated.max(found.goes_ms);
            undated |= found.goes_ms == 0;
        }
        let by = match dated {
            0 => String::new(),
            at => format!("; the last that is dated by {}", crate::values::time_ms(at)),
        };
        let soon = if undated { "; what has no date with the node's next checkpoints" } else { "" };
        Some(format!("{count} records were lawful and go by themselves{by}{soon}"))
    }
}

/// The node that an unbelieved report says it is of.
fn claimed(signed: &SignedSweep) -> String {
    use prost::Message as _;
    let told = NodeSweep::decode(signed.report.clone()).unwrap_or_default();
    format!("{} (as it says)", dash(&told.node_name))
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::{ResidencyFinding, UnexplainedBytes};

    use super::*;

    fn judged(told: NodeSweep, not_read: &[&str]) -> Judged {
        let not_read = not_read.iter().map(|node| ((*node).to_owned(), String::new())).collect();
        Judged { nodes: vec![(told, "somebody".to_owned())], not_read }
    }

    fn found(verdict: ResidencyVerdict) -> NodeSweep {
        let finding = ResidencyFinding { verdict: verdict.into(), count: 1, ..Default::default() };
        NodeSweep { findings: vec![finding], ..NodeSweep::default() }
    }

    #[test]
    fn what_is_foreign_or_unexplained_is_wrong_and_what_was_not_read_is_never_clean() {
        assert_eq!(judged(NodeSweep::default(), &[]).code(), 0);
        assert_eq!(judged(NodeSweep::default(), &["eu-west-2"]).code(), NO_ANSWER);
        assert_eq!(judged(found(ResidencyVerdict::Expiring), &[]).code(), 0);
        assert_eq!(judged(found(ResidencyVerdict::Foreign), &["eu-west-2"]).code(), WRONG);
        assert_eq!(judged(found(ResidencyVerdict::Unspecified), &[]).code(), WRONG);
        let unexplained = vec![UnexplainedBytes::default()];
        assert_eq!(judged(NodeSweep { unexplained, ..Default::default() }, &[]).code(), WRONG);
        assert_eq!(Judged { nodes: vec![], not_read: vec![] }.code(), NO_ANSWER);
    }
}
