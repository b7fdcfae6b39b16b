use std::convert::Infallible;

use hansa_types::id::NodeId;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::service_fn;

use super::*;
use crate::fixture::{CLIENT, Caller, House, stack, text, who};
use crate::layers::{self, Exempt, Settings, Stack};
use crate::peers::{Peers, Timing};

/// A stack whose calls tell that they began, then wait to be let go.
fn waiting() -> (Stack, Arc<Notify>, Arc<Notify>) {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, g) = (began.clone(), go.clone());
    let inner = service_fn(move |request: Request<Body>| {
        let (began, go) = (b.clone(), g.clone());
        async move {
            if request.uri().path() != "/first" {
                began.notify_one();
                go.notified().await;
            }
            Ok::<_, Infallible>(text("done"))
        }
    });
    (stack(inner), began, go)
}

#[tokio::test]
async fn a_call_carries_its_callers_name() {
    let house = House::new();
    let (address, _serving) = house.serve("n1", who(), Limits::default()).await;
    let mut client = Caller::good(&house).connect(&house, &address).await.unwrap();
    assert_eq!(client.call("/who").await.unwrap(), CLIENT);
}

#[tokio::test]
async fn a_silent_socket_is_closed_at_the_handshake_bound() {
    let house = House::new();
    let limits = Limits { handshake_timeout: Duration::from_millis(50), ..Limits::default() };
    let (address, _serving) = house.serve("n1", who(), limits).await;
    let mut silent = TcpStream::connect(&address.addr).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut [0; 1])).await;
    assert_eq!(read.unwrap().unwrap_or(0), 0, "closed without a byte");
}

#[tokio::test]
async fn a_connection_over_the_limit_is_refused_and_the_others_stay() {
    let house = House::new();
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let (address, _serving) = house.serve("n1", who(), limits).await;
    let caller = Caller::good(&house);
    let mut first = caller.connect(&house, &address).await.unwrap();
    assert!(caller.connect(&house, &address).await.is_err());
    assert_eq!(first.call("/who").await.unwrap(), CLIENT);
}

#[tokio::test]
async fn the_client_is_told_how_many_calls_it_may_have_open() {
    let house = House::new();
    let limits = Limits { streams_max: 7, ..Limits::default() };
    let (address, _serving) = house.serve("n1", who(), limits).await;
    let mut raw = Caller::good(&house).tls(&house, &address).await.unwrap();
    raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    raw.read_exact(&mut head).await.unwrap();
    let mut settings = vec![0; usize::from(head[2])];
    raw.read_exact(&mut settings).await.unwrap();
    // RFC 9113 §6.5.2: identifier 3 is SETTINGS_MAX_CONCURRENT_STREAMS.
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]);
    assert_eq!(streams.map(|setting| setting[5]), Some(7));
}

#[tokio::test]
async fn a_drain_lets_the_call_in_flight_finish_and_takes_no_new_connection() {
    let house = House::new();
    let (stack, began, go) = waiting();
    let (address, serving) = house.serve("n1", stack, Limits::default()).await;
    let caller = Caller::good(&house);
    let mut client = caller.connect(&house, &address).await.unwrap();
    let call = client.call("/wait");
    let drained = async {
        began.notified().await;
        let draining = serving.drain();
        tokio::pin!(draining);
        assert!(futures::poll!(&mut draining).is_pending(), "a call is in flight");
        while TcpStream::connect(&address.addr).await.is_ok() {
            tokio::select! { () = &mut draining => {}, () = tokio::task::yield_now() => {} }
        }
        go.notify_one();
        draining.await;
    };
    let (answer, ()) = tokio::join!(call, drained);
    assert_eq!(answer.unwrap(), "done");
}

#[tokio::test]
async fn a_drain_cuts_a_call_that_does_not_end() {
    let house = House::new();
    let (stack, began, _go) = waiting();
    let drain_max = Duration::from_millis(50);
    let limits = Limits { drain_max, ..Limits::default() };
    let (address, serving) = house.serve("n1", stack, limits).await;
    let mut client = Caller::good(&house).connect(&house, &address).await.unwrap();
    let drained = async {
        began.notified().await;
        serving.drain().await;
    };
    let both = async { tokio::join!(client.call("/wait"), drained) };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("bounded");
    assert!(answer.is_err(), "the call was cut");
}

/// Reads nothing of some calls, answers others with much, and else with what was said.
fn lazy(began: Arc<Semaphore>) -> Stack {
    let inner = service_fn(move |request: Request<Body>| {
        let began = began.clone();
        async move {
            Ok::<_, Infallible>(match request.uri().path() {
                "/unread" => {
                    began.add_permits(1);
                    let _held = request;
                    std::future::pending().await
                }
                "/large" => text(vec![0; LARGE]),
                _ => text(request.into_body().collect().await.unwrap().to_bytes()),
            })
        }
    });
    let timeout_max = Duration::from_secs(60);
    let exempt = Exempt::NOTHING;
    layers::stack(&Settings { listener: "test", in_flight_max: 64, timeout_max, exempt }, inner)
}

/// More than one stream's window.
const LARGE: usize = 3 << 20;
const UNREAD: usize = 6;

#[tokio::test]
async fn what_is_left_unread_does_not_stop_the_other_calls_of_its_connection() {
    let (house, began) = (House::new(), Arc::new(Semaphore::new(0)));
    let (address, _serving) = house.serve("n1", lazy(began.clone()), Limits::default()).await;
    let peers = Peers::new(NodeId(2), house.net("n2"), Timing::default(), house.tasks.clone());
    peers.set_node(NodeId(1), address);
    let call = |path: &str, bytes: usize| {
        let body = Full::new(vec![7; bytes].into()).map_err(|never| match never {});
        let request = Request::post(path).body(Body::new(body)).unwrap();
        peers.to(NodeId(1)).oneshot(request)
    };
    let beside = async || {
        let answer = tokio::time::timeout(Duration::from_secs(60), async {
            let answer = call("/said", 512 << 10).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes().len()
        });
        answer.await.expect("a call that is read passes")
    };
    for _ in 0..UNREAD {
        let unread = call("/unread", LARGE);
        house.tasks.spawn_untracked(async move { drop(unread.await) });
    }
    began.acquire_many(UNREAD as u32).await.unwrap().forget();
    assert_eq!(beside().await, 512 << 10, "beside calls that the server does not read");
    let large = futures::future::join_all((0..UNREAD).map(|_| call("/large", 0))).await;
    assert_eq!(beside().await, 512 << 10, "beside answers that the client does not read");
    assert!(large.iter().all(Result::is_ok));
}
