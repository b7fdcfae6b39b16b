//! Tries that fail, overlap or hang: each customer by himself, and nobody else's keys wait.

use hansa_node::peers::Address;
use hansa_node::tasks::OnError;
use hansa_types::hash::StateHash;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::core::keys::Scope;
use crate::core::moves::{Carry, Leave, print_of};
use crate::shell::personal;

/// Stands before a node: connections wait until it is opened.
pub(super) struct Gate {
    pub address: Address,
    pub open: watch::Sender<bool>,
}

impl Gate {
    pub async fn before(node: &Node, address: &Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (open, opened) = watch::channel(false);
        let (tasks, to) = (node.orders.shell().env.tasks.clone(), address.addr.clone());
        let gate = tasks.clone();
        tasks.spawn("gate", OnError::Log, async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut opened, to) = (opened.clone(), to.clone());
                gate.spawn("passage", OnError::Log, async move {
                    if opened.wait_for(|open| *open).await.is_ok()
                        && let Ok(mut there) = TcpStream::connect(to).await
                    {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
                    }
                });
            }
        });
        Self { address: Address { id: address.id.clone(), addr }, open }
    }
}

fn named(customer: &str, request: wire::MoveCustomerRequest) -> wire::MoveCustomerRequest {
    wire::MoveCustomerRequest { customer_id: customer.into(), ..request }
}

