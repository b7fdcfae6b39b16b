//! The start of a node, as a list that can be read aloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hansa_consensus::{Host, HostConfig, Timing};
use hansa_gateway::Gateway;
use hansa_gateway::internal::{self, Internal};
use hansa_ledger::Ledger;
use hansa_node::config::Text;
use hansa_node::env::Env;
use hansa_node::layers;
use hansa_node::listen::{Limits, Listener, Serving};
use hansa_node::net::Net;
use hansa_node::peers::{self, Address, Peers};
use hansa_node::tasks::OnError;
use hansa_node::telemetry::{self, probes};
use hansa_orders::Orders;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{self, Genesis, NodeRole};
use hansa_region_router::directory::{self as keeper, Directory};
use hansa_region_router::vouch::Vouch;
use hansa_region_router::{follow, ownership, registry, service as directory_service};
use hansa_types::identity::SpiffeId;
use tonic::service::Routes;

use super::chains::NodeChains;
use super::copies::NodeCopies;
use super::inside::Inside;
use super::members::Members;
use super::opener::Opener;
use super::port::Port;
use super::world::{Pages, Views, World};
use super::{
    Node, bounds, groups, membership_service, ready, reconcile_service, residency_service,
    version_service, whoami,
};
use crate::config::{self, Config};

/// How often the residency file is looked at.
const RESIDENCY_RELOAD: Duration = Duration::from_secs(2);
/// Streams between nodes never end by themselves, so their connections are cut soon.
const INTERNAL_DRAIN: Duration = Duration::from_millis(500);
/// Calls and streams of one node on its connection to another: whatever its gateway admits, for one
/// who watches must take no place of one who orders. What is too much is refused behind it, and not
/// left waiting in front of it (`bounds`).
const INTERNAL_STREAMS: u32 = 131_072;
/// What a client's connection may have this node hold unread: a node's may have more.
const PUBLIC_WINDOW: u32 = 4 << 20;

/// Starts the parts, each on those before it.
pub async fn compose(config: Config, world: World) -> anyhow::Result<Node> {
    let env = world.env.clone();
    // Who we are: the name that our net shows.
    let net = world.net.clone();
    let expected = SpiffeId::node(&config.trust_domain, &config.region, &config.name)?;
    let found = net.id();
    ensure!(*found == expected, "our identity is {found}, the config says {expected}");
    super::restore::refuse_unfinished(&config, &world)?;
    // Which id that name has now: the region's directory knows, where there is one already.
    let whoami::Own { id, joins } = whoami::resolve(&config, &world).await?;
    let config = config.with_own_id(id);
    // Whom we know: the nodes of our region and the gateways of the others.
    let peers = Peers::new(id, net.clone(), peers::Timing::default(), env.tasks.clone());
    register(&config, &peers)?;
    // Sockets early: a port that is taken is found out before any disk is touched.
    let internal = listener("internal", &config, net.as_ref()).await?;
    let public = match config.listen.public {
        Some(_) => Some(listener("public", &config, net.as_ref()).await?),
        None => None,
    };
    // The log and the host of the groups.
    let host = host(&config, &world, peers.clone(), joins)?;
    // The region's directory: kept here, or followed.
    let (book, keeps) = directory(&config, &host, &world, peers.clone()).await?;
    refuse_other_groups(&config, keeps.as_ref())?;
    follow_members(&config, &env, &host, &peers, &book)?;
    compare_groups(&config, &env, &book);
    // The books of stock and money.
    let ledger = Ledger::start(&host, &env, ledger_config(&config, world.views.clone())).await?;
    let inside = Arc::new(Inside::new(host.clone(), book.clone(), ledger));
    // The way in, for clients and for other regions.
    let gateway = match public {
        Some(_) => Some(gateway(&config, &world, book.clone(), peers.clone())?),
        None => None,
    };
    // The internal port before orders start: those wait for a directory, and that for a leader.
    let early = early_routes(keeps, &inside, &config, &world, &peers);
    let port = Port::new(early.clone());
    let internal = internal.admitting(admits(&config, &world, &book));
    let internal = serve_internal(&config, &world, internal, &gateway, &port, &peers);
    // Orders, on top of all that.
    let orders = match config.has(NodeRole::Orders) {
        true => Some(start_orders(&config, &world, &host, peers.clone(), book, &inside).await?),
        false => None,
    };
    port.complete(with_orders(early, orders.as_ref()));
    inside.complete(orders);
    // Clients last: whatever they ask is there.
    let public = match (public, &gateway) {
        (Some(listener), Some(gateway)) => {
            let stack = layers::stack(&bounds::public(), gateway.public());
            Some(listener.start(&env.tasks, stack))
        }
        _ => None,
    };
    serve_pages(&config, &world, &inside).await?;
    Ok(Node { config, env, host, peers, gateway, inside, internal, public })
}

