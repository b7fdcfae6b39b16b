use std::convert::Infallible;
use std::net::SocketAddr;

use hansa_api::status::Reason;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::env::test::own_address;
use crate::fixture::{House, stack, who};
use crate::listen::Limits;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);

fn peers(house: &House) -> Peers {
    let timing = Timing { retry_first: Duration::ZERO, ..Timing::default() };
    Peers::new(N1, house.net("n1"), timing, house.tasks.clone())
}

/// Where a port that is let go is given to nobody else.
fn alone() -> SocketAddr {
    SocketAddr::from((own_address(), 0))
}

async fn ask(service: PeerService) -> Result<String, Failure> {
    ask_for("/hansa.Test/Who", service).await
}

async fn ask_for(path: &str, service: PeerService) -> Result<String, Failure> {
    let request = Request::post(path).body(Body::empty()).unwrap();
    let response = service.oneshot(request).await?;
    let body = response.into_body().collect().await?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn another_node_is_reached_and_sees_who_calls() {
    let house = House::new();
    let (address, _serving) = house.serve("n2", who(), Limits::default()).await;
    let peers = peers(&house);
    peers.set_node(N2, address);
    assert_eq!(ask(peers.to(N2)).await.unwrap(), "spiffe://hansa/region/eu-west/node/n1");
}

#[tokio::test]
async fn we_reach_ourselves_without_a_socket_by_our_own_name() {
    let house = House::new();
    let peers = peers(&house);
    let early = ask(peers.to(N1)).await.unwrap_err();
    assert!(not_sent(&early), "nothing is served yet: {early}");
    peers.set_local(who());
    assert_eq!(ask(peers.to(N1)).await.unwrap(), "spiffe://hansa/region/eu-west/node/n1");
}

#[tokio::test]
async fn a_peer_with_another_name_is_not_talked_to() {
    let house = House::new();
    let (mut address, _serving) = house.serve("n3", who(), Limits::default()).await;
    address.id = house.identity("n2").id().clone();
    let peers = peers(&house);
    peers.set_node(N2, address);
    let failure = ask(peers.to(N2)).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unavailable);
    assert!(not_sent(&failure), "{failure}");
}

#[tokio::test]
async fn an_unknown_node_is_unavailable() {
    let house = House::new();
    let failure = ask(peers(&house).to(N2)).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unavailable);
    assert!(not_sent(&failure));
}

