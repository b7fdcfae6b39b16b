use hansa_api::pb::admin::{
    CheckPolicyResponse, ExplainPolicyRequest, ExplainPolicyResponse, PolicyChange,
};
use hansa_api::pb::hansa::options::v1::DataClass as Wire;
use hansa_api::status::{Failure, Reason};

use super::{check_policy, explain_policy};
use crate::testing::directory;

const SHIPPED: &str = include_str!("../../../../../deploy/policy/residency.toml");

fn check(text: &str) -> CheckPolicyResponse {
    check_policy::check(text, &directory(1, &[]))
}

fn rules(response: &CheckPolicyResponse) -> Vec<&str> {
    response.problems.iter().map(|problem| problem.rule.as_str()).collect()
}

fn second(edits: &[(&str, &str)]) -> String {
    let text = SHIPPED.replace("\nversion = 1", "\nversion = 2");
    edits.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn of<'a>(response: &'a CheckPolicyResponse, country: &str, class: Wire) -> &'a PolicyChange {
    let is = |change: &&PolicyChange| {
        change.class() == class && change.countries.iter().any(|code| code == country)
    };
    response.changes.iter().find(is).expect("a change")
}

#[test]
fn the_loaded_file_itself_is_fine_and_changes_nothing() {
    let response = check(SHIPPED);
    assert!(response.problems.is_empty() && response.changes.is_empty(), "{response:?}");
    assert_eq!((response.policy_version, response.loaded_version), (1, 1));
    assert_eq!(response.region, "eu-west");
}

#[test]
fn a_check_says_who_gains_and_loses_what() {
    let eu = |store: &str, transit: bool| {
        let copies = "failover = [\"eu-central\"]";
        format!("FINANCIAL = {{ store = [{store}], transit = {transit}, {copies} }}")
    };
    let (was, is) = (eu(r#""EU", "GB", "CH""#, true), eu(r#""EU""#, false));
    let text = second(&[
        (r#"countries = ["US", "CA"]"#, r#"countries = ["US"]"#),
        (r#"countries = ["IN"]"#, r#"countries = ["IN", "CA"]"#),
        (was.as_str(), is.as_str()),
        (
            "[jurisdiction.US]",
            "raise = { FINANCIAL = [\"hansa.order.v1.Order.total\"] }\n\n[jurisdiction.US]",
        ),
    ]);
    let response = check(&text);
    assert!(response.problems.is_empty(), "{:?}", response.problems);
    let canada = of(&response, "CA", Wire::Personal);
    assert_eq!(canada.countries, ["CA"]);
    assert_eq!((&*canada.former_jurisdiction, &*canada.jurisdiction), ("US", "IN"));
    assert_eq!((&*canada.former_home_region, &*canada.home_region), ("us-east", "ap-south"));
    assert_eq!(canada.gained_store_regions, ["ap-south"]);
    assert_eq!(canada.lost_store_regions, ["us-east"]);
    let germany = of(&response, "DE", Wire::Financial);
    assert!(germany.former_transit && !germany.transit && germany.countries.len() > 30);
    assert!(germany.lost_store_regions.is_empty(), "no region stands in GB or CH");
    let australia = of(&response, "AU", Wire::Financial);
    assert_eq!(australia.gained_fields, ["hansa.order.v1.Order.total"]);
    let au = |country: &String| country == "AU";
    let personal = |c: &PolicyChange| c.class() == Wire::Personal && c.countries.iter().any(au);
    assert!(!response.changes.iter().any(personal), "nothing of Australia's PERSONAL changes");
}

#[test]
fn a_check_names_the_rule_of_everything_that_is_in_the_way() {
    let older = format!("{SHIPPED}\n# another text of version 1\n");
    assert_eq!(rules(&check(&older)), ["version"]);
    let strange = second(&[("home = [\"ap-south\"]", "home = [\"ap-south\", \"jp-east\"]")]);
    assert_eq!(rules(&check(&strange)), ["jurisdiction.APAC.home"], "it stands on no ground");
    let strange = second(&[("regions = [\"us-east\"]", "regions = [\"us-east\", \"us-west\"]")]);
    let response = check(&strange);
    assert_eq!(rules(&response), ["jurisdiction.US.regions"], "the directory knows no us-west");
    assert!(!response.changes.is_empty(), "what it would change is told all the same");
    assert_eq!(rules(&check("version = ")), ["syntax"]);
    assert_eq!(rules(&check(&"#".repeat(300 << 10))), ["file"]);
    let line = format!("format = 1\nx = \"{}\"", "y".repeat(200 << 10));
    assert!(check(&line).problems[0].why.len() < 2_000, "a long line is not told whole");
}

fn explain(country: &str, class: Wire) -> Result<ExplainPolicyResponse, Failure> {
    let request = ExplainPolicyRequest {
        residence_country: country.into(),
        region: String::new(),
        class: class.into(),
    };
    explain_policy::explain(&request, &directory(1, &[]))
}

#[test]
fn an_explanation_names_its_version_and_where_and_why() {
    let told = explain("DE", Wire::Personal).unwrap();
    assert_eq!((told.policy_version, &*told.region, &*told.jurisdiction), (1, "eu-west", "EU"));
    assert_eq!(told.home_regions, ["eu-west"]);
    assert_eq!(told.store_regions, ["eu-central", "eu-west"]);
    assert_eq!(told.failover_regions, ["eu-central"]);
    let says = |part: &str| told.explanation.iter().any(|step| step.contains(part));
    assert!(says("GDPR") && says("eu-central may") && says("take over") && says("us-east may not"));
    for (country, class, reason) in [
        ("XX", Wire::Personal, Reason::CountryUnknown),
        ("", Wire::Personal, Reason::CountryUnknown),
        ("DE", Wire::Unspecified, Reason::FieldInvalid),
    ] {
        assert_eq!(explain(country, class).unwrap_err().reason(), reason, "{country}");
    }
}
