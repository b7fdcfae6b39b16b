use hansa_api::classes::DataClass;
use hansa_api::pb::admin::{GetPolicyResponse, Jurisdiction, JurisdictionRule};
use hansa_api::pb::hansa::options::v1::DataClass as Wire;
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::policy::{self, Policy, Service, Store};
use hansa_region_router::forward::Upstreams;

use super::super::version::ask;
use super::{here, of_nodes};

pub(super) async fn run<U: Upstreams>(
    upstreams: &U,
    now: &Snapshot,
    due: Deadline,
) -> GetPolicyResponse {
    let told = ask(upstreams, now, due).await;
    GetPolicyResponse {
        region: here(now),
        policy_version: now.policy.version(),
        jurisdictions: now.policy.jurisdictions().map(|j| jurisdiction(&now.policy, j)).collect(),
        text: now.policy_text.to_string(),
        nodes: of_nodes(now, &told),
    }
}

fn jurisdiction(policy: &Policy, j: &policy::Jurisdiction) -> Jurisdiction {
    let names = |regions: &[hansa_types::region::RegionName]| {
        regions.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    Jurisdiction {
        name: j.name.to_string(),
        law: j.law.clone(),
        countries: j.countries.iter().map(ToString::to_string).collect(),
        rest: policy.rest() == Some(&j.name),
        regions: names(&j.regions),
        home_regions: names(j.homes()),
        unserved_reason: match &j.service {
            Service::Served { .. } => String::new(),
            Service::Unserved { reason } => reason.clone(),
        },
        rules: DataClass::ALL.into_iter().filter_map(|class| rule(j, class)).collect(),
    }
}

fn rule(j: &policy::Jurisdiction, class: DataClass) -> Option<JurisdictionRule> {
    let rule = j.rule(class)?;
    Some(JurisdictionRule {
        class: Wire::from(class).into(),
        store: match &rule.store {
            Store::Anywhere => vec!["*".to_owned()],
            Store::In(names) => names.iter().map(ToString::to_string).collect(),
        },
        transit: rule.transit,
        failover_regions: rule.failover.iter().map(ToString::to_string).collect(),
        raised_fields: j.raised.fields(class).collect(),
    })
}
