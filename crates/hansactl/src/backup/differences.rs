//! `hansactl backup differences`

use std::process::ExitCode;

use hansa_api::pb::admin::{ListDifferencesRequest, ListDifferencesResponse};

use crate::connect::{Role, Session};
use crate::error::{Problem, WRONG};
use crate::output::{self, Rows};
use crate::values::short;

pub async fn run(session: &Session, origin: Option<String>, max: u32) -> Result<ExitCode, Problem> {
    let (region, origin) = (session.region(), origin.unwrap_or_default());
    let mut response = ListDifferencesResponse::default();
    loop {
        let left = max - response.differences.len() as u32;
        let (region, origin) = (region.clone(), origin.clone());
        let page_token = std::mem::take(&mut response.next_page_token);
        let request = ListDifferencesRequest { region, origin, max: left, page_token };
        let page = session
            .call(Role::Operator, request, |mut services, request| async move {
                services.backups.list_differences(request).await
            })
            .await?;
        response.differences.extend(page.differences);
        response.next_page_token = page.next_page_token;
        if response.next_page_token.is_empty() || response.differences.len() as u32 >= max {
            break;
        }
    }
    if !response.next_page_token.is_empty() {
        eprintln!("there are more: --max {}", u64::from(max) * 10);
    }
    output::print(session.format, "hansa.admin.v1.ListDifferencesResponse", &response, rows)?;
    match response.differences.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(WRONG)),
    }
}

fn rows(response: &ListDifferencesResponse) -> Rows {
    let header = ["order", "difference", "copy", "home"];
    let mut rows = Rows::new(&header, "no differences");
    for found in &response.differences {
        let kind = short(found.kind().as_str_name(), "COPY_DIFFERENCE_KIND_").to_lowercase();
        let home = match found.home_version {
            0 => "-".to_owned(),
            version => format!("version {version}, epoch {}", found.home_epoch),
        };
        let copy = format!("version {}, epoch {}", found.copy_version, found.copy_epoch);
        rows.add([found.order.clone(), kind, copy, home]);
    }
    rows
}
