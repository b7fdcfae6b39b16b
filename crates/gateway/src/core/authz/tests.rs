use super::*;

const SHIPPED: &str = include_str!("../../../../../deploy/policy/authz.toml");

fn shipped() -> Authz {
    Authz::parse(SHIPPED).unwrap()
}

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn may(authz: &Authz, client: &str, method: &str) -> bool {
    let known = METHODS.iter().find(|m| m.name.ends_with(&format!("/{method}"))).unwrap();
    authz.allows(authz.roles(client, &region("eu-west")), known.name)
}

#[test]
fn every_public_method_is_listed_in_the_shipped_policy() {
    let listed: Vec<_> = shipped().methods().collect();
    let public: Vec<_> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(listed, public);
}

/// Who may call what, in the order storefront, warehouse, finance, operator, auditor, approver.
#[test]
fn the_shipped_matrix() {
    let authz = shipped();
    let matrix = [
        ("PlaceOrder", "yes -- -- -- -- --"),
        ("PlaceOrders", "yes -- -- -- -- --"),
        ("GetOrder", "yes yes yes yes yes yes"),
        ("ListOrders", "yes -- -- yes yes --"),
        ("CancelOrder", "yes -- -- yes -- --"),
        ("ReturnItems", "yes -- -- -- -- --"),
        ("WatchOrder", "yes yes -- yes yes --"),
        ("ReceiveStock", "-- yes -- -- -- --"),
        ("AdjustStock", "-- yes -- -- -- --"),
        ("RecordShipment", "-- yes -- -- -- --"),
        ("GetStock", "yes yes -- yes yes yes"),
        ("ListStock", "-- yes -- yes yes --"),
        ("GetPayment", "yes -- yes yes yes yes"),
        ("RefundPayment", "-- -- yes -- -- --"),
        ("ListAccountEntries", "-- -- yes yes yes --"),
        ("ListRegions", "yes yes yes yes yes yes"),
        ("ExplainRoute", "yes yes yes yes yes --"),
        ("ListGroups", "-- -- -- yes yes --"),
        ("CheckInvariants", "-- -- -- yes yes --"),
        ("VerifyChain", "-- -- -- yes yes --"),
        ("ListAnchors", "-- -- -- yes yes --"),
        ("StartBackup", "-- -- -- yes -- --"),
        ("ReadBackup", "-- -- -- yes -- --"),
        ("EndBackup", "-- -- -- yes -- --"),
        ("GetRestore", "-- -- -- yes yes --"),
        ("SettleRestore", "-- -- -- yes -- --"),
        ("ListEpochs", "-- -- -- yes -- --"),
        ("ListDifferences", "-- -- -- yes yes --"),
        ("ListMembers", "-- -- -- yes yes --"),
        ("AddMember", "-- -- -- yes -- --"),
        ("PromoteMember", "-- -- -- yes -- --"),
        ("RemoveMember", "-- -- -- yes -- --"),
        ("ReplaceMember", "-- -- -- yes -- --"),
        ("TransferLeader", "-- -- -- yes -- --"),
        ("DrainNode", "-- -- -- yes -- --"),
        ("ReseedNode", "-- -- -- yes -- --"),
        ("RetireNode", "-- -- -- yes -- --"),
        ("GetPolicy", "-- -- -- yes yes --"),
        ("ExplainPolicy", "-- -- -- yes yes --"),
        ("CheckPolicy", "-- -- -- yes yes --"),
        ("LoadPolicy", "-- -- -- yes -- --"),
        ("VerifyResidency", "-- -- -- yes yes --"),
        ("ListVersions", "-- -- -- yes yes --"),
        ("RaiseVersion", "-- -- -- yes -- --"),
        ("ListKeys", "-- -- -- yes yes --"),
        ("RotateKey", "-- -- -- yes -- --"),
        ("ApplyRepair", "-- -- -- yes -- --"),
        ("ApprovePlan", "-- -- -- -- -- yes"),
        ("ListRepairs", "-- -- -- yes yes yes"),
        ("ProposePlan", "-- -- -- yes -- --"),
        ("ReadFacts", "-- -- -- yes yes yes"),
        ("GetReplicationStatus", "-- -- -- yes yes --"),
        ("ListParkedEvents", "-- -- -- yes yes --"),
        ("ListReplicaDifferences", "-- -- -- yes yes --"),
        ("ResolveParkedEvents", "-- -- -- yes -- --"),
        ("RetryParkedEvents", "-- -- -- yes -- --"),
        ("CancelSwitchover", "-- -- -- yes -- --"),
        ("Failover", "-- -- -- yes -- --"),
        ("GetRegionLoss", "-- -- -- yes yes --"),
        ("ListNotAdopted", "-- -- -- yes yes --"),
        ("ListTail", "-- -- -- yes yes --"),
        ("SetIsolation", "-- -- -- yes -- --"),
        ("Switchover", "-- -- -- yes -- --"),
        ("EraseCustomer", "-- -- -- yes -- --"),
        ("ExportCustomer", "-- -- -- yes -- --"),
        ("MoveCustomer", "-- -- -- yes -- --"),
    ];
    assert_eq!(matrix.len(), METHODS.len(), "a method is missing in this table");
    for (method, row) in matrix {
        for (role, want) in Role::ALL.into_iter().zip(row.split(' ')) {
            assert_eq!(may(&authz, role.as_str(), method), want == "yes", "{role} {method}");
        }
    }
}

