use hansa_api::pb::admin::{RegionKeyState, RotateKeyRequest, RotateKeyResponse};

use super::list;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::time;

/// Names the key that is to be replaced, so that a repeat of the call replaces no other.
pub async fn run(session: &Session) -> Result<(), Problem> {
    let keys = list::ask(session).await?.keys;
    let active = keys.into_iter().find(|key| key.state() == RegionKeyState::Active);
    let active = active.ok_or_else(|| {
        Problem::refused("the region has no key yet", "it is made when the region first serves")
    })?;
    let request = RotateKeyRequest {
        request_id: crate::values::request_id(None),
        region: session.region(),
        former_key: active.key,
    };
    let answer = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.keys.rotate_key(request).await
        })
        .await?;
    output::print(session.format, "hansa.admin.v1.RotateKeyResponse", &answer, rows)
}

fn rows(answer: &RotateKeyResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no key");
    let Some(key) = &answer.key else { return rows };
    rows.add(["key".to_owned(), key.key.clone()]);
    rows.add(["made".to_owned(), time(key.create_time.as_ref())]);
    rows
}
