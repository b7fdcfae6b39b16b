use clap::Parser;

use super::*;
use crate::args::Cli;

const PROFILE: &str = r#"
region = "eu-west"
ca = "pki/ca.crt"
[regions.eu-west]
endpoints = ["127.0.0.1:7001", "127.0.0.1:7002"]
[regions.us-east]
endpoints = ["127.0.0.1:7011"]
[clients.warehouse]
cert = "pki/warehouse.crt"
key = "pki/warehouse.key"
[clients.operator]
cert = "/abs/operator.crt"
key = "/abs/operator.key"
"#;

/// A session as the command line makes it, with the profile's folder in place of `FOLDER`.
fn session(folder: &Path, flags: &[&str]) -> Result<Session, Problem> {
    let path = folder.join("profile.toml");
    std::fs::write(&path, PROFILE).expect("written");
    let path = path.to_str().expect("utf-8");
    let line = [&["hansactl", "--profile", path], flags, &["region", "list"]].concat();
    Session::new(&Cli::try_parse_from(line).expect("parses").global)
}

#[test]
fn a_command_is_done_by_the_client_whose_role_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let session = session(folder.path(), &[]).expect("a session");
    let target = session.target(Role::Warehouse).expect("a target");
    assert_eq!(target.cert, folder.path().join("pki/warehouse.crt"), "relative to the profile");
    assert_eq!(target.endpoints, ["127.0.0.1:7001", "127.0.0.1:7002"]);
    let target = session.target(Role::Operator).expect("a target");
    assert_eq!(target.cert, Path::new("/abs/operator.crt"));
}

#[test]
fn flags_win_over_the_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--region", "us-east", "--as", "operator", "--ca", "/else/ca.crt"];
    let target = session(folder.path(), &flags).expect("a session").target(Role::Warehouse);
    let target = target.expect("a target");
    assert_eq!(target.endpoints, ["127.0.0.1:7011"]);
    assert_eq!(target.cert, Path::new("/abs/operator.crt"));
    assert_eq!(target.ca, Path::new("/else/ca.crt"));
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let region = session(folder.path(), &["--region", "mars"]).expect("a session");
    let problem = region.target(Role::Operator).expect_err("no such region");
    assert!(problem.text().contains("eu-west, us-east"), "{}", problem.text());
    let client = session(folder.path(), &["--as", "nobody"]).expect("a session");
    let problem = client.target(Role::Operator).expect_err("no such client");
    assert!(problem.text().contains("operator, warehouse"), "{}", problem.text());
}

#[test]
fn four_flags_need_no_profile() {
    let line = [
        "hansactl",
        "--endpoint",
        "localhost:1",
        "--ca",
        "ca",
        "--cert",
        "c",
        "--key",
        "k",
        "region",
        "list",
    ];
    let cli = Cli::try_parse_from(line).expect("parses");
    let target = Session::new(&cli.global).expect("a session").target(Role::Finance);
    assert_eq!(target.expect("a target").endpoints, ["localhost:1"]);
}
