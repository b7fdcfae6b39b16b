//! `hansactl backup status`

use std::process::ExitCode;

use hansa_api::pb::admin::{GetRestoreRequest, GetRestoreResponse, RestorePhase};

use crate::connect::{Role, Session};
use crate::error::{NO_ANSWER, Problem, WRONG};
use crate::output::{self, Rows};
use crate::values::short;

pub async fn run(session: &Session) -> Result<ExitCode, Problem> {
    let request = GetRestoreRequest { region: session.region() };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.backups.get_restore(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.GetRestoreResponse", &response, rows)?;
    let restoring =
        |group: &hansa_api::pb::admin::GroupRestore| group.phase() == RestorePhase::Restoring;
    Ok(match &response {
        response if !response.unknown.is_empty() => ExitCode::from(NO_ANSWER),
        response if response.groups.iter().any(restoring) => ExitCode::from(WRONG),
        _ => ExitCode::SUCCESS,
    })
}

fn rows(response: &GetRestoreResponse) -> Rows {
    let header = ["group", "phase", "epoch", "backup", "open steps", "payment", "order"];
    let mut rows = Rows::new(&header, "never restored");
    let empty = || String::new();
    for group in &response.groups {
        let phase = short(group.phase().as_str_name(), "RESTORE_PHASE_").to_lowercase();
        rows.add([
            format!("orders-{}", group.group & 0xffff),
            phase,
            group.epoch.to_string(),
            group.backup.clone(),
            group.open_steps.to_string(),
            if group.listed { empty() } else { "not listed yet".to_owned() },
            empty(),
        ]);
        for stray in &group.strays {
            let state = short(stray.state().as_str_name(), "STRAY_STATE_").to_lowercase();
            let (key, order) = (&stray.key, stray.order.clone());
            rows.add([
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
                format!("{state} {key}"),
                order,
            ]);
        }
    }
    for group in &response.unknown {
        let name = format!("orders-{}", group & 0xffff);
        rows.add([name, "unknown".to_owned(), empty(), empty(), empty(), empty(), empty()]);
    }
    rows
}
