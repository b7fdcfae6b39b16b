//! Every policy that cannot be satisfied, and the rule that is named.

use super::*;

/// A sound file of two laws. Cases spoil it in one place.
const SOUND: &str = r#"
format = 1
version = 1

[jurisdiction.EU]
law = "GDPR"
countries = ["DE"]
regions = ["eu-west", "eu-north"]
home = ["eu-west"]
raise = { FINANCIAL = ["hansa.order.v1.Order.total"] }
PERSONAL = { store = ["EU"], transit = true, failover = ["eu-north"] }
FINANCIAL = { store = ["EU"], transit = true, failover = ["eu-north"] }
OPERATIONAL = { store = ["*"], transit = true }

[jurisdiction.US]
law = "none"
rest = true
regions = ["us-east"]
PERSONAL = { store = ["US"], transit = true }
FINANCIAL = { store = ["US"], transit = true }
OPERATIONAL = { store = ["*"], transit = true }
"#;

#[test]
fn each_unsatisfiable_policy_is_refused_with_the_rule_in_the_way() {
    Policy::parse(SOUND).unwrap();
    // What is written instead of what; the rule that is named, and why.
    let cases = [
        ("format = 1", "format = 9", "format", "not 9"),
        ("version = 1", "version = 0", "version", "start at 1"),
        ("law = \"GDPR\"", "law = \" \"", "jurisdiction.EU.law", "no law"),
        ("[\"DE\"]", "[\"DE\", \"DE\"]", "jurisdiction.EU.countries", "already in EU"),
        ("home = [\"eu-west\"]", "home = []", "jurisdiction.EU.home", "no home"),
        (
            "home = [\"eu-west\"]",
            "home = [\"us-east\"]",
            "jurisdiction.EU.home",
            "no lawful region",
        ),
        (
            "home = [\"eu-west\"]",
            "home = [\"atlantis\"]",
            "jurisdiction.EU.home",
            "atlantis lies in no jurisdiction",
        ),
        (
            "home = [\"eu-west\"]",
            "home = [\"eu-west\", \"eu-west\"]",
            "jurisdiction.EU.home",
            "eu-west twice",
        ),
        (
            "home = [\"eu-west\"]",
            "home = [\"eu-west\", \"eu-north\"]",
            "jurisdiction.EU.PERSONAL.failover",
            "cannot take over from itself",
        ),
        (
            "transit = true, failover = [\"eu-north\"]",
            "transit = true, failover = [\"us-east\"]",
            "jurisdiction.EU.PERSONAL.failover",
            "failover outside the jurisdiction: us-east lies in US",
        ),
        (
            "transit = true, failover = [\"eu-north\"]",
            "transit = true, failover = [\"eu-north\", \"eu-north\"]",
            "jurisdiction.EU.FINANCIAL.failover",
            "eu-north twice",
        ),
        (
            "PERSONAL = { store = [\"EU\"], transit = true, failover = [\"eu-north\"] }",
            "PERSONAL = { store = [\"EU\"], transit = true }",
            "jurisdiction.EU.FINANCIAL.failover",
            "half an order",
        ),
        (
            "OPERATIONAL = { store = [\"*\"], transit = true }\n\n",
            "OPERATIONAL = { store = [\"US\"], transit = true }\n\n",
            "jurisdiction.EU.home",
            "may not store Operational",
        ),
        (
            "regions = [\"us-east\"]",
            "regions = [\"us-east\", \"eu-west\"]",
            "jurisdiction.EU.PERSONAL.store",
            "eu-west lies also in US",
        ),
        ("store = [\"US\"]", "store = [\"MARS\"]", "jurisdiction.US.PERSONAL.store", "MARS"),
        ("store = [\"US\"]", "store = []", "jurisdiction.US.home", "may not store Personal"),
        (
            "store = [\"US\"]",
            "store = [\"US\", \"*\"]",
            "jurisdiction.US.PERSONAL.store",
            "anywhere, and more",
        ),
        (
            "store = [\"US\"]",
            "store = [\"US\", \"US\"]",
            "jurisdiction.US.FINANCIAL.store",
            "US twice",
        ),
        ("{ FINANCIAL = [", "{ SECRET = [", "jurisdiction.EU.raise.SECRET", "no such class"),
        (
            "hansa.order.v1.Order.total",
            "order.totl",
            "jurisdiction.EU.raise.FINANCIAL",
            "order.totl: there is no such field",
        ),
        (
            "hansa.order.v1.Order.total",
            "hansa.order.v1.Order.name",
            "jurisdiction.EU.raise.FINANCIAL",
            "cannot be kept without",
        ),
        (
            "[jurisdiction.US]\n",
            "[jurisdiction.ZZ]\nlaw = \"x\"\nunserved = \"y\"\n[jurisdiction.US]\n",
            "jurisdiction.ZZ.countries",
            "names no country",
        ),
        (
            "[jurisdiction.US]\n",
            "[jurisdiction.US]\nunserved = \"y\"\n",
            "jurisdiction.US",
            "say either unserved",
        ),
    ];
    for (from, to, rule, why) in cases {
        assert!(SOUND.contains(from), "{from}");
        refused(&SOUND.replace(from, to), rule, why);
    }
}

#[test]
fn a_region_that_nobody_knows_is_named_once_for_each_rule_and_a_known_one_is_not() {
    let policy = Policy::parse(SOUND).unwrap();
    let all = |known: &[&str], before: Option<&Policy>| -> Vec<String> {
        let knows = |name: &RegionName| known.contains(&name.as_str());
        policy.strangers(before, knows).into_iter().map(|problem| problem.rule).collect()
    };
    assert_eq!(all(&["eu-west", "eu-north", "us-east"], None), [""; 0]);
    let frankfurt = [
        "jurisdiction.EU.regions",
        "jurisdiction.EU.PERSONAL.failover",
        "jurisdiction.EU.FINANCIAL.failover",
    ];
    assert_eq!(all(&["eu-west", "us-east"], None), frankfurt);
    assert_eq!(all(&["eu-west"], Some(&policy)), [""; 0], "the loaded policy names them already");
}

#[test]
fn a_file_made_to_be_slow_is_refused_at_once() {
    let region = |n: usize| format!("\"r-{n}\"");
    let regions =
        |from: usize, count: usize| (from..from + count).map(region).collect::<Vec<_>>().join(",");
    let law = |n: usize, regions: &str| {
        let rule = r#"{ store = ["*"], transit = true }"#;
        format!(
            "[jurisdiction.J{n}]\nlaw=\"x\"\nregions=[{regions}]\n\
             PERSONAL={rule}\nFINANCIAL={rule}\nOPERATIONAL={rule}\n"
        )
    };
    let file = |laws: Vec<String>| format!("format = 1\nversion = 1\n{}", laws.concat());
    let many = file((0..300).map(|n| law(n, "\"r-1\"")).collect());
    refused(&many, "jurisdiction", "more than 256 jurisdictions");
    refused(&file(vec![law(1, &regions(0, 1_000))]), "jurisdiction.J1", "more than 64 regions");
    let wide = (0..10).map(|n| law(n, &regions(n * 60, 60))).collect();
    refused(&file(wide), "jurisdiction", "more than 256 regions");
    // The most that is let in: every region on every ground.
    let dense = file((0..60).map(|n| law(n, &regions(0, 40))).collect());
    Policy::parse(&dense).unwrap();
    let wrong = dense.replace("[\"*\"]", "[\"J1\"]");
    let message = Policy::parse(&wrong).unwrap_err().to_string();
    assert!(message.len() < 10_000 && message.contains("more"), "{}", message.len());
}