/// An order of a customer, wherever it is placed.
pub(super) async fn placed_by(pair: &Pair, customer: &str, request_id: &str) {
    let request = orders::PlaceOrderRequest { customer_id: customer.into(), ..gift(request_id) };
    let end = soon();
    while let Err(failure) = pair.home.place(&request).await {
        let soon = matches!(failure.reason(), Reason::HomeMoving | Reason::HomeUnreachable);
        assert!(soon && Instant::now() < end, "{failure:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(super) fn subject_of(node: &Node, customer: &str) -> SubjectId {
    personal::customer(&node.orders.shell(), &customer.parse().unwrap()).unwrap()
}

pub(super) fn epoch(node: &Node, customer: &str) -> Option<u64> {
    let (shell, subject) = (node.orders.shell(), subject_of(node, customer));
    shell.groups[&0].group.peek(|machine| Some(machine.state.moves.get(subject)?.epoch))
}

/// The request of a move that has begun, and hangs.
pub(super) async fn begun(node: &Node) -> Scope {
    let (shell, mut found) = (node.orders.shell(), None);
    hansa_consensus::testing::eventually("a move begins", || {
        found = shell.groups[&0].group.peek(|machine| {
            let mut carries = machine.state.moves.carries.iter();
            carries.find_map(|(_, carry)| match carry {
                Carry::Going { request, .. } => Some(*request),
                Carry::Coming { .. } => None,
            })
        });
        found.is_some()
    })
    .await;
    found.unwrap()
}

pub(super) async fn commit(node: &Node, step: Step) {
    let shell = node.orders.shell();
    let done = shell.groups[&0].submit(&Command::Moves(step), soon()).await.unwrap();
    assert_eq!(done, Outcome::Noted);
}

/// That he leaves for us-east by this request, whatever was brought there.
pub(super) fn leave_by(node: &Node, customer: &str, request: Scope) -> Step {
    leave_for(node, customer, request, ("us-east", 1))
}

fn leave_for(node: &Node, customer: &str, request: Scope, (to, epoch): (&str, u64)) -> Step {
    let (shell, subject) = (node.orders.shell(), subject_of(node, customer));
    let to = shell.map.region_number(&to.parse().unwrap()).unwrap();
    let (generation, blocks) = shell.groups[&0].group.peek(|machine| {
        let Next::Use(generation, _) = machine.state.next_key(subject) else { panic!() };
        let blocks = machine.state.blocks(KeyOf { subject, generation });
        (generation, blocks.collect::<Vec<_>>())
    });
    let mut digest = StateHash::default();
    blocks.iter().for_each(|(id, law, block)| digest.add(print_of(*id, *law, block)));
    Step::Leave(Box::new(Leave {
        subject,
        to,
        epoch,
        generation,
        orders: u32::try_from(blocks.len()).unwrap(),
        digest,
        request,
        asked_ms: shell.env.clock.wall().ms(),
        delete_after_ms: 1,
        by: String::new(),
        reason: String::new(),
        ticket: String::new(),
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_he_lives_is_told_so_again_while_an_order_of_his_is_under_way() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let request = orders::PlaceOrderRequest { customer_id: "c-1".into(), ..order("r-1") };
    pair.home.place(&request).await.unwrap();
    let (subject, request) = (subject_of(here, "c-1"), Scope(7));
    let to = here.orders.shell().map.region_number(&"us-east".parse().unwrap()).unwrap();
    bring_all(here, subject, soon()).await.unwrap();
    // It is not told that he arrived.
    commit(here, Step::Begin { subject, to, request, at_ms: 1 }).await;
    commit(here, leave_by(here, "c-1", request)).await;
    hansa_consensus::testing::eventually("it hears of him", || epoch(away, "c-1") == Some(1)).await;
    let told = ask(here, asks(wire::MoveAction::Unspecified, "")).await.unwrap();
    assert!(!told.open_orders.is_empty() && told.receipt.is_none(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_deletion_is_refused_keeps_nobody_elses() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let here = pair.here();
    // The first has left, and nothing of his was brought: his is due longest, and never goes.
    let to = here.orders.shell().map.region_number(&"us-east".parse().unwrap()).unwrap();
    for (customer, request) in [("c-1", 7), ("c-2", 8)] {
        placed_by(&pair, customer, &format!("r-{customer}")).await;
        let (subject, request) = (subject_of(here, customer), Scope(request));
        commit(here, Step::Begin { subject, to, request, at_ms: 1 }).await;
        commit(here, leave_by(here, customer, request)).await;
    }
    placed_by(&pair, "c-3", "r-3").await;
    let moves =
        wire::MoveCustomerRequest { window_ms: 1, ..asks(wire::MoveAction::Move, "us-east") };
    ask(here, named("c-3", moves)).await.unwrap();
    let end = soon();
    loop {
        let told = ask(here, named("c-3", asks(wire::MoveAction::Unspecified, ""))).await.unwrap();
        if told.receipt.is_some() {
            break;
        }
        assert!(Instant::now() < end, "{told:?}");
        sleep(Duration::from_millis(20)).await;
    }
    let told = ask(here, named("c-1", asks(wire::MoveAction::Unspecified, ""))).await.unwrap();
    assert_eq!(told.state(), wire::MoveState::Waits);
    assert!(told.waits_for.contains("0 of 1"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_home_is_known_to_live_there_also_while_another_region_owns_what_is_born_there() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let (here, away) = (pair.here(), pair.away());
    placed_by(&pair, "c-1", "r-1").await;
    shipped(&pair, 1).await;
    hand_over(&pair.home, &pair.abroad, 2).await;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    // Back, and the call that says so does not come there.
    let (subject, request) = (subject_of(away, "c-1"), Scope(7));
    let to = here.orders.shell().number;
    commit(away, Step::Begin { subject, to, request, at_ms: 1 }).await;
    commit(away, leave_for(away, "c-1", request, ("eu-west", 2))).await;
    assert_eq!(epoch(here, "c-1"), Some(1));
    hansa_consensus::testing::eventually("he is home", || epoch(here, "c-1") == Some(2)).await;
    let told = ask(away, asks(wire::MoveAction::Unspecified, "")).await.unwrap();
    assert!(told.waits_for.contains("was taken over"), "nothing goes for that: {told:?}");
    assert_eq!((living(here), living(away)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_another_overtook_tells_of_the_move_that_was_decided() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    placed_by(&pair, "c-1", "r-1").await;
    let gate = Gate::before(here, &pair.address).await;
    here.peers.set_gateways("us-east".parse().unwrap(), vec![gate.address.clone()]);
    let overtaken = ask(here, asks(wire::MoveAction::Move, "us-east"));
    let overtakes = async {
        let request = begun(here).await;
        let shell = here.orders.shell();
        commit(here, leave_by(here, "c-1", request)).await;
        let (from, subject) = (shell.number, subject_of(away, "c-1"));
        commit(away, Step::Arrive { subject, from, epoch: 1, at_ms: 5, untold: false }).await;
        gate.open.send_replace(true);
    };
    let (told, ()) = tokio::join!(overtaken, overtakes);
    assert_eq!(told.unwrap().lives_in, "us-east");
    assert_eq!((epoch(here, "c-1"), epoch(away, "c-1")), (Some(1), Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_called_off_moves_nobody_when_it_is_repeated() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let here = pair.here();
    placed_by(&pair, "c-1", "r-1").await;
    let gate = Gate::before(here, &pair.address).await;
    here.peers.set_gateways("us-east".parse().unwrap(), vec![gate.address.clone()]);
    let first = ask(here, asks(wire::MoveAction::Move, "us-east"));
    let off = async {
        begun(here).await;
        let told = ask(here, asks(wire::MoveAction::Cancel, "")).await.unwrap();
        assert_eq!(told.lives_in, "eu-west");
        gate.open.send_replace(true);
    };
    let (first, ()) = tokio::join!(first, off);
    assert_eq!(first.unwrap_err().reason(), Reason::FailedPrecondition);
    let again = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap_err();
    assert_eq!(again.reason(), Reason::FailedPrecondition);
    assert!(again.to_string().contains("called off"), "{again}");
    assert_eq!(epoch(here, "c-1"), None, "he has not moved");
    let new = asks(wire::MoveAction::Move, "us-east");
    let new = wire::MoveCustomerRequest { request_id: "another".into(), ..new };
    assert_eq!(ask(here, new).await.unwrap().lives_in, "us-east");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_forgotten_after_he_had_ordered_abroad_comes_home_all_the_same() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    placed_by(&pair, "c-1", "r-1").await;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let (second, _) = placed(&pair, "r-2").await;
    assert!(second.starts_with("regions/us-east/"), "{second}");
    for node in [here, away] {
        let forget = wire::EraseCustomerRequest {
            customer_id: "c-1".into(),
            region: node.orders.shell().region.to_string(),
            request_id: "e-1".into(),
            ..Default::default()
        };
        node.service.erase_customer(call(forget)).await.unwrap();
    }
    let back = asks(wire::MoveAction::Move, "eu-west");
    let back = wire::MoveCustomerRequest { residence_country: String::new(), ..back };
    let told = ask(away, back).await.unwrap();
    assert_eq!((told.lives_in.as_str(), told.epoch, told.order_count), ("eu-west", 2, 0));
    let (third, _) = placed(&pair, "r-3").await;
    assert!(third.starts_with("regions/eu-west/"), "{third}");
    assert_eq!(exported(away).await.iter().filter(|(_, who)| !who.is_empty()).count(), 0);
    for node in [here, away] {
        for (_, broken) in node.orders.invariants(10) {
            assert!(broken.is_empty(), "{broken:?}");
        }
    }
}

/// Enough of them that their calls one by one take longer than anybody waits.
const LAWLESS: usize = 14;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_give_way_while_whoever_is_sent_home_is_not_taken_there() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    for n in 0..=LAWLESS {
        let customer = format!("c-{n}");
        placed_by(&pair, &customer, &format!("r-{n}")).await;
        ask(here, named(&customer, asks(wire::MoveAction::Move, "us-east"))).await.unwrap();
    }
    let address = super::super::regions::serve(&pair.home, hansa_types::id::NodeId(1)).await;
    let gate = Gate::before(away, &address).await;
    away.peers.set_gateways("eu-west".parse().unwrap(), vec![gate.address.clone()]);
    pair.legislate(&policy(3, false));
    begun(away).await;
    let newest = || async { away.orders.region_keys().await.unwrap().last().unwrap().key };
    let before = newest().await;
    let forget = wire::EraseCustomerRequest {
        customer_id: "c-0".into(),
        region: "us-east".into(),
        request_id: "e-1".into(),
        ..Default::default()
    };
    away.service.erase_customer(call(forget)).await.unwrap();
    let end = soon();
    while newest().await == before {
        assert!(Instant::now() < end, "the key of who was forgotten gives way");
        sleep(Duration::from_millis(20)).await;
    }
    gate.open.send_replace(true);
    let end = soon();
    while living(away) > 0 {
        assert!(Instant::now() < end, "they went home");
        sleep(Duration::from_millis(20)).await;
    }
}