/// What this node's own disk has of the directory is enough to know a config that does not fit it,
/// before any group of that config begins here.
fn refuse_other_groups(config: &Config, keeps: Option<&Directory>) -> anyhow::Result<()> {
    match keeps.and_then(Directory::known) {
        Some(known) => groups::compare(&known, &config.region_groups()).map_err(anyhow::Error::msg),
        None => Ok(()),
    }
}

fn compare_groups(config: &Config, env: &Env, book: &Book) {
    let same = groups::check(book.clone(), config.region_groups());
    let stop = env.tasks.stop_token();
    env.tasks.spawn("groups", OnError::StopNode, async move {
        stop.run_until_cancelled(same).await.unwrap_or(Ok(()))
    });
}

async fn start_orders(
    config: &Config,
    world: &World,
    host: &Host,
    peers: Peers,
    book: Book,
    inside: &Inside,
) -> anyhow::Result<Orders> {
    let env = world.env.clone();
    let (ledger, opened) = (inside.ledger().clone(), inside.shards().clone());
    let opens = Arc::new(Opener::new(ledger, env.clone(), opened));
    // A file that is not there ends the start at once, whether or not the directory is known.
    let (orders, around) = (config.orders.clone(), world.around(&config.orders, opens)?);
    // Before the first group is opened: the ledger has places for what the config says.
    let same = groups::check(book.clone(), config.region_groups()).await;
    same.map_err(anyhow::Error::msg)?;
    Ok(Orders::start(host, env, peers, orders, book, around).await?)
}

/// Metrics and probes, in a world that has them.
async fn serve_pages(config: &Config, world: &World, inside: &Arc<Inside>) -> anyhow::Result<()> {
    if world.pages == Pages::Absent {
        return Ok(());
    }
    let (at, tasks) = (config.listen.metrics, &world.env.tasks);
    let probes = Arc::new(ready::Probes::new(inside.clone(), tasks.clone()));
    let bound = probes::serve(at, tasks, telemetry::metrics()?, probes).await;
    bound.with_context(|| format!("listen.metrics = {at}"))?;
    Ok(())
}

fn address(
    config: &Config,
    region: &config::Region,
    node: &config::Node,
) -> anyhow::Result<Address> {
    let id = SpiffeId::node(&config.trust_domain, &region.name, &node.name)?;
    Ok(Address { id, addr: node.internal.clone() })
}

fn register(config: &Config, peers: &Peers) -> anyhow::Result<()> {
    for region in &config.league {
        let own = region.name == config.region;
        let mut gateways = Vec::new();
        for node in &region.nodes {
            let address = address(config, region, node)?;
            if own && node.id != peers.me() {
                peers.set_node(node.id, address);
            } else if !own && node.roles.contains(&NodeRole::Gateway) {
                gateways.push(address);
            }
        }
        if !own {
            peers.set_gateways(region.name.clone(), gateways);
        }
    }
    Ok(())
}

fn internal_limits() -> Limits {
    Limits { drain_max: INTERNAL_DRAIN, streams_max: INTERNAL_STREAMS, ..Limits::default() }
}

