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
use crate::core::inventory::{self, Inventory};
use crate::core::payments::{self, Payments};
use crate::entries::{self, Entries};
use crate::service::{self, Place, Shell};

/// The ledger of a node; clones are one ledger.
#[derive(Clone)]
pub struct Ledger {
    shell: Arc<Shell>,
    config: Arc<Config>,
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
    /// Starts the groups that `config` names, and what feeds their views; those that lie in orders
    /// groups are attached later. A group that damage or divergence keeps from serving here is left
    /// out; the others go on.
    ///
    /// # Errors
    /// The config's, the host's, and a view whose folder cannot be used.
    pub async fn start(host: &Host, env: &Env, config: Config) -> Result<Self, StartError> {
        config.check()?;
        let mut inventory = places(usize::from(config.parts), config.inventory.as_ref());
        for spec in specs(GroupKind::Inventory, &config) {
            let settings = config.inventory_settings();
            let group = started(host.start_group(spec, || Inventory::new(settings)).await)?;
            inventory.push(Place::from(group));
        }
        let mut payments = places(usize::from(config.parts), config.payments.as_ref());
        for spec in specs(GroupKind::Payments, &config) {
            let settings = config.payments_settings();
            let group = started(host.start_group(spec, || Payments::new(settings)).await)?;
            payments.push(Place::from(match group {
                Some(group) => {
                    let entries = feed(env, &config, &group)?;
                    Some((group, entries))
                }
                None => None,
            }));
        }
        let in_flight = config.batches_in_flight_max;
        let shell = Arc::new(Shell { inventory, payments, in_flight });
        Ok(Self { shell, config: Arc::new(config) })
    }

    /// What books begin with that lie in an orders group.
    pub fn rules(&self) -> (inventory::Settings, payments::Settings) {
        (self.config.inventory_settings(), self.config.payments_settings())
    }

    /// Takes in the books of one index that lie in an orders group, once that has started.
    ///
    /// # Errors
    /// A view whose folder cannot be used.
    ///
    /// # Panics
    /// The config does not say that they are attached, or they were.
    pub fn attach(
        &self,
        env: &Env,
        stock: Group<Inventory>,
        money: Group<Payments>,
    ) -> Result<(), StartError> {
        let entries = feed(env, &self.config, &money)?;
        let index = usize::from(stock.id().index());
        self.fill(index, Some(stock), Some((money, entries)));
        Ok(())
    }

    /// Says that damage keeps the orders group from serving here in which the books of an index
    /// lie.
    ///
    /// # Panics
    /// As [`Ledger::attach`].
    pub fn lacks(&self, index: u16) {
        self.fill(usize::from(index), None, None);
    }

    fn fill(
        &self,
        index: usize,
        stock: Option<Group<Inventory>>,
        money: Option<(Group<Payments>, Entries)>,
    ) {
        let Shell { inventory, payments, .. } = &*self.shell;
        let stock = inventory.get(index).is_some_and(|place| place.set(stock).is_ok());
        let money = payments.get(index).is_some_and(|place| place.set(money).is_ok());
        assert!(stock && money, "the books of index {index} have no place here, or have it taken");
    }

    /// This node's views of account histories.
    pub fn views(&self) -> Vec<(GroupId, Arc<dyn View>)> {
        let payments = serving(&self.shell.payments);
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

    /// Looks at every invariant on those of this node's replicas that lie in a log that is asked
    /// for. Costs time in proportion to the state, during which what lies in that log applies
    /// nothing: for operators and tests, not for a schedule.
    pub fn check_invariants(&self, asked: impl Fn(GroupId) -> bool) -> Vec<Check> {
        let mut checks = Vec::new();
        for group in self.inventory().into_iter().filter(|group| asked(group.log())) {
            let broken = group.peek(invariants::of_inventory);
            checks.extend(verdicts(group.id(), &invariants::OF_INVENTORY, &broken));
        }
        for group in self.payments().into_iter().filter(|group| asked(group.log())) {
            let broken = group.peek(invariants::of_payments);
            checks.extend(verdicts(group.id(), &invariants::OF_PAYMENTS, &broken));
        }
        checks
    }

    /// The stock groups that serve on this node, for what looks at their state from inside the
    /// process.
    pub fn inventory(&self) -> Vec<&Group<Inventory>> {
        serving(&self.shell.inventory).collect()
    }

    /// The payments groups that serve on this node.
    pub fn payments(&self) -> Vec<&Group<Payments>> {
        serving(&self.shell.payments).map(|(group, _)| group).collect()
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

/// Places for the groups that are attached later; none on a node without the role.
fn places<T>(parts: usize, groups: Option<&Groups>) -> Vec<Place<T>> {
    let parts = if groups.is_some() { parts } else { 0 };
    std::iter::repeat_with(Place::new).take(parts).collect()
}

fn serving<T>(places: &[Place<T>]) -> impl Iterator<Item = &T> {
    places.iter().filter_map(|place| place.get()?.as_ref())
}

/// The groups with a log of their own.
fn specs(kind: GroupKind, config: &Config) -> Vec<GroupSpec> {
    let groups = match kind {
        GroupKind::Inventory => &config.inventory,
        GroupKind::Payments => &config.payments,
        GroupKind::Directory | GroupKind::Orders => return Vec::new(),
    };
    let Some(Groups { count, members }) = groups else { return Vec::new() };
    let spec = |index| GroupSpec { id: GroupId::new(kind, index), members: members.clone() };
    (config.parts..*count).map(spec).collect()
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
