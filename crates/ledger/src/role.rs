//! The ledger's part in a node: its groups, its services, its views.

use std::sync::Arc;
use std::time::Duration;

use hansa_consensus::{Group, GroupSpec, Host, Machine};
use hansa_node::env::Env;
use hansa_node::tasks::Backoff;
use hansa_types::id::{GroupId, GroupKind};
use hansa_views::View;
use hansa_views::memory::MemoryView;
use hansa_views::sled_view::{self, SledView};
use thiserror::Error;
use tonic::service::{Routes, RoutesBuilder};

use crate::config::{BadConfig, Config, Groups, Views};
use crate::core::invariants::{self, Broken};
use crate::core::inventory::Inventory;
use crate::core::payments::Payments;
use crate::entries::{self, Entries};
use crate::service::{self, Shell};

/// The ledger of a node; clones are one ledger.
#[derive(Clone)]
pub struct Ledger {
    shell: Arc<Shell>,
}

/// Why a ledger did not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error(transparent)]
    Group(#[from] hansa_consensus::StartError),
    #[error("the view of group {group}")]
    View { group: GroupId, source: hansa_views::Error },
}

/// One invariant of one group, looked at on this replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub group: GroupId,
    /// The number in `domain.md` §7.
    pub number: u8,
    pub name: &'static str,
    pub verdict: Verdict,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Held,
    /// What is wrong, at most a few of many.
    Violated(Vec<String>),
}

/// Findings of one invariant that are worth reading.
const FINDINGS_MAX: usize = 8;

/// A view that fails is built anew, not faster than this.
const VIEW_BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(200), max: Duration::from_secs(10) };

impl Ledger {
    /// Starts the groups that `config` names, and what feeds their views. A group that damage or
    /// divergence keeps from serving here is left out; the others go on.
    ///
    /// # Errors
    /// The config's, the host's, and a view whose folder cannot be used.
    pub async fn start(host: &Host, env: &Env, config: Config) -> Result<Self, StartError> {
        config.check()?;
        let mut inventory = Vec::new();
        for spec in specs(GroupKind::Inventory, config.inventory.as_ref()) {
            let settings = config.inventory_settings();
            inventory.push(started(host.start_group(spec, || Inventory::new(settings)).await)?);
        }
        let mut payments = Vec::new();
        for spec in specs(GroupKind::Payments, config.payments.as_ref()) {
            let settings = config.payments_settings();
            let group = started(host.start_group(spec, || Payments::new(settings)).await)?;
            payments.push(match group {
                Some(group) => {
                    let entries = feed(env, &config, &group)?;
                    Some((group, entries))
                }
                None => None,
            });
        }
        let in_flight = config.batches_in_flight_max;
        Ok(Self { shell: Arc::new(Shell { inventory, payments, in_flight }) })
    }

    /// This node's views of account histories.
    pub fn views(&self) -> Vec<(GroupId, Arc<dyn View>)> {
        let payments = self.shell.payments.iter().flatten();
        payments.map(|(group, entries)| (group.id(), entries.view())).collect()
    }

    /// The services for the node's internal port.
    pub fn routes(&self) -> Routes {
        let mut builder = Routes::builder();
        self.add_to(&mut builder);
        builder.routes()
    }

    pub(crate) fn shell(&self) -> &Shell {
        &self.shell
    }

    /// Adds the services to those of other roles of the node.
    ///
    /// `InventoryService/RecordShipment` is the orders role's: where both roles share a process,
    /// its route must come before ours.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        service::add_to(&self.shell, routes);
    }

    /// Looks at every invariant on this node's replicas. Costs time in proportion to the state,
    /// during which a group applies nothing: for operators and tests, not for a schedule.
    pub fn check_invariants(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for group in self.inventory() {
            let broken = group.peek(invariants::of_inventory);
            checks.extend(verdicts(group.id(), &invariants::OF_INVENTORY, &broken));
        }
        for group in self.payments() {
            let broken = group.peek(invariants::of_payments);
            checks.extend(verdicts(group.id(), &invariants::OF_PAYMENTS, &broken));
        }
        checks
    }

    /// The stock groups that serve on this node, for what looks at their state from inside the
    /// process.
    pub fn inventory(&self) -> Vec<&Group<Inventory>> {
        self.shell.inventory.iter().flatten().collect()
    }

    /// The payments groups that serve on this node.
    pub fn payments(&self) -> Vec<&Group<Payments>> {
        self.shell.payments.iter().flatten().map(|(group, _)| group).collect()
    }
}

/// The group, `None` where damage stops it and nothing else: the host lists it, and why.
fn started<M: Machine>(
    started: Result<Group<M>, hansa_consensus::StartError>,
) -> Result<Option<Group<M>>, StartError> {
    match started {
        Ok(group) => Ok(Some(group)),
        Err(error) if error.stops_group_only() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn specs(kind: GroupKind, groups: Option<&Groups>) -> Vec<GroupSpec> {
    let Some(Groups { count, members }) = groups else { return Vec::new() };
    let spec = |index| GroupSpec { id: GroupId::new(kind, index), members: members.clone() };
    (0..*count).map(spec).collect()
}

fn feed(env: &Env, config: &Config, group: &Group<Payments>) -> Result<Entries, StartError> {
    let id = group.id();
    let view: Arc<dyn View> = match &config.views {
        Views::Memory => Arc::new(MemoryView::default()),
        Views::Folder(folder) => {
            let settings = sled_view::Config {
                folder: folder.join(format!("{id}-entries")),
                schema: entries::SCHEMA,
                cache_bytes: config.view_cache_bytes,
            };
            let opened = SledView::open(settings);
            Arc::new(opened.map_err(|source| StartError::View { group: id, source })?)
        }
    };
    let entries = Entries::new(view);
    let (feeder, group, stop) = (entries.clone(), group.clone(), env.tasks.stop_token());
    env.tasks.keep(format!("entries {id}"), VIEW_BACKOFF, move || {
        let (feeder, group, stop) = (feeder.clone(), group.clone(), stop.clone());
        async move { stop.run_until_cancelled(feeder.feed(group)).await.unwrap_or(Ok(())) }
    });
    Ok(entries)
}

fn verdicts(group: GroupId, all: &[(u8, &'static str)], broken: &[Broken]) -> Vec<Check> {
    let check = |&(number, name): &(u8, &'static str)| {
        let of_this = broken.iter().filter(|broken| broken.name == name);
        let found: Vec<_> = of_this.map(|b| b.what.clone()).take(FINDINGS_MAX).collect();
        let verdict = if found.is_empty() { Verdict::Held } else { Verdict::Violated(found) };
        Check { group, number, name, verdict }
    };
    all.iter().map(check).collect()
}
