use super::*;

mod examples;
mod strict;

const SHIPPED: &str = include_str!("../../../../../deploy/policy/residency.toml");

fn shipped() -> Policy {
    Policy::parse(SHIPPED).unwrap()
}

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn country(code: &str) -> Country {
    code.parse().unwrap()
}

const ANY: &str = r#"{ store = ["*"], transit = true }"#;

/// One served jurisdiction; `rules` are its PERSONAL and FINANCIAL rules.
fn served(name: &str, keys: &str, rules: &str) -> String {
    format!(
        "[jurisdiction.{name}]\nlaw=\"x\"\n{keys}\n\
         PERSONAL={rules}\nFINANCIAL={rules}\nOPERATIONAL={ANY}\n"
    )
}

fn file(parts: &[String]) -> String {
    format!("format = 1\nversion = 1\n{}", parts.join("\n"))
}

fn eu(rules: &str) -> String {
    served(
        "EU",
        r#"countries=["DE"]
regions=["eu-west"]"#,
        rules,
    )
}

#[track_caller]
fn refused(text: &str, rule: &str, why: &str) {
    let refusal = Policy::parse(text).unwrap_err();
    let Refused::Unsatisfiable(problems) = &refusal else { panic!("{refusal}") };
    let found = |p: &Problem| p.rule == rule && p.why.to_string().contains(why);
    assert!(problems.iter().any(found), "no [{rule}] {why} in {refusal}");
}

#[test]
fn the_shipped_policy_sends_each_country_to_its_region() {
    let policy = shipped();
    let homes = [
        ("eu-west", "GB DE FR IE NO IS LI CH GG JE PL GR CY MT"),
        ("ap-south", "AU JP SG HK NZ IN"),
        ("us-east", "US CA BR ZA IL AE SA BH LB"),
    ];
    for (home, countries) in homes {
        for code in countries.split(' ') {
            let law = policy.of_country(country(code)).unwrap();
            assert_eq!(law.homes(), [region(home)], "{code}");
        }
    }
    assert!(Country::all().all(|c| policy.of_country(c).is_some()), "the rest has a home");
    for code in ["RU", "CN", "KZ"] {
        let law = policy.of_country(country(code)).unwrap();
        assert!(law.homes().is_empty(), "{code} asks for a region on its ground");
        let why = explain(&policy, country(code), DataClass::Personal).unwrap();
        let says = |reason: &String| reason.contains("no region of ours stands");
        assert!(why.reasons.iter().any(says), "{why:?}");
    }
}

#[test]
fn every_shipped_home_is_lawful_for_every_class() {
    let policy = shipped();
    for law in policy.jurisdictions() {
        for class in DataClass::ALL {
            assert!(law.homes().iter().all(|home| policy.may_store(law, class, home)));
        }
    }
}

#[test]
fn only_operational_facts_leave_a_shipped_jurisdiction_but_to_frankfurt() {
    let policy = shipped();
    for law in policy.jurisdictions().filter(|law| !law.homes().is_empty()) {
        for peer in policy.regions().into_iter().filter(|r| !law.homes().contains(r)) {
            let copy =
                ["EU", "GB", "CH"].contains(&law.name.as_str()) && *peer == region("eu-central");
            let operational = ClassSet::NONE.with(DataClass::Operational);
            let want = if copy { ClassSet::ALL } else { operational };
            assert_eq!(policy.allowed_classes(&law.name, peer), want, "{} {peer}", law.name);
        }
    }
}

#[test]
fn a_copy_goes_only_to_a_failover_region() {
    let rules = r#"{ store = ["EU"], transit = true, failover = ["eu-north"] }"#;
    let keys = r#"countries=["DE"]
regions=["eu-west", "eu-north", "eu-south"]
home=["eu-west"]"#;
    let policy = Policy::parse(&file(&[served("EU", keys, rules)])).unwrap();
    let name: JurisdictionName = "EU".parse().unwrap();
    assert_eq!(policy.allowed_classes(&name, &region("eu-north")), ClassSet::ALL);
    let lawful_but_not_asked = policy.allowed_classes(&name, &region("eu-south"));
    assert_eq!(lawful_but_not_asked, ClassSet::NONE.with(DataClass::Operational));
}

#[test]
fn an_unknown_peer_or_origin_gets_nothing() {
    let policy = shipped();
    let eu = "EU".parse().unwrap();
    assert_eq!(policy.allowed_classes(&eu, &region("mars-1")), ClassSet::NONE);
    let nowhere = "NOWHERE".parse().unwrap();
    assert_eq!(policy.allowed_classes(&nowhere, &region("eu-west")), ClassSet::NONE);
}

