use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn the_second_run_finds_the_authority_and_certificates_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let region = "eu-west".parse().unwrap();
    let mint = || {
        let ca = DevCa::open(dir.path(), "hansa").unwrap();
        let files = ca.node(&region, "eu-west-1").unwrap();
        (fs::read(ca.ca_file()).unwrap(), fs::read(files.cert).unwrap())
    };
    assert_eq!(mint(), mint());
}

#[test]
fn only_the_owner_reads_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let ca = DevCa::open(dir.path(), "hansa").unwrap();
    let files = ca.client("storefront").unwrap();
    for key in [dir.path().join("ca.key"), files.key] {
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{key:?}");
    }
}

#[test]
fn a_certificate_that_ends_soon_is_minted_anew() {
    let dir = tempfile::tempdir().unwrap();
    let ca = DevCa::open(dir.path(), "hansa").unwrap();
    let id = "spiffe://hansa/client/storefront";
    let soon = OffsetDateTime::now_utc() + Duration::days(3);
    let old = ca.write("clients", "storefront", &Leaf { not_after: soon, ..Leaf::named(id) });
    let was = fs::read(old.unwrap().cert).unwrap();
    assert_ne!(fs::read(ca.client("storefront").unwrap().cert).unwrap(), was);
}