async fn listener(name: &'static str, config: &Config, net: &dyn Net) -> anyhow::Result<Listener> {
    let (at, limits) = match (name, config.listen.public) {
        ("public", Some(at)) => (at, Limits { window_bytes: PUBLIC_WINDOW, ..Limits::default() }),
        _ => (config.listen.internal, internal_limits()),
    };
    let bound = Listener::bind(name, at, net, limits).await;
    bound.with_context(|| format!("listen.{name} = {at}"))
}

fn host(config: &Config, world: &World, peers: Peers, joins: bool) -> anyhow::Result<Host> {
    // Before whatever counts: a counter that is made earlier is on no page.
    if world.pages != Pages::Absent {
        telemetry::metrics()?;
    }
    let timing = Timing {
        profile: config.log.profile,
        checkpoint_entries: config.log.checkpoint_entries,
        ..Timing::default()
    };
    let mut settings = HostConfig::new(peers.me(), config.data_dir.clone());
    settings.timing = timing;
    settings.joins = joins;
    settings.wal.segment_bytes = config.log.segment_mib << 20;
    settings.wal.disk_bytes_max = u64::from(config.log.disk_mib) << 20;
    let host = Host::open(settings, world.fs.clone(), world.env.clone(), peers);
    let host = host.with_context(|| {
        let dir = config.data_dir.display();
        format!(
            "data_dir = {dir} (to rebuild a damaged node from its peers: \
             `hansactl node reseed {}`, then start it again)",
            config.name
        )
    })?;
    if let Some(region) = config.own_region() {
        for node in &region.nodes {
            host.set_name(node.id, address(config, region, node)?.id);
        }
    }
    Ok(host)
}

/// Keeps peers, names and members as the directory has them.
fn follow_members(
    config: &Config,
    env: &Env,
    host: &Host,
    peers: &Peers,
    book: &Book,
) -> anyhow::Result<()> {
    let mut known = BTreeMap::new();
    if let Some(region) = config.own_region() {
        for node in &region.nodes {
            known.insert(node.id, address(config, region, node)?);
        }
    }
    let (host, peers, book) = (host.clone(), peers.clone(), book.clone());
    let members = Members::new(config.trust_domain.clone(), host, peers, book, known);
    let stop = env.tasks.stop_token();
    env.tasks.spawn("members", OnError::StopNode, async move {
        stop.run_until_cancelled(members.run()).await.unwrap_or(Ok(()))
    });
    Ok(())
}

/// The region's directory, and this node's replica of it if it keeps one.
async fn directory(
    config: &Config,
    host: &Host,
    world: &World,
    peers: Peers,
) -> anyhow::Result<(Book, Option<Directory>)> {
    let members = config.members(NodeRole::Directory);
    if !config.has(NodeRole::Directory) {
        return Ok((follow::start(&world.env, peers, members), None));
    }
    let residency = world.text(config.residency_file.clone());
    let genesis = genesis(config, &residency)?;
    let policy_file = Some(residency);
    let reload_every = RESIDENCY_RELOAD;
    let vouch = Vouch::of(world.net.clone());
    let settings =
        keeper::Config { members: members.clone(), genesis, policy_file, reload_every, vouch };
    let directory = match Directory::start(host, &world.env, settings).await {
        // Damage of this one group: what its own replica cannot say, others do.
        Err(error) if error.stops_group_only() => {
            let book = Book::empty();
            follow::into(&book, &world.env, peers, members);
            return Ok((book, None));
        }
        started => started?,
    };
    // What its own replica does not know others do: before it is a member, and once it is none.
    follow::into(&directory.book(), &world.env, peers.clone(), members);
    ownership::start(&world.env, directory.clone(), peers);
    Ok((directory.book(), Some(directory)))
}

fn genesis(config: &Config, residency: &Text) -> anyhow::Result<Genesis> {
    let policy = residency.read().with_context(|| format!("residency_file = {residency:?}"))?;
    let here = config.own_region().context("this region is not in the league")?.number;
    let region = |region: &config::Region| {
        let nodes = region.nodes.iter().map(|node| directory::Node {
            id: node.id,
            name: node.name.clone(),
            internal: node.internal.clone(),
            roles: node.roles.clone(),
        });
        let (name, public) = (region.name.clone(), region.public.clone());
        (region.number, directory::Region { name, public, nodes: nodes.collect() })
    };
    let regions = config.league.iter().map(region).collect();
    Ok(Genesis { here, policy, regions, groups: config.region_groups() })
}

