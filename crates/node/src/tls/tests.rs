use super::*;
use crate::devca::{DevCa, Leaf, Pair};
use crate::env::SystemClock;
use crate::fixture::{CLIENT, Caller, House, LOOPBACK, overwrite, who};
use crate::listen::{Limits, Listener};
use crate::net::TlsNet;

fn reason(house: &House, leaf: &Leaf) -> Result<SpiffeId, NotSvid> {
    let pair = house.ca.mint(leaf).unwrap();
    Svid::of(&CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()).map(|svid| svid.id)
}

#[tokio::test]
async fn a_leaf_that_is_no_svid_is_refused_with_its_reason() {
    let house = House::new();
    let bad_path = Leaf::named("spiffe://hansa/client/../operator");
    for (leaf, expect) in [
        (Leaf::no_uri(), NotSvid::UriNames(0)),
        (Leaf::two_uris(CLIENT, "spiffe://hansa/client/operator"), NotSvid::UriNames(2)),
        (Leaf::authority(CLIENT), NotSvid::Authority),
        (Leaf::named("https://hansa/client/storefront"), NotSvid::NotSpiffe),
        (Leaf::named("spiffe://hansa"), NotSvid::NotSpiffe),
        (bad_path, NotSvid::NotSpiffe),
    ] {
        assert_eq!(reason(&house, &leaf), Err(expect), "{:?}", leaf.uris);
    }
    assert_eq!(reason(&house, &Leaf::named(CLIENT)).unwrap().as_str(), CLIENT);
}

/// Whether a listener of ours lets `caller` make a call.
async fn check(house: &House, case: &str, caller: Caller, welcome: bool) {
    let (address, _serving) = house.serve("n1", who(), Limits::default()).await;
    let outcome = caller.connect(house, &address).await;
    let said = outcome.as_ref().err().map(ToString::to_string);
    assert_eq!(outcome.is_ok(), welcome, "{case}: {said:?}");
}

#[tokio::test]
async fn only_a_client_with_one_valid_name_of_our_trust_domain_gets_in() {
    let house = House::new();
    let minted = |leaf: Leaf| Caller::with(house.ca.mint(&leaf).unwrap());
    check(&house, "good", Caller::good(&house), true).await;
    let nobody = Caller { pair: None, ..Caller::good(&house) };
    check(&house, "no certificate", nobody, false).await;
    check(&house, "expired", minted(Leaf::expired(CLIENT)), false).await;
    let later = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    let early = Leaf { not_before: later, ..Leaf::named(CLIENT) };
    check(&house, "not yet valid", minted(early), false).await;
    let two = Leaf::two_uris(CLIENT, "spiffe://hansa/client/operator");
    check(&house, "two URI names", minted(two), false).await;
    check(&house, "no URI name", minted(Leaf::no_uri()), false).await;
    check(&house, "authority", minted(Leaf::authority(CLIENT)), false).await;
    let foreign = Leaf::named("spiffe://lubeck/client/storefront");
    check(&house, "other trust domain", minted(foreign), false).await;
}

#[tokio::test]
async fn our_name_under_another_authority_does_not_get_in() {
    let house = House::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let impostor = DevCa::open(elsewhere.path(), "hansa").unwrap();
    let caller = Caller::with(impostor.mint(&Leaf::named(CLIENT)).unwrap());
    check(&house, "other authority", caller, false).await;
}

#[tokio::test]
async fn only_tls13_with_h2_gets_in() {
    let house = House::new();
    let good = || Caller::good(&house);
    let old = Caller { version: &rustls::version::TLS12, ..good() };
    check(&house, "TLS 1.2", old, false).await;
    let http1 = Caller { alpn: vec![b"http/1.1".to_vec()], ..good() };
    check(&house, "http/1.1", http1, false).await;
    check(&house, "no ALPN", Caller { alpn: Vec::new(), ..good() }, false).await;
    let both = Caller { alpn: vec![b"http/1.1".to_vec(), b"h2".to_vec()], ..good() };
    check(&house, "h2 among others", both, true).await;
}