#[tokio::test]
async fn a_peer_that_comes_back_is_dialled_again() {
    let house = House::new();
    let (address, serving) = house.serve_at(alone(), "n2", who(), Limits::default()).await;
    let peers = peers(&house);
    peers.set_node(N2, address.clone());
    ask(peers.to(N2)).await.unwrap();
    serving.drain().await;
    while ask(peers.to(N2)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let addr = address.addr.parse().unwrap();
    let (_, _serving) = house.serve_at(addr, "n2", who(), Limits::default()).await;
    let back = async {
        while ask(peers.to(N2)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("reached again");
}

#[tokio::test]
async fn a_node_that_moves_is_found_at_its_new_address() {
    let house = House::new();
    let (first, _one) = house.serve("n2", who(), Limits::default()).await;
    let (second, _two) = house.serve("n2", who(), Limits::default()).await;
    let peers = peers(&house);
    let service = peers.to(N2);
    peers.set_node(N2, first);
    ask(service.clone()).await.unwrap();
    peers.set_node(N2, second);
    ask(service.clone()).await.unwrap();
    assert_eq!(peers.inner.book.read().peers.len(), 1, "the old connection is let go");
}

/// What those who watch leave unread must fill no connection that calls go over.
#[tokio::test]
async fn who_watches_has_a_connection_of_his_own() {
    let house = House::new();
    let (address, _serving) = house.serve("n2", who(), Limits::default()).await;
    let peers = peers(&house);
    peers.set_node(N2, address.clone());
    ask_for("/hansa.order.v1.OrderService/WatchOrder", peers.to(N2)).await.unwrap();
    let peer = peers.inner.book.read().peers[&(address, Way::Within)].clone();
    assert!(futures::poll!(Box::pin(peer.watches.ready())).is_ready());
    assert!(futures::poll!(Box::pin(peer.calls.ready())).is_pending(), "nobody has called yet");
}

#[tokio::test]
async fn the_end_of_an_old_connection_does_not_end_the_new_one() {
    let house = House::new();
    let (address, _serving) = house.serve("n2", who(), Limits::default()).await;
    let peers = peers(&house);
    peers.set_node(N2, address.clone());
    ask(peers.to(N2)).await.unwrap();
    let channel = peers.inner.book.read().peers[&(address.clone(), Way::Within)].calls.clone();
    channel.leave(7);
    assert!(futures::poll!(Box::pin(channel.ready())).is_ready(), "still up");
    channel.leave(0);
    assert!(futures::poll!(Box::pin(channel.ready())).is_pending(), "dialled again");
}

#[tokio::test]
async fn calls_that_fail_to_connect_fail_at_once_until_the_next_attempt() {
    let house = House::new();
    let closed = TcpListener::bind(alone()).await.unwrap().local_addr().unwrap().to_string();
    let timing = Timing {
        retry_first: Duration::from_secs(60),
        retry_max: Duration::from_secs(60),
        ..Timing::default()
    };
    let peers = Peers::new(N1, house.net("n1"), timing, house.tasks.clone());
    peers.set_node(N2, Address { id: house.identity("n2").id().clone(), addr: closed });
    assert!(ask(peers.to(N2)).await.unwrap_err().wait() > Some(Duration::from_secs(50)));
    let mut again = Box::pin(ask(peers.to(N2)));
    assert!(futures::poll!(again.as_mut()).is_ready(), "no second dial");
}

#[tokio::test]
async fn the_next_gateway_is_asked_when_one_is_away() {
    let house = House::new();
    let closed = TcpListener::bind(alone()).await.unwrap().local_addr().unwrap().to_string();
    let away = Address { id: house.identity("g1").id().clone(), addr: closed };
    let (up, _serving) = house.serve("g2", who(), Limits::default()).await;
    let region: RegionName = "us-east".parse().unwrap();
    let peers = peers(&house);
    assert!(not_sent(&ask(peers.gateway(&region)).await.unwrap_err()), "no gateway known");
    peers.set_gateways(region.clone(), vec![away, up]);
    for _ in 0..4 {
        ask(peers.gateway(&region)).await.unwrap();
    }
}

/// What two send at the moment at which a connection ends can be left in its queue, which stops at
/// a place that is taken and not yet filled. It is given back with the queue's last sender, and so
/// no sender may wait for it.
#[tokio::test]
async fn who_waits_for_an_answer_keeps_no_queue_open() {
    let house = House::new();
    let id = house.identity("n2").id().clone();
    let address = Address { id, addr: alone().to_string() };
    let (net, tasks) = (house.net("n1"), house.tasks.clone());
    let channel = Channel::new((address, Way::Within), net, Timing::default(), tasks.clone());
    let (here, _there) = tokio::io::duplex(1 << 16);
    let opened = http2::handshake(tasks.executor(), TokioIo::new(here)).await;
    let (up, connection) = opened.unwrap();
    let request = Request::post("/hansa.Test/Who").body(Body::empty()).unwrap();
    let mut call = Box::pin(channel.send(up, request));
    assert!(futures::poll!(call.as_mut()).is_pending(), "nobody answers");
    let ended = tokio::time::timeout(Duration::from_secs(20), connection).await;
    assert!(ended.is_ok(), "the connection waits for a request that cannot come");
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_call_is_unavailable_and_maybe_done() {
    let house = House::new();
    let endless = stack(service_fn(|_: Request<Body>| async {
        let frames = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, Status>>();
        Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(frames))))
    }));
    let limits = Limits { drain_max: Duration::ZERO, ..Limits::default() };
    let (address, serving) = house.serve("n2", endless, limits).await;
    let peers = peers(&house);
    peers.set_node(N2, address);
    let request = Request::post("/hansa.Test/Watch").body(Body::empty()).unwrap();
    let body = peers.to(N2).oneshot(request).await.unwrap().into_body();
    serving.drain().await;
    let failure = Failure::from(body.collect().await.unwrap_err());
    assert_eq!(failure.reason(), Reason::Unavailable);
    assert!(!not_sent(&failure), "it may have taken effect");
}
