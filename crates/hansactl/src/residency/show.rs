use hansa_api::pb::admin::{GetPolicyRequest, GetPolicyResponse, Jurisdiction};

use super::{class, list, yes};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints the file as it was loaded, and nothing else.
    #[arg(long)]
    file: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = GetPolicyRequest { region: session.region() };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.residency.get_policy(request).await
        })
        .await?;
    if args.file {
        print!("{}", response.text);
        return Ok(());
    }
    output::print(session.format, "hansa.admin.v1.GetPolicyResponse", &response, rows)?;
    if session.format == crate::args::Format::Table {
        eprintln!("{}", followers(&response));
    }
    Ok(())
}

fn rows(response: &GetPolicyResponse) -> Rows {
    let header = ["law", "countries", "home", "class", "stored in", "transit", "copies", "raised"];
    let mut rows = Rows::new(&header, "no jurisdiction");
    for law in &response.jurisdictions {
        let (name, countries) = (law.name.clone(), countries(law));
        let home = list(&law.home_regions);
        if !law.unserved_reason.is_empty() {
            let why = format!("unserved: {}", law.unserved_reason);
            let dash = || "-".to_owned();
            rows.add([name, countries, why, dash(), dash(), dash(), dash(), dash()]);
            continue;
        }
        for rule in &law.rules {
            rows.add([
                name.clone(),
                countries.clone(),
                home.clone(),
                class(rule.class),
                list(&rule.store),
                yes(rule.transit),
                list(&rule.failover_regions),
                list(&rule.raised_fields),
            ]);
        }
    }
    rows
}

/// Few by name, many by number.
fn countries(law: &Jurisdiction) -> String {
    let named = match law.countries.len() {
        0..=4 => law.countries.join(" "),
        many => format!("{many} countries"),
    };
    match (law.rest, named.is_empty()) {
        (true, true) => "the rest".to_owned(),
        (true, false) => format!("{named} and the rest"),
        (false, true) => "-".to_owned(),
        (false, false) => named,
    }
}

fn followers(response: &GetPolicyResponse) -> String {
    let (version, region) = (response.policy_version, &response.region);
    let off: Vec<_> = (response.nodes.iter())
        .filter(|node| node.policy_version != version)
        .map(|node| format!("{} ({})", node.node_name, node.policy_version))
        .collect();
    match off.is_empty() {
        true => format!("version {version} on all {} nodes of {region}", response.nodes.len()),
        false => format!("version {version} in {region}; other or silent: {}", off.join(", ")),
    }
}
