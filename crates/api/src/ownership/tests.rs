use super::*;
use crate::client::tls::tests::TestCa;

fn record() -> OwnershipRecord {
    OwnershipRecord {
        birth_region: "eu-west".into(),
        owner_region: "eu-central".into(),
        epoch: 2,
        ends_epoch: 1,
        kind: "failover".into(),
        reason: "flood".into(),
        ticket: "INC-1".into(),
        time_ms: now_ms(),
        ..OwnershipRecord::default()
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[test]
fn a_text_says_every_field_on_its_own_line() {
    let record = OwnershipRecord { time_ms: 7, signed_by: "spiffe://x/y".into(), ..record() };
    let lines = [
        "hansa ownership record 1",
        "birth eu-west",
        "owner eu-central",
        "epoch 2",
        "ends 1",
        "kind failover",
        "stopped no",
        "time_ms 7",
        "by spiffe://x/y",
        "ticket INC-1",
        "reason flood",
        "",
    ];
    assert_eq!(text(&record).split('\n').collect::<Vec<_>>(), lines);
}

#[test]
fn what_a_client_signed_is_believed_and_nothing_else_is() {
    let (ours, theirs) = (TestCa::new(), TestCa::new());
    let signed = sign(record(), &ours.client()).unwrap();
    let authorities = ours.client().authorities();
    verify(&signed, &authorities).unwrap();
    assert!(matches!(verify(&record(), &authorities), Err(BadSignature::Empty)));
    let other = sign(record(), &theirs.client()).unwrap();
    assert!(matches!(verify(&other, &authorities), Err(BadSignature::Chain(_))));
    let spoil: [fn(&mut OwnershipRecord); 9] = [
        |r| r.owner_region = "us-east".into(),
        |r| r.birth_region = "us-east".into(),
        |r| r.epoch = 3,
        |r| r.ends_epoch = 0,
        |r| r.kind = "switchover".into(),
        |r| r.confirmed_stopped = true,
        |r| r.reason = "fire".into(),
        |r| r.ticket = "INC-2".into(),
        |r| r.time_ms += 1,
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        let mut bad = signed.clone();
        spoil(&mut bad);
        let why = verify(&bad, &authorities).unwrap_err();
        assert!(matches!(why, BadSignature::Signature), "case {n}: {why}");
    }
    let renamed = OwnershipRecord { signed_by: "spiffe://hansa/client/x".into(), ..signed.clone() };
    assert!(matches!(verify(&renamed, &authorities), Err(BadSignature::OtherName { .. })));
    let scheme = OwnershipRecord { scheme: 1, ..signed };
    assert!(matches!(verify(&scheme, &authorities), Err(BadSignature::Scheme)));
}

#[test]
fn a_node_signs_no_record() {
    let ca = TestCa::new();
    let files = ca.files("node", &["spiffe://hansa/region/eu-west/node/a"]);
    let node = Identity::read(&files).unwrap();
    let signed = sign(record(), &node).unwrap();
    let why = verify(&signed, &node.authorities()).unwrap_err();
    assert!(matches!(why, BadSignature::NotAClient(_)), "{why}");
}
