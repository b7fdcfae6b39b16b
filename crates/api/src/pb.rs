//! Generated from `proto/`; `pb::order::Order` is `hansa.order.v1.Order`.

// Generated code is not held to the house's lints.
#![allow(clippy::all)]

macro_rules! package {
    ($area:ident, $name:literal) => {
        pub mod $area {
            pub mod v1 {
                tonic::include_proto!($name);
            }
        }
    };
}

pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

pub mod hansa {
    package!(admin, "hansa.admin.v1");
    package!(customer, "hansa.customer.v1");
    package!(directory, "hansa.directory.v1");
    package!(inventory, "hansa.inventory.v1");
    package!(ledger, "hansa.ledger.v1");
    package!(node, "hansa.node.v1");
    package!(options, "hansa.options.v1");
    package!(order, "hansa.order.v1");
    package!(payment, "hansa.payment.v1");
    package!(raft, "hansa.raft.v1");
    package!(region, "hansa.region.v1");
    package!(replication, "hansa.replication.v1");
}

pub use google::rpc;
pub use google::r#type::Money;
pub use hansa::admin::v1 as admin;
pub use hansa::customer::v1 as customer;
pub use hansa::directory::v1 as directory;
pub use hansa::inventory::v1 as inventory;
pub use hansa::ledger::v1 as ledger;
pub use hansa::node::v1 as node;
pub use hansa::order::v1 as order;
pub use hansa::payment::v1 as payment;
pub use hansa::raft::v1 as raft;
pub use hansa::region::v1 as region;
pub use hansa::replication::v1 as replication;
