//! How this node opens an orders group: as the directory has it, with books or without.

use std::sync::Arc;

use hansa_consensus::{Group, GroupSpec, Host};
use hansa_ledger::Ledger;
use hansa_node::env::Env;
use hansa_orders::core::settings::Settings;
use hansa_orders::machine::OrdersMachine;
use hansa_orders::{Opens, StartError};
use hansa_region_router::core::directory::Snapshot;
use hansa_shard::machine::Shard;
use hansa_types::id::{GroupId, GroupKind};
use parking_lot::Mutex;

/// Opens orders groups, and hands the ledger what books lie in them.
pub struct Opener {
    ledger: Ledger,
    env: Env,
    opened: Shards,
}

/// The orders groups of this node that keep books, as far as they have been opened.
#[derive(Clone, Default)]
pub struct Shards(Arc<Mutex<Vec<Group<Shard>>>>);

impl Shards {
    pub fn all(&self) -> Vec<Group<Shard>> {
        self.0.lock().clone()
    }
}

/// Whether a group keeps the stock and money books of its index.
///
/// The directory's rows say so, which every node has alike: a group begins as its first leader
/// opened it, and who opened it otherwise is no part of it for good.
fn keeps_books(now: &Snapshot, group: GroupId) -> bool {
    let books = [GroupKind::Inventory, GroupKind::Payments];
    books.into_iter().all(|kind| now.lies_in(GroupId::new(kind, group.index())) == group)
}

impl Opener {
    pub fn new(ledger: Ledger, env: Env, opened: Shards) -> Self {
        Self { ledger, env, opened }
    }

    fn attach(&self, whole: &Group<Shard>) -> Result<(), StartError> {
        let id = |kind| GroupId::new(kind, whole.id().index());
        let stock = whole.part(id(GroupKind::Inventory)).ok_or_else(|| lacking(whole, "stock"))?;
        let money = whole.part(id(GroupKind::Payments)).ok_or_else(|| lacking(whole, "money"))?;
        let attached = self.ledger.attach(&self.env, stock, money);
        attached.map_err(|error| StartError::Books { group: whole.id(), source: error.into() })
    }
}

fn lacking(whole: &Group<Shard>, part: &str) -> StartError {
    StartError::Books { group: whole.id(), source: format!("it has no part for {part}").into() }
}

#[tonic::async_trait]
impl Opens for Opener {
    async fn open(
        &self,
        host: &Host,
        now: &Snapshot,
        spec: GroupSpec,
        rules: Settings,
    ) -> Result<Group<OrdersMachine>, StartError> {
        let id = spec.id;
        let books = keeps_books(now, id).then(|| self.ledger.rules());
        let joint = books.is_some();
        let whole = match host.start_group(spec, move || Shard::new(rules, books)).await {
            Ok(whole) => whole,
            Err(error) => {
                if joint && error.stops_group_only() {
                    self.ledger.lacks(id.index());
                }
                return Err(error.into());
            }
        };
        if joint {
            self.attach(&whole)?;
            self.opened.0.lock().push(whole.clone());
        }
        whole.part(id).ok_or_else(|| lacking(&whole, "orders"))
    }
}
