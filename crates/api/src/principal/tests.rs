use super::*;

fn storefront() -> Principal {
    Principal {
        id: "spiffe://hansa/client/storefront".parse().unwrap(),
        roles: [Role::Storefront, Role::Auditor].into_iter().collect(),
        region: "eu-west".parse().unwrap(),
    }
}

#[test]
fn a_principal_survives_its_headers() {
    let mut headers = HeaderMap::new();
    assert_eq!(Principal::read(&headers), Ok(None));
    storefront().write(&mut headers);
    assert_eq!(Principal::read(&headers), Ok(Some(storefront())));
}

#[test]
fn doubled_or_broken_headers_are_refused() {
    for (name, value) in
        [(PRINCIPAL, "spiffe://hansa/client/root"), (ROLES, "operator"), (ENTRY, "us-east")]
    {
        let mut headers = HeaderMap::new();
        storefront().write(&mut headers);
        headers.append(name, HeaderValue::from_static(value));
        assert_eq!(Principal::read(&headers).unwrap_err().reason(), Reason::Unauthenticated);
    }
    let mut headers = HeaderMap::new();
    storefront().write(&mut headers);
    headers.insert(ROLES, HeaderValue::from_static("storefront,root"));
    assert!(Principal::read(&headers).is_err());
    headers.remove(ROLES);
    assert!(Principal::read(&headers).is_err());
}

#[test]
fn a_clients_own_hansa_headers_are_stripped() {
    let mut headers = HeaderMap::new();
    storefront().write(&mut headers);
    headers.insert(FORWARDED, HeaderValue::from_static("us-east"));
    headers.insert("traceparent", HeaderValue::from_static("00-1-1-01"));
    assert_eq!(forwarded_by(&headers), Ok(Some("us-east".parse().unwrap())));
    strip(&mut headers);
    assert_eq!(headers.len(), 1);
    assert_eq!(forwarded_by(&headers), Ok(None));
}

#[test]
fn roles_are_denied_by_default() {
    let principal = storefront();
    assert_eq!(principal.require(&[Role::Operator, Role::Auditor]), Ok(()));
    let refused = principal.require(&[Role::Warehouse]).unwrap_err();
    assert_eq!(refused.reason(), Reason::PermissionDenied);
    assert!(!Roles::default().meets(Role::ALL.into_iter().collect()));
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert_eq!("".parse::<Roles>(), Ok(Roles::default()));
}
