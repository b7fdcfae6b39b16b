use hansa_api::pb::admin::{ListKeysRequest, ListKeysResponse, RegionKey};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::{short, time};

pub async fn run(session: &Session) -> Result<(), Problem> {
    let keys = ask(session).await?;
    output::print(session.format, "hansa.admin.v1.ListKeysResponse", &keys, rows)
}

pub async fn ask(session: &Session) -> Result<ListKeysResponse, Problem> {
    let request = ListKeysRequest { region: session.region() };
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.keys.list_keys(request).await
        })
        .await
}

fn rows(response: &ListKeysResponse) -> Rows {
    let header = ["key", "state", "made", "retired", "destroyed", "wraps"];
    let mut rows = Rows::new(&header, "no keys");
    response.keys.iter().for_each(|key| rows.add(of_key(key, response)));
    rows
}

fn of_key(key: &RegionKey, response: &ListKeysResponse) -> [String; 6] {
    let wrapped = |group: &hansa_api::pb::admin::GroupKeys| {
        let of = group.wrapped.iter().find(|wrapped| wrapped.key == key.key)?;
        Some(format!("{} {}", group_name(group.group), of.data_key_count))
    };
    let wrapped: Vec<String> = response.groups.iter().filter_map(wrapped).collect();
    let state = short(key.state().as_str_name(), "REGION_KEY_STATE_");
    let wraps = if wrapped.is_empty() { "-".to_owned() } else { wrapped.join(", ") };
    [
        key.key.clone(),
        state,
        time(key.create_time.as_ref()),
        time(key.retire_time.as_ref()),
        time(key.destroy_time.as_ref()),
        wraps,
    ]
}
