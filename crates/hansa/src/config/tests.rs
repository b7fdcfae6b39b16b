use std::path::Path;

use hansa_node::config::{self as strict};

use super::*;

const GOOD: &str = r#"
region = "eu-west"
name = "eu-west-1"
data_dir = "/var/lib/hansa"
residency_file = "residency.toml"
[tls]
cert = "node.crt"
key = "node.key"
ca = "ca.crt"
[listen]
public = "0.0.0.0:7443"
internal = "0.0.0.0:7444"
metrics = "127.0.0.1:9464"
[groups]
orders = 2
[[league]]
name = "eu-west"
number = 1
public = ["eu.example:443"]
[[league.nodes]]
id = 11
name = "eu-west-1"
internal = "eu-west-1:7444"
roles = ["gateway", "directory", "orders"]
[[league.nodes]]
id = 12
name = "eu-west-2"
internal = "eu-west-2:7444"
roles = ["inventory", "payments", "orders"]
"#;

fn parse(text: &str) -> Result<Config, strict::Error> {
    strict::parse(Path::new("node.toml"), text)
}

#[test]
fn a_nodes_part_follows_from_its_name() {
    let config = parse(GOOD).expect("good");
    assert!(config.has(NodeRole::Gateway) && !config.has(NodeRole::Payments));
    let orders = GroupId::new(GroupKind::Orders, 1);
    let groups = config.region_groups();
    let members = &groups.iter().find(|(id, _)| *id == orders).expect("two orders groups").1;
    assert_eq!(*members, [NodeId(11), NodeId(12)]);
    assert_eq!(groups.len(), 5, "one directory, two of orders, one of each other kind");
}

#[test]
fn the_printed_config_is_a_config() {
    let config = parse(GOOD).expect("good");
    let printed = strict::print(&config).expect("prints");
    assert_eq!(parse(&printed).expect("parses again"), config);
}

#[track_caller]
fn check_refused(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replacen(from, to, 1)).expect_err("refused").to_string();
    assert!(error.contains(expected), "{error:?} lacks {expected:?}");
}

#[test]
fn books_of_a_joint_region_lie_in_its_orders_group() {
    let apart = parse(GOOD).expect("good");
    assert!(apart.region_groups().iter().all(|(_, members)| !members.is_empty()));
    let printed = strict::print(&apart).expect("prints");
    assert!(!printed.contains("joint"), "as an older release reads it: {printed}");
    let both = r#"roles = ["gateway", "directory", "orders", "inventory", "payments"]"#;
    let text = GOOD.replacen(r#"roles = ["gateway", "directory", "orders"]"#, both, 1);
    let text = text.replacen("orders = 2", "orders = 1\ninventory = 2\njoint = true", 1);
    let config = parse(&text).expect("good");
    let empty = |kind, index| {
        let groups = config.region_groups();
        let of = groups.into_iter().find(|(id, _)| *id == GroupId::new(kind, index));
        of.expect("a row").1.is_empty()
    };
    assert!(empty(GroupKind::Inventory, 0) && empty(GroupKind::Payments, 0));
    assert!(!empty(GroupKind::Orders, 0) && !empty(GroupKind::Inventory, 1));
    assert_eq!(parse(&strict::print(&config).expect("prints")).expect("parses again"), config);
}

#[test]
fn a_region_that_cannot_be_joint_is_told_why() {
    let two = "groups.orders = 2: must be 1 where groups.joint is set";
    check_refused("orders = 2", "orders = 2\njoint = true", two);
    let roles = "league.eu-west.nodes.eu-west-1.roles = orders: must be inventory and payments";
    check_refused("orders = 2", "orders = 1\njoint = true", roles);
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_range() {
    check_refused("orders = 2", "orders = 17", "groups.orders = 17: must be 1 to 16");
    check_refused("orders = 2", "order = 2", "unknown field `order`");
    check_refused("name = \"eu-west-1\"\ndata", "name = \"eu-west-9\"\ndata", "name = eu-west-9");
    check_refused("public = \"0.0.0.0:7443\"\n", "", "listen.public = missing");
    check_refused("id = 12", "id = 11", "league.nodes.id = 11: must be given once");
    check_refused("eu-west-2:7444", "eu-west-2", "league.nodes.internal");
    check_refused(", \"payments\"", "", "payments: must be a role");
    check_refused("number = 1", "number = 0", "region number");
    check_refused("data_dir", "drain_ms = 1\ndata_dir", "drain_ms = 1: must be 100 to 600000");
}
