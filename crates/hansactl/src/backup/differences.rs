//! `hansactl backup differences`

use std::process::ExitCode;

use hansa_api::pb::admin::{ListDifferencesRequest, ListDifferencesResponse};

use crate::connect::{Role, Session};
use crate::error::{Problem, WRONG};
use crate::output::{self, Rows};
use crate::values::short;

pub async fn run(session: &Session, origin: Option<String>, max: u32) -> Result<ExitCode, Problem> {
    let request = ListDifferencesRequest {
        region: session.region(),
        origin: origin.unwrap_or_default(),
        max,
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.backups.list_differences(request).await
        })
        .await?;
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