#[test]
fn a_policy_without_a_lawful_region_is_refused() {
    let rules = r#"{ store = ["GB"], transit = true }"#;
    let gb = served(
        "GB",
        r#"countries=["GB"]
home=["eu-west"]"#,
        rules,
    );
    let text = file(&[eu(ANY), gb]);
    refused(&text, "jurisdiction.GB.home", "no lawful region: the home eu-west may not store");
    let homeless = served("GB", r#"countries=["GB"]"#, ANY);
    refused(&file(&[homeless]), "jurisdiction.GB.home", "no home");
    let lost = served(
        "GB",
        r#"countries=["GB"]
home=["mars-1"]"#,
        ANY,
    );
    refused(&file(&[lost]), "jurisdiction.GB.home", "mars-1 lies in no jurisdiction");
}

#[test]
fn failover_outside_the_jurisdiction_is_refused() {
    let us = served(
        "US",
        r#"rest=true
regions=["us-east"]"#,
        ANY,
    );
    let rules = r#"{ store = ["EU"], transit = true, failover = ["us-east"] }"#;
    refused(&file(&[eu(rules), us]), "jurisdiction.EU.PERSONAL.failover", "us-east lies in US");
}

#[test]
fn a_region_in_two_jurisdictions_that_contradict_is_refused() {
    let own = |name: &str| format!(r#"{{ store = ["{name}"], transit = true }}"#);
    let ch = served(
        "CH",
        r#"countries=["CH"]
regions=["eu-west"]"#,
        &own("CH"),
    );
    let text = file(&[eu(&own("EU")), ch]);
    refused(&text, "jurisdiction.EU.PERSONAL.store", "eu-west lies also in CH");
    refused(&text, "jurisdiction.CH.FINANCIAL.store", "eu-west lies also in EU");
    let both = r#"{ store = ["EU", "CH"], transit = true }"#;
    let ch = served(
        "CH",
        r#"countries=["CH"]
regions=["eu-west"]"#,
        both,
    );
    Policy::parse(&file(&[eu(both), ch])).unwrap();
}

#[test]
fn contradictory_text_is_refused_with_its_rule() {
    let de = |name: &str| {
        served(
            name,
            r#"countries=["DE"]
regions=["eu-west"]"#,
            ANY,
        )
    };
    refused(&file(&[de("EU"), de("XX")]), "jurisdiction.XX.countries", "DE is already in EU");
    let rest = |name: &str| {
        served(name, &format!("rest=true\nregions=[\"r-{}\"]", name.to_lowercase()), ANY)
    };
    refused(&file(&[rest("AA"), rest("BB")]), "jurisdiction.BB.rest", "AA already takes the rest");
    refused(
        &file(&[eu(r#"{ store = ["MARS"], transit = true }"#)]),
        "jurisdiction.EU.PERSONAL.store",
        "MARS",
    );
    refused(
        &file(&[eu(r#"{ store = ["e u"], transit = true }"#)]),
        "jurisdiction.EU.PERSONAL.store",
        "e u",
    );
    refused(
        &file(&["[jurisdiction.EU]\nlaw=\"x\"\ncountries=[\"DE\"]".into()]),
        "jurisdiction.EU",
        "unserved",
    );
    refused(&file(&[eu(ANY)]).replace("format = 1", "format = 2"), "format", "not 2");
    refused(&file(&[eu(ANY)]).replace("version = 1", "version = 0"), "version", "start at 1");
}

#[test]
fn the_format_is_strict() {
    for bad in [
        file(&[eu(ANY)]) + "colour = 1",
        file(&[eu(r#"{ store = ["*"] }"#)]),
        file(&[eu(ANY)]).replace("\"DE\"", "\"UK\""),
        file(&[eu(ANY)]).replace("\"DE\"", "\"de\""),
        file(&[eu(ANY)]).replace("eu-west", "EU West"),
        "jurisdiction = 3".into(),
        format!("x = {}", "[".repeat(100_000)),
        "a.".repeat(50_000),
        String::new(),
    ] {
        let refusal = Policy::parse(&bad).unwrap_err();
        assert!(matches!(refusal, Refused::Syntax(_)), "{refusal}");
    }
}

#[test]
fn a_country_may_be_unserved_with_a_reason() {
    let cn = "[jurisdiction.CN]\nlaw=\"PIPL\"\ncountries=[\"CN\"]\nunserved=\"no region there\"";
    let policy = Policy::parse(&file(&[eu(ANY), cn.into()])).unwrap();
    let why = explain(&policy, country("CN"), DataClass::Personal).unwrap();
    assert!(why.homes.is_empty() && why.may_store.is_empty());
    assert!(why.reasons.iter().any(|r| r.contains("no region there")), "{why:?}");
    assert!(policy.of_country(country("RU")).is_none(), "there is no rest");
}

#[test]
fn transit_may_be_forbidden_apart_from_storage() {
    let us = served(
        "US",
        r#"rest=true
regions=["us-east"]"#,
        ANY,
    );
    let text = file(&[eu(r#"{ store = ["EU"], transit = false }"#), us]);
    let policy = Policy::parse(&text).unwrap();
    let law = policy.of_country(country("DE")).unwrap();
    assert!(policy.may_pass(law, DataClass::Personal, &region("eu-west")));
    assert!(!policy.may_pass(law, DataClass::Personal, &region("us-east")));
    assert!(policy.may_pass(law, DataClass::Operational, &region("us-east")));
}

#[test]
fn explain_says_where_and_why() {
    let why = explain(&shipped(), country("DE"), DataClass::Personal).unwrap();
    assert_eq!(why.jurisdiction.as_str(), "EU");
    assert_eq!(why.may_store, [region("eu-central"), region("eu-west")]);
    for part in ["EU lists it", "GDPR", "us-east may not: it lies in US", "it is their home"] {
        assert!(why.reasons.iter().any(|r| r.contains(part)), "{part}: {:?}", why.reasons);
    }
}
