//! The public methods, and by which of its fields each is routed.

use hansa_types::id::GroupKind;

/// What a method is routed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Residence, and customer or request id.
    Residence,
    /// The order's name; a region that is named beside it must be its home.
    Order,
    /// A customer with his residence, or a region.
    Customers,
    /// The order's name, or a region.
    OrderOrRegion,
    /// As `Customers`, or the order of a guest; with a region that is not its home, there.
    Subject,
    /// A region and a SKU in it.
    Sku,
    /// A region.
    Region,
    /// Answered where it was asked.
    Gateway,
}

/// A public method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Method {
    /// `package.Service/Method`.
    pub name: &'static str,
    /// The groups that serve it, `None` for one that gateways serve.
    pub kind: Option<GroupKind>,
    pub rule: Rule,
    /// The answer is a stream, which lives as long as its client asked.
    pub streams: bool,
}

const fn served(name: &'static str, kind: GroupKind, rule: Rule) -> Method {
    Method { name, kind: Some(kind), rule, streams: false }
}

const fn by_gateway(name: &'static str, rule: Rule) -> Method {
    Method { name, kind: None, rule, streams: false }
}

use GroupKind::{Inventory, Orders};

/// Every public method; one that is not here is not served.
pub const METHODS: &[Method] = &[
    by_gateway("hansa.admin.v1.AdminService/CheckInvariants", Rule::Region),
    by_gateway("hansa.admin.v1.AdminService/ListGroups", Rule::Region),
    by_gateway("hansa.admin.v1.AuditService/ListAnchors", Rule::Region),
    Method { streams: true, ..by_gateway("hansa.admin.v1.AuditService/VerifyChain", Rule::Region) },
    by_gateway("hansa.admin.v1.BackupService/EndBackup", Rule::Region),
    by_gateway("hansa.admin.v1.BackupService/GetRestore", Rule::Region),
    by_gateway("hansa.admin.v1.BackupService/ListDifferences", Rule::Region),
    by_gateway("hansa.admin.v1.BackupService/ListEpochs", Rule::Region),
    Method { streams: true, ..by_gateway("hansa.admin.v1.BackupService/ReadBackup", Rule::Region) },
    by_gateway("hansa.admin.v1.BackupService/SettleRestore", Rule::Region),
    by_gateway("hansa.admin.v1.BackupService/StartBackup", Rule::Region),
    served("hansa.admin.v1.KeyService/ListKeys", Orders, Rule::Region),
    served("hansa.admin.v1.KeyService/RotateKey", Orders, Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/AddMember", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/DrainNode", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/ListMembers", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/PromoteMember", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/RemoveMember", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/ReplaceMember", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/ReseedNode", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/RetireNode", Rule::Region),
    by_gateway("hansa.admin.v1.MembershipService/TransferLeader", Rule::Region),
    by_gateway("hansa.admin.v1.ReconcileService/ApplyRepair", Rule::Region),
    by_gateway("hansa.admin.v1.ReconcileService/ApprovePlan", Rule::Region),
    by_gateway("hansa.admin.v1.ReconcileService/ListRepairs", Rule::Region),
    by_gateway("hansa.admin.v1.ReconcileService/ProposePlan", Rule::Region),
    Method {
        streams: true,
        ..by_gateway("hansa.admin.v1.ReconcileService/ReadFacts", Rule::Region)
    },
    by_gateway("hansa.admin.v1.RegionLossService/CancelSwitchover", Rule::Region),
    by_gateway("hansa.admin.v1.RegionLossService/Failover", Rule::Region),
    by_gateway("hansa.admin.v1.RegionLossService/GetRegionLoss", Rule::Region),
    by_gateway("hansa.admin.v1.RegionLossService/ListNotAdopted", Rule::Region),
    by_gateway("hansa.admin.v1.RegionLossService/ListTail", Rule::Region),
    by_gateway("hansa.admin.v1.RegionLossService/SetIsolation", Rule::Region),
    by_gateway("hansa.admin.v1.RegionLossService/Switchover", Rule::Region),
    by_gateway("hansa.admin.v1.ReplicationService/GetReplicationStatus", Rule::Region),
    by_gateway("hansa.admin.v1.ReplicationService/ListParkedEvents", Rule::Region),
    by_gateway("hansa.admin.v1.ReplicationService/ListReplicaDifferences", Rule::Region),
    by_gateway("hansa.admin.v1.ReplicationService/ResolveParkedEvents", Rule::Region),
    by_gateway("hansa.admin.v1.ReplicationService/RetryParkedEvents", Rule::Region),
    by_gateway("hansa.admin.v1.ResidencyService/CheckPolicy", Rule::Region),
    by_gateway("hansa.admin.v1.ResidencyService/ExplainPolicy", Rule::Region),
    by_gateway("hansa.admin.v1.ResidencyService/GetPolicy", Rule::Region),
    by_gateway("hansa.admin.v1.ResidencyService/LoadPolicy", Rule::Region),
    Method {
        streams: true,
        ..by_gateway("hansa.admin.v1.ResidencyService/VerifyResidency", Rule::Region)
    },
    by_gateway("hansa.admin.v1.VersionService/ListVersions", Rule::Region),
    by_gateway("hansa.admin.v1.VersionService/RaiseVersion", Rule::Region),
    served("hansa.customer.v1.CustomerService/EraseCustomer", Orders, Rule::Subject),
    Method {
        streams: true,
        ..served("hansa.customer.v1.CustomerService/ExportCustomer", Orders, Rule::Subject)
    },
    served("hansa.customer.v1.CustomerService/MoveCustomer", Orders, Rule::Subject),
    served("hansa.inventory.v1.InventoryService/AdjustStock", Inventory, Rule::Sku),
    served("hansa.inventory.v1.InventoryService/GetStock", Inventory, Rule::Sku),
    served("hansa.inventory.v1.InventoryService/ListStock", Inventory, Rule::Region),
    served("hansa.inventory.v1.InventoryService/ReceiveStock", Inventory, Rule::Sku),
    // The one verb of the warehouse that is about an order: orders serve it.
    served("hansa.inventory.v1.InventoryService/RecordShipment", Orders, Rule::Order),
    served("hansa.order.v1.OrderService/CancelOrder", Orders, Rule::Order),
    served("hansa.order.v1.OrderService/GetOrder", Orders, Rule::Order),
    served("hansa.order.v1.OrderService/ListOrders", Orders, Rule::Customers),
    served("hansa.order.v1.OrderService/PlaceOrder", Orders, Rule::Residence),
    // The gateway takes the stream apart: each order goes where PlaceOrder would.
    Method {
        streams: true,
        ..by_gateway("hansa.order.v1.OrderService/PlaceOrders", Rule::Gateway)
    },
    served("hansa.order.v1.OrderService/ReturnItems", Orders, Rule::Order),
    Method {
        streams: true,
        ..served("hansa.order.v1.OrderService/WatchOrder", Orders, Rule::Order)
    },
    served("hansa.payment.v1.PaymentService/GetPayment", Orders, Rule::Order),
    served("hansa.payment.v1.PaymentService/ListAccountEntries", Orders, Rule::OrderOrRegion),
    served("hansa.payment.v1.PaymentService/RefundPayment", Orders, Rule::Order),
    by_gateway("hansa.region.v1.RegionService/ExplainRoute", Rule::Gateway),
    by_gateway("hansa.region.v1.RegionService/ListRegions", Rule::Gateway),
];

/// The method that an HTTP path (`/package.Service/Method`) names.
pub fn method(path: &str) -> Option<&'static Method> {
    let name = path.strip_prefix('/')?;
    let at = METHODS.binary_search_by(|method| method.name.cmp(name)).ok()?;
    METHODS.get(at)
}
