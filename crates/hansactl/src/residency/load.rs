use std::path::PathBuf;
use std::process::ExitCode;

use hansa_api::pb::admin::{LoadPolicyRequest, LoadPolicyResponse};

use super::read;
use crate::args::Format;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each region has its own copy; --all loads it into one after another, and a repeat goes on where a \
call broke off. Look first: hansactl residency check FILE")]
pub struct Args {
    /// The policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Every region of the profile, instead of the one that is asked.
    #[arg(long, conflicts_with = "region")]
    all: bool,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let text = read(&args.file)?;
    let request_id = values::request_id(args.request_id);
    let regions = if args.all { session.regions() } else { vec![session.region()] };
    let (mut loaded, mut problem) = (Vec::new(), None);
    for region in regions {
        // A region that does not answer keeps no other from a new law.
        match load(session, &region, &request_id, &text).await {
            Ok(response) => loaded.push(response),
            Err(why) => {
                if args.all {
                    eprintln!("{region}: {}", why.text());
                }
                problem = Some(why);
            }
        }
    }
    print(session, &loaded)?;
    match problem {
        None => Ok(ExitCode::SUCCESS),
        Some(why) if args.all => Ok(why.exit_code()),
        Some(why) => Err(why),
    }
}

async fn load(
    session: &Session,
    region: &str,
    request_id: &str,
    text: &str,
) -> Result<LoadPolicyResponse, Problem> {
    let (request_id, text) = (request_id.to_owned(), text.to_owned());
    let request = LoadPolicyRequest { request_id, region: region.to_owned(), text };
    let session = if region.is_empty() { session.clone() } else { session.in_region(region) };
    let load = session.call(Role::Operator, request, |mut services, request| async move {
        services.residency.load_policy(request).await
    });
    load.await
}

fn print(session: &Session, loaded: &[LoadPolicyResponse]) -> Result<(), Problem> {
    match session.format {
        Format::Json => loaded.iter().try_for_each(|response| {
            let name = "hansa.admin.v1.LoadPolicyResponse";
            output::print(session.format, name, response, |_| rows(&[]))
        }),
        Format::Table | Format::Csv if loaded.is_empty() => Ok(()),
        Format::Table | Format::Csv => {
            let first = loaded.first().cloned().unwrap_or_default();
            output::print(session.format, "", &first, |_| rows(loaded))
        }
    }
}

fn rows(loaded: &[LoadPolicyResponse]) -> Rows {
    let mut rows = Rows::new(&["region", "version", "before", "nodes behind"], "");
    for response in loaded {
        let behind: Vec<_> = (response.behind.iter())
            .map(|node| match node.policy_version {
                0 => format!("{} (silent)", node.node_name),
                version => format!("{} ({version})", node.node_name),
            })
            .collect();
        rows.add([
            response.region.clone(),
            response.policy_version.to_string(),
            response.former_version.to_string(),
            values::dash(&behind.join(" ")),
        ]);
    }
    rows
}
