//! PlaceOrder on the wire: made, read with all checks, and routed.

use std::hint::black_box;

use anyhow::{Context as _, Result, ensure};
use hansa_api::convert::order::PlaceOrder;
use hansa_api::pb;
use hansa_api::routing::{Extra, Routing};
use hansa_region_router::core::directory::{
    Command, Genesis, Node, NodeRole, Outcome, Region, Snapshot, State,
};
use hansa_region_router::core::route::{self, Decision, Entry};
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::RegionNumber;
use prost::Message as _;

use crate::Path;

/// The policy as shipped.
const POLICY: &str = include_str!("../../../deploy/policy/residency.toml");
const METHOD: &str = "/hansa.order.v1.OrderService/PlaceOrder";

pub fn encode(_times: usize) -> Result<Path> {
    let request = request();
    Ok(Box::new(move |_| {
        black_box(black_box(&request).encode_to_vec());
        Ok(())
    }))
}

pub fn decode(_times: usize) -> Result<Path> {
    let bytes = request().encode_to_vec();
    Ok(Box::new(move |_| {
        let request = pb::order::PlaceOrderRequest::decode(black_box(&bytes[..]))?;
        let order = PlaceOrder::try_from(request).ok().context("refused")?;
        ensure!(order.lines.len() == 2, "lines");
        Ok(())
    }))
}

pub fn route(_times: usize) -> Result<Path> {
    let bytes = request().encode_to_vec();
    let directory = directory()?;
    Ok(Box::new(move |_| {
        let method = route::method(METHOD).context("no such method")?;
        let fields = Routing::decode(black_box(&bytes), Extra::of_path(METHOD)).ok();
        let fields = fields.context("malformed")?;
        let decision = route::route(method, &fields, Entry::Client, &directory)?;
        ensure!(matches!(decision, Decision::Group(_)), "{decision:?}");
        Ok(())
    }))
}

fn request() -> pb::order::PlaceOrderRequest {
    let line = |sku: &str, quantity, nanos| pb::order::PlaceOrderLine {
        kind: pb::order::LineKind::Stock.into(),
        sku: sku.to_owned(),
        description: "WHITE HANGING HEART T-LIGHT HOLDER".to_owned(),
        quantity,
        unit_price: Some(pb::Money { currency_code: "GBP".to_owned(), units: 2, nanos }),
    };
    pb::order::PlaceOrderRequest {
        residence_country: "DE".to_owned(),
        customer_id: "17850".to_owned(),
        request_id: "536365-place".to_owned(),
        lines: vec![line("85123A", 6, 550_000_000), line("71053", 6, 390_000_000)],
        payment_token: "tok_approve".to_owned(),
        personal: Some(pb::order::PersonalDetails {
            name: "Anna Schmidt".to_owned(),
            email: "anna@example.org".to_owned(),
            phone: "+49 30 901820".to_owned(),
            address_lines: vec!["Unter den Linden 1".to_owned()],
            city: "Berlin".to_owned(),
            postal_code: "10117".to_owned(),
            address_country: "DE".to_owned(),
        }),
        client_reference: "536365".to_owned(),
        placed_time: None,
    }
}

/// A league of three regions as the first of them sees it, with four groups of each kind.
fn directory() -> Result<Snapshot> {
    let first = Genesis {
        here: RegionNumber::try_from(1)?,
        policy: POLICY.to_owned(),
        regions: vec![region(1, "eu-west")?, region(2, "us-east")?, region(3, "ap-south")?],
        groups: groups(),
    };
    let mut state = State::default();
    let outcome = state.apply(&Command::Bootstrap(Box::new(first)).encode()?);
    ensure!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    state.snapshot().context("no snapshot")
}

fn region(number: u16, name: &str) -> Result<(RegionNumber, Region)> {
    let node = |n: u64| Node {
        id: NodeId(n),
        name: format!("{name}-{n}"),
        internal: format!("{name}-{n}:7443"),
        roles: NodeRole::ALL.to_vec(),
    };
    let nodes = (1..=3).map(node).collect();
    let public = vec![format!("{name}:443")];
    Ok((RegionNumber::try_from(number)?, Region { name: name.parse()?, public, nodes }))
}

fn groups() -> Vec<(GroupId, Vec<NodeId>)> {
    let kinds = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
    let groups = kinds.into_iter().flat_map(|kind| (0..4).map(move |n| GroupId::new(kind, n)));
    let directory = GroupId::new(GroupKind::Directory, 0);
    let members = || (1..=3).map(NodeId).collect();
    std::iter::once(directory).chain(groups).map(|group| (group, members())).collect()
}