#[test]
fn a_stranger_may_nothing() {
    let authz = shipped();
    for method in METHODS {
        for client in ["", "king", "Storefront", "storefront2", "client/storefront"] {
            assert!(!authz.anywhere(client, method.name));
            assert!(!authz.allows(authz.roles(client, &region("eu-west")), method.name));
        }
    }
}

#[test]
fn a_method_that_is_not_listed_is_closed_to_everybody() {
    let authz = shipped();
    let all: Roles = Role::ALL.into_iter().collect();
    for closed in
        ["hansa.raft.v1.RaftPeerService/Exchange", "hansa.order.v1.OrderService/Steal", ""]
    {
        assert!(!authz.allows(all, closed), "{closed}");
    }
}

#[test]
fn roles_hold_in_their_regions_only() {
    let text = r#"
format = 1
version = 1
[role]
warehouse = ["hansa.inventory.v1.InventoryService/GetStock"]
finance = ["hansa.payment.v1.PaymentService/GetPayment"]
[[grant]]
client = "dock-7"
roles = ["warehouse"]
regions = ["eu-west"]
[[grant]]
client = "dock-7"
roles = ["finance"]
regions = ["us-east"]
"#;
    let authz = Authz::parse(text).unwrap();
    let (stock, payment) = (
        "hansa.inventory.v1.InventoryService/GetStock",
        "hansa.payment.v1.PaymentService/GetPayment",
    );
    let may = |at: &str, method| authz.allows(authz.roles("dock-7", &region(at)), method);
    assert!(may("eu-west", stock) && !may("us-east", stock) && !may("ap-south", stock));
    assert!(may("us-east", payment) && !may("eu-west", payment));
    assert!(authz.anywhere("dock-7", stock) && authz.anywhere("dock-7", payment));
}

#[test]
fn a_policy_that_names_what_does_not_exist_is_refused() {
    let edit = |from: &str, to: &str| Authz::parse(&SHIPPED.replacen(from, to, 1)).unwrap_err();
    let method = edit("OrderService/PlaceOrder", "OrderService/PlaceOrdre");
    assert!(matches!(method, Refused::NoSuchMethod(_)), "{method}");
    assert!(matches!(edit("[\"storefront\"]", "[\"king\"]"), Refused::NoSuchRole(_)));
    assert!(matches!(edit("storefront = [", "king = ["), Refused::NoSuchRole(_)));
    assert!(matches!(edit("\"storefront\"\nroles", "\"../x\"\nroles"), Refused::BadClient(_)));
    assert!(matches!(edit("[\"*\"]", "[\"EU\"]"), Refused::BadRegion(_)));
    assert!(matches!(edit("format = 1", "format = 2"), Refused::Format(2)));
    assert!(matches!(edit("format = 1", "format = 1\nx = 1"), Refused::Syntax(_)));
}
