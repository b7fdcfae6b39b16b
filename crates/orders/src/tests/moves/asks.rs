//! Who asks about a customer, what he is told, and what is said by whom.

use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication as home;
use hansa_api::pb::replication::home_service_server::HomeService as _;
use hansa_node::tls::{Identity, PeerIdentity};
use hansa_region_router::core::directory::Kind;
use hansa_types::id::{OrderId, OrderName};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

use super::super::takeover::shipped;
use super::tries::{epoch, placed_by};
use super::*;
use crate::core::takeover::Phase;
use crate::service::move_customer::proof::question;
use crate::shell::personal;
use crate::vault::{DataKey, KeyShare};

/// As a node of this region asks, by its certificate.
async fn asked_by(
    pair: &Pair,
    region: &str,
    question: home::TakeCustomerRequest,
) -> Result<home::TakeCustomerResponse, Failure> {
    let files = pair.home.ca.node(&region.parse().unwrap(), "asker").unwrap();
    let identity = Identity::load(files).unwrap();
    let end = soon();
    loop {
        let mut request = call(question.clone());
        request.extensions_mut().insert(PeerIdentity(identity.id().clone()));
        match pair.away().service.take_customer(request).await.map_err(|s| Failure::from(&s)) {
            Err(failure) if failure.reason() == Reason::NotLeader && Instant::now() < end => {}
            answer => return Ok(answer?.into_inner()),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// An order of c-1 as ap-south says that it has it, sealed by itself.
fn made_up(pair: &Pair, order: OrderId) -> home::TakeCustomerRequest {
    made_up_by(pair, ("ap-south", 3), order)
}

fn made_up_by(
    pair: &Pair,
    (region, number): (&str, u16),
    order: OrderId,
) -> home::TakeCustomerRequest {
    let subject = SubjectId { home: RegionNumber::try_from(number).unwrap(), hash: 7 };
    let of = KeyOf { subject, generation: 1 };
    let share = KeyShare::of_bytes(of, &[7; DataKey::BYTES]).unwrap();
    let plain = personal::block(Some(&"c-1".parse().unwrap()), None).unwrap();
    let entropy = pair.away().orders.shell().env.entropy.clone();
    let sealed = share.key.seal(of, order, &plain, entropy.as_ref()).unwrap();
    home::TakeCustomerRequest {
        region: region.into(),
        key: Some(home::KeyShare {
            home: u32::from(number),
            subject: bytes::Bytes::copy_from_slice(&subject.hash.to_be_bytes()),
            generation: 1,
            key: bytes::Bytes::copy_from_slice(share.bytes()),
        }),
        blocks: vec![home::MovedBlock {
            order_id: order_to_bytes(order),
            residence_country: "GB".into(),
            nonce: bytes::Bytes::copy_from_slice(&sealed.nonce),
            ciphertext: sealed.ciphertext,
        }],
        ..Default::default()
    }
}

fn about(region: &str, order: OrderId) -> home::TakeCustomerRequest {
    let block = home::MovedBlock { order_id: order_to_bytes(order), ..Default::default() };
    let (region, blocks) = (region.to_owned(), vec![block]);
    home::TakeCustomerRequest { region, blocks, holds_only: true, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_has_nothing_to_do_with_him_neither_brings_him_nor_hears_of_him() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let (first, _) = placed(&pair, "r-1").await;
    let first: OrderName = first.parse().unwrap();
    let (birth, slot) = (RegionNumber::try_from(3).unwrap(), Slot::of(b"c-1"));
    let theirs = OrderId::new(LogTime(1_700_000_000_000), birth, slot, 9);
    for order in [theirs, first.id] {
        let refused = asked_by(&pair, "ap-south", made_up(&pair, order)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::HomeMoving, "{refused}");
    }
    assert_eq!((kept(away), living(away)), (0, 0));
    let says =
        home::TakeCustomerRequest { arrive_epoch: 1, holds_only: true, ..made_up(&pair, theirs) };
    assert!(asked_by(&pair, "ap-south", says.clone()).await.is_err());
    assert_eq!(epoch(away, "c-1"), None);

    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    for arrive_epoch in [2, 5] {
        let says = home::TakeCustomerRequest { arrive_epoch, ..says.clone() };
        let refused = asked_by(&pair, "ap-south", says).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::HomeMoving, "{refused}");
        let says = home::TakeCustomerRequest { arrive_epoch, ..about("ap-south", first.id) };
        let refused = asked_by(&pair, "ap-south", says).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::HomeMoving, "{refused}");
    }
    assert_eq!(epoch(away, "c-1"), Some(1));
    // It hears nothing; nor by another's name. Who let him go hears where he is.
    let told = asked_by(&pair, "ap-south", about("ap-south", first.id)).await.unwrap();
    assert_eq!(told, home::TakeCustomerResponse::default());
    let mut with_its_own = about("ap-south", first.id);
    with_its_own.blocks.extend(about("ap-south", theirs).blocks);
    let told = asked_by(&pair, "ap-south", with_its_own).await.unwrap();
    assert_eq!(told, home::TakeCustomerResponse::default(), "an order that nobody here knows");
    let forged = asked_by(&pair, "ap-south", about("eu-west", first.id)).await.unwrap_err();
    assert_eq!(forged.reason(), Reason::PermissionDenied);
    let told = asked_by(&pair, "eu-west", about("eu-west", first.id)).await.unwrap();
    assert_eq!((told.lives_in.as_str(), told.epoch, told.block_count), ("us-east", 1, 1));
    let unknown = asked_by(&pair, "eu-west", about("eu-west", theirs)).await.unwrap_err();
    assert_eq!(unknown.reason(), Reason::CustomerNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_stays_while_who_brought_it_knows_nothing_of_him_any_more() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let away = pair.away();
    let (birth, slot) = (RegionNumber::try_from(1).unwrap(), Slot::of(b"c-1"));
    let forgotten = OrderId::new(LogTime(1_700_000_000_000), birth, slot, 9);
    asked_by(&pair, "eu-west", made_up_by(&pair, ("eu-west", 1), forgotten)).await.unwrap();
    let shell = &*away.orders.shell();
    let his = personal::customer(shell, &"c-1".parse().unwrap()).unwrap();
    let end = soon();
    let stays = settle(shell, &shell.groups[&0], (his, birth), end).await.unwrap_err();
    assert!(stays.to_string().contains("knows nothing of him"), "{stays}");
    assert_eq!((kept(away), living(away)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deleted_before_what_is_there_is_shown_to_be_the_same() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let (first, _) = placed(&pair, "r-1").await;
    let first: OrderName = first.parse().unwrap();
    // Something else comes there under the order's name, before he is moved.
    asked_by(&pair, "eu-west", made_up_by(&pair, ("eu-west", 1), first.id)).await.unwrap();
    assert_eq!(kept(away), 1);
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let challenged = |challenge: u8| home::TakeCustomerRequest {
        challenge: bytes::Bytes::copy_from_slice(&[challenge; 32]),
        ..about("eu-west", first.id)
    };
    let one = asked_by(&pair, "eu-west", challenged(1)).await.unwrap();
    let other = asked_by(&pair, "eu-west", challenged(2)).await.unwrap();
    assert!(one.block_count == 1 && one.proof.len() == 16 && one.proof != other.proof);
    let refused = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::HomeMoving, "{refused}");
    assert!(refused.to_string().contains("does not show"), "{refused}");
    assert_eq!(living(here), 1, "it is here only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_todays_law_keeps_out_is_asked_with_nothing_personal() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let here = pair.here();
    placed_by(&pair, "c-1", "r-1").await;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    // The other region has not heard of the law, or he would be on his way home.
    pair.home.legislate(&policy(3, false));
    let shell = &*here.orders.shell();
    let subject = personal::customer(shell, &"c-1".parse().unwrap()).unwrap();
    let (of, wrapped, blocks) = shell.groups[&0].group.peek(|machine| {
        let Next::Use(generation, wrapped) = machine.state.next_key(subject) else { panic!() };
        let of = KeyOf { subject, generation };
        (of, wrapped, machine.state.blocks(of).collect::<Vec<_>>())
    });
    let us = "us-east".parse().unwrap();
    let (lived, customer) = (["GB".parse().unwrap()].into(), "c-1".parse().unwrap());
    let orders: Vec<OrderId> = blocks.iter().map(|(id, ..)| *id).collect();
    for who in [Who::Keyed(of, &wrapped, &blocks), Who::Named(&customer, &lived)] {
        let refused = question(shell, &us, who, Ask::HOLDS).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::NoLawfulRegion, "{refused}");
        assert!(refused.metadata("rule").unwrap().starts_with("jurisdiction.GB."), "{refused:?}");
    }
    let asked = question(shell, &us, Who::Orders(&orders), Ask::HOLDS).await.unwrap();
    assert!(asked.key.is_none() && asked.customer_id.is_empty());
    let bare = |block: &home::MovedBlock| block.nonce.is_empty() && block.ciphertext.is_empty();
    assert!(asked.blocks.len() == 1 && asked.blocks.iter().all(bare));
    // Nothing is brought there again; what it says that it has lets go of what he left.
    let again = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap_err();
    assert_eq!(again.reason(), Reason::NoLawfulRegion, "{again}");
    let told = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap();
    assert_eq!(told.state(), wire::MoveState::Left);
    assert_eq!(living(here), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_an_heir_serves_is_not_said_to_have_moved_there() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    placed_by(&pair, "c-1", "r-1").await;
    shipped(&pair, 1).await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    pair.abroad.owned_by(2, 2, Kind::Failover);
    hansa_consensus::testing::eventually("settled", || pair.abroad.phase() == Some(Phase::Owned))
        .await;
    let refused = ask(pair.away(), asks(wire::MoveAction::Move, "us-east")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::FailedPrecondition);
    assert!(refused.to_string().contains("nobody moved"), "{refused}");
    let told = ask(pair.away(), asks(wire::MoveAction::Unspecified, "")).await.unwrap();
    assert_eq!((told.lives_in.as_str(), told.epoch), ("us-east", 0));
}