#[tokio::test]
async fn what_is_for_a_region_alone_ends_at_the_handshake_of_everybody_else() {
    let house = House::new();
    let node = |region: &str| format!("spiffe://hansa/region/{region}/node/{region}-7");
    let caller = |name: &str, alpn: &[&[u8]]| {
        let alpn = alpn.iter().map(|name| name.to_vec()).collect();
        Caller { alpn, ..Caller::with(house.ca.mint(&Leaf::named(name)).unwrap()) }
    };
    let (ours, theirs) = (node("eu-west"), node("us-east"));
    for alpn in [&[ALPN_REGION][..], &[ALPN_REGION, ALPN_H2], &[ALPN_H2, ALPN_REGION]] {
        check(&house, "our own", caller(&ours, alpn), true).await;
        check(&house, "another region's", caller(&theirs, alpn), false).await;
        check(&house, "a client's", caller(CLIENT, alpn), false).await;
    }
    check(&house, "between regions", caller(&theirs, &[ALPN_H2]), true).await;
    check(&house, "one of an older version", caller(&ours, &[ALPN_H2]), true).await;
}

#[tokio::test]
async fn certificates_rotate_under_a_live_listener() {
    let house = House::new();
    let identity = house.identity("n1");
    let id = identity.id().clone();
    let net = TlsNet::new(identity.clone(), Arc::new(SystemClock::new()));
    let listener = Listener::bind("test", LOOPBACK, &net, Limits::default()).await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let address = crate::peers::Address { id: id.clone(), addr };
    let _serving = listener.start(&house.tasks, who());

    let caller = Caller::good(&house);
    let mut before = caller.connect(&house, &address).await.unwrap();
    assert!(!identity.reload().unwrap(), "nothing has changed");
    house.ca.write("nodes", "n1", &Leaf::named(id.as_str())).unwrap();
    assert!(identity.reload().unwrap());
    let after = caller.connect(&house, &address).await.unwrap();
    assert_ne!(before.server_cert, after.server_cert);
    assert_eq!(before.call("/again").await.unwrap(), CLIENT, "open connections go on");
}

#[tokio::test]
async fn a_new_identity_that_is_wrong_changes_nothing() {
    let house = House::new();
    let identity = house.identity("n1");
    let files = house.ca.node(&"eu-west".parse().unwrap(), "n1").unwrap();
    let was = std::fs::read_to_string(&files.cert).unwrap();
    let Pair { cert, .. } = house.ca.mint(&Leaf::named(identity.id().as_str())).unwrap();
    overwrite(&files.cert, &cert);
    assert!(matches!(identity.reload(), Err(Error::KeyMismatch { .. })), "half a rotation");
    overwrite(&files.cert, "nonsense");
    assert!(matches!(identity.reload(), Err(Error::Empty { .. } | Error::File { .. })));
    house.ca.write("nodes", "n1", &Leaf::named("spiffe://hansa/client/other")).unwrap();
    assert!(matches!(identity.reload(), Err(Error::OtherName { .. })), "another name");
    house.ca.write("nodes", "n1", &Leaf::authority(identity.id().as_str())).unwrap();
    assert!(matches!(identity.reload(), Err(Error::NotSvid { .. })), "an authority");
    let current = identity.inner.current.load();
    assert_eq!(current.leaf, CertificateDer::from_pem_slice(was.as_bytes()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_noticed_within_one_period() {
    let house = House::new();
    let identity = house.identity("n1");
    let was = identity.server_config();
    let fresh = identity.clone().keep_fresh(Duration::from_secs(10), house.tasks.stop_token());
    house.tasks.spawn("identity", crate::tasks::OnError::StopNode, fresh);
    house.ca.write("nodes", "n1", &Leaf::named(identity.id().as_str())).unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!Arc::ptr_eq(&was, &identity.server_config()));
}
