use std::convert::Infallible;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::service_fn;

use super::*;
use crate::fixture::{CLIENT, Caller, House, stack, text, who};
use crate::layers::Stack;

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