fn ledger_config(config: &Config, views: Views) -> hansa_ledger::config::Config {
    use hansa_ledger::config::{Config as Ledger, Groups};
    let groups =
        |role, count| config.has(role).then(|| Groups { count, members: config.members(role) });
    let mut ledger = Ledger::new(views);
    ledger.inventory = groups(NodeRole::Inventory, config.groups.inventory);
    ledger.payments = groups(NodeRole::Payments, config.groups.payments);
    ledger.parts = config.groups.parts();
    ledger
}

fn gateway(config: &Config, world: &World, book: Book, peers: Peers) -> anyhow::Result<Gateway> {
    let settings = config.gateway.clone();
    let authz = settings.authz_file.clone().map(|file| world.text(file));
    Ok(Gateway::start(&world.env, &config.trust_domain, book, peers, settings, authz)?)
}

/// What the internal port serves from the first moment on.
fn early_routes(
    directory: Option<Directory>,
    inside: &Arc<Inside>,
    config: &Config,
    world: &World,
    peers: &Peers,
) -> Routes {
    let (host, book) = (inside.host(), inside.book().clone());
    let mut routes = Routes::builder();
    routes.add_service(host.service());
    routes.add_service(hansa_gateway::nodes::service(inside.clone()));
    let copies = NodeCopies::new(host.clone(), inside.clone());
    routes.add_service(hansa_gateway::copies::service(Arc::new(copies)));
    let chains = NodeChains::new(host.clone(), inside.clone());
    routes.add_service(hansa_gateway::chains::service(Arc::new(chains)));
    routes.add_service(membership_service::service(inside.clone()));
    routes.add_service(version_service::service(inside.clone()));
    routes.add_service(reconcile_service::service(inside.clone(), world.env.tasks.clone()));
    routes.add_service(residency_service::service(inside.clone(), config, world));
    routes.add_service(ownership::service(book, peers.clone(), Vouch::of(world.net.clone())));
    if let Some(directory) = directory {
        let host = host.clone();
        let met = Arc::new(move |node| host.has_met(node));
        routes.add_service(directory_service::service(directory.book()));
        routes.add_service(registry::service(directory, met));
    }
    inside.ledger().add_to(&mut routes);
    routes.routes()
}

/// The same and what orders add. One verb of InventoryService is theirs: its exact path wins.
fn with_orders(early: Routes, orders: Option<&Orders>) -> Routes {
    let Some(orders) = orders else { return early.prepare() };
    let router = orders.routes(early).into_axum_router();
    let router = router.route_service(Orders::SHIPMENT_PATH, orders.shipments());
    Routes::from(router).prepare()
}

/// Whose handshake the internal port completes: nodes of the regions that the directory knows, and
/// until it is known those of the config.
fn admits(config: &Config, world: &World, book: &Book) -> hansa_node::listen::Admits {
    let told: Vec<_> = config.league.iter().map(|region| region.name.clone()).collect();
    let book = book.clone();
    let known = move |region: &_| {
        told.contains(region) || book.now().is_some_and(|now| now.number(region).is_some())
    };
    internal::admits(world.net.id().clone(), config.region.clone(), known)
}

fn serve_internal(
    config: &Config,
    world: &World,
    listener: Listener,
    gateway: &Option<Gateway>,
    port: &Port,
    peers: &Peers,
) -> Serving {
    let forwarded = gateway.as_ref().map(Gateway::forwarded);
    let routes = port.routes();
    let inner = Internal::new(world.net.id().clone(), config.region.clone(), forwarded, routes);
    let stack = layers::stack(&bounds::internal(), inner);
    // Our own calls to ourselves pass the same stack, without a socket.
    peers.set_local(stack.clone());
    listener.start(&world.env.tasks, stack)
}
