use std::sync::atomic::{AtomicU32, Ordering};

use hansa_types::id::NodeId;
use tonic::transport::Server;

use super::*;
use crate::client::tls::tests::{Listener, TestCa};
use crate::pb::region::region_service_server::{RegionService, RegionServiceServer};
use crate::pb::region::{
    ExplainRouteRequest, ExplainRouteResponse, ListRegionsRequest, ListRegionsResponse,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Answers `ListRegions` with what the script says for the n-th call, and counts them;
/// `ExplainRoute` with the home that was set.
#[derive(Clone)]
struct Scripted {
    calls: Arc<AtomicU32>,
    home: Arc<Mutex<Option<ExplainRouteResponse>>>,
    script: Arc<dyn Fn(u32) -> Result<u64, Failure> + Send + Sync>,
}

impl Scripted {
    fn new(script: impl Fn(u32) -> Result<u64, Failure> + Send + Sync + 'static) -> Self {
        Self { calls: Arc::default(), home: Arc::default(), script: Arc::new(script) }
    }

    fn set_home(&self, region: &str, endpoint: &str) {
        let (home_region, endpoints) = (region.to_owned(), vec![endpoint.to_owned()]);
        let home = ExplainRouteResponse { home_region, endpoints, ..Default::default() };
        *self.home.lock().unwrap() = Some(home);
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl RegionService for Scripted {
    async fn list_regions(
        &self,
        request: Request<ListRegionsRequest>,
    ) -> Result<Response<ListRegionsResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let policy_version = (self.script)(n)?;
        Ok(Response::new(ListRegionsResponse { regions: Vec::new(), policy_version }))
    }

    async fn explain_route(
        &self,
        request: Request<ExplainRouteRequest>,
    ) -> Result<Response<ExplainRouteResponse>, Status> {
        assert_eq!(request.get_ref().customer_id, "", "it names nobody");
        let home = self.home.lock().unwrap().clone();
        match home {
            Some(home) => Ok(Response::new(home)),
            None => std::future::pending().await,
        }
    }
}

struct Gateway {
    endpoint: String,
    service: Scripted,
    server: futures::future::BoxFuture<'static, Result<(), tonic::transport::Error>>,
}

async fn gateway(
    ca: &TestCa,
    region: &str,
    script: impl Fn(u32) -> Result<u64, Failure> + Send + Sync + 'static,
) -> Gateway {
    let id = format!("spiffe://hansa/region/{region}/node/{region}-1");
    let listener = Listener::new(&ca.files(region, &[&id])).await;
    let service = Scripted::new(script);
    Gateway {
        endpoint: listener.address.to_string(),
        service: service.clone(),
        server: Box::pin(
            Server::builder()
                .add_service(RegionServiceServer::new(service))
                .serve_with_incoming(listener.incoming()),
        ),
    }
}

async fn ask(league: &League) -> Result<u64, Failure> {
    let call = league.call(TIMEOUT, |mut services, call| {
        let request = call.request(ListRegionsRequest {});
        async move { services.regions.list_regions(request).await }
    });
    call.await.map(|response| response.policy_version)
}

async fn connect_to(ca: &TestCa, endpoints: Vec<String>) -> League {
    let options = Options::default();
    League::connect(ca.client(), endpoints, Expect::AnyNode, options).await.unwrap()
}

#[tokio::test]
async fn an_unavailable_answer_is_asked_for_again_and_a_refusal_is_not() {
    let ca = TestCa::new();
    let gateway = gateway(&ca, "eu-west", |n| match n {
        1 | 2 => Err(Failure::not_leader(Some(NodeId(2)))),
        3 => Ok(7),
        _ => Err(Reason::PermissionDenied.into()),
    });
    let gateway = gateway.await;
    let client = async {
        let league = connect_to(&ca, vec![gateway.endpoint]).await;
        assert_eq!(ask(&league).await, Ok(7));
        assert_eq!(gateway.service.calls(), 3);
        assert_eq!(ask(&league).await.unwrap_err().reason(), Reason::PermissionDenied);
        assert_eq!(gateway.service.calls(), 4);
    };
    tokio::select! { _ = gateway.server => panic!("the server ended"), () = client => {} }
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_the_region_is_verified() {
    let ca = TestCa::new();
    let home = gateway(&ca, "eu-west", |_| Ok(3)).await;
    let (region, other) = ("eu-west".parse().unwrap(), home.endpoint.clone());
    let entry = gateway(&ca, "us-east", move |n| {
        let region = if n == 1 { &region } else { &"ap-south".parse().unwrap() };
        Err(Failure::wrong_region(region, &other))
    });
    let entry = entry.await;
    let client = async {
        let league = connect_to(&ca, vec![entry.endpoint.clone()]).await;
        assert_eq!(ask(&league).await, Ok(3));
        // A fresh client is sent to an endpoint that is not in the region it is said to be in.
        let league = connect_to(&ca, vec![entry.endpoint.clone()]).await;
        assert_eq!(ask(&league).await.unwrap_err().reason(), Reason::Unavailable);
        assert_eq!(home.service.calls(), 1);
    };
    tokio::select! {
        _ = entry.server => panic!("the server ended"),
        _ = home.server => panic!("the server ended"),
        () = client => {}
    }
}

#[tokio::test]
async fn another_endpoint_takes_over_from_one_that_is_gone() {
    let ca = TestCa::new();
    let good = gateway(&ca, "eu-west", |_| Ok(1)).await;
    let stopping = gateway(&ca, "eu-west", |_| Err(Reason::Unavailable.into())).await;
    let client = async {
        let endpoints = vec![stopping.endpoint.clone(), good.endpoint.clone()];
        let league = connect_to(&ca, endpoints).await;
        assert_eq!(ask(&league).await, Ok(1));
        assert_eq!((stopping.service.calls(), good.service.calls()), (1, 1));
        // And from one that never answered.
        let endpoints = vec!["127.0.0.1:1".to_owned(), good.endpoint.clone()];
        assert_eq!(ask(&connect_to(&ca, endpoints).await).await, Ok(1));
    };
    tokio::select! {
        _ = good.server => panic!("the server ended"),
        _ = stopping.server => panic!("the server ended"),
        () = client => {}
    }
}

#[tokio::test]
async fn a_call_ends_with_its_deadline() {
    let ca = TestCa::new();
    let gateway = gateway(&ca, "eu-west", |_| Ok(1)).await;
    let client = async {
        let league = connect_to(&ca, vec![gateway.endpoint]).await;
        let call = league.call(Duration::from_millis(50), |mut services, call| {
            let request = call.request(ExplainRouteRequest::default());
            async move { services.regions.explain_route(request).await }
        });
        assert_eq!(call.await.unwrap_err().reason(), Reason::DeadlineExceeded);
    };
    tokio::select! { _ = gateway.server => panic!("the server ended"), () = client => {} }
}

async fn ask_about(league: &League, about: About<'_>) -> Result<u64, Failure> {
    let call = league.call_about(about, TIMEOUT, |mut services, call| {
        let request = call.request(ListRegionsRequest {});
        async move { services.regions.list_regions(request).await }
    });
    call.await.map(|response| response.policy_version)
}

#[tokio::test]
async fn a_redirect_is_remembered_for_whom_it_was_about() {
    let ca = TestCa::new();
    let home = gateway(&ca, "ru-central", |n| match n {
        4 => Err(Reason::Unavailable.into()),
        _ => Ok(3),
    });
    let home = home.await;
    let (region, other) = ("ru-central".parse().unwrap(), home.endpoint.clone());
    let entry = gateway(&ca, "us-east", move |n| match n {
        1 | 3 => Err(Failure::wrong_region(&region, &other)),
        _ => Ok(9),
    });
    let entry = entry.await;
    let client = async {
        let league = connect_to(&ca, vec![entry.endpoint.clone()]).await;
        let russian = About::Resident("RU");
        assert_eq!(ask_about(&league, russian).await, Ok(3));
        assert_eq!(ask_about(&league, russian).await, Ok(3));
        assert_eq!((entry.service.calls(), home.service.calls()), (1, 2), "straight home");
        assert_eq!(ask_about(&league, About::Resident("US")).await, Ok(9), "somebody else");
        // An order says nothing of a country: it is redirected and remembered by itself.
        let order = About::Order("regions/ru-central/orders/1");
        assert_eq!(ask_about(&league, order).await, Ok(3));
        // The home's only gateway turns us away once; it is asked again, and nobody else is.
        assert_eq!(ask_about(&league, order).await, Ok(3));
        assert_eq!((entry.service.calls(), home.service.calls()), (3, 5));
    };
    tokio::select! {
        _ = entry.server => panic!("the server ended"),
        _ = home.server => panic!("the server ended"),
        () = client => {}
    }
}

#[tokio::test]
async fn a_strict_client_asks_first_and_sends_nothing_to_another_region() {
    let ca = TestCa::new();
    let home = gateway(&ca, "ru-central", |_| Ok(3)).await;
    let entry = gateway(&ca, "us-east", |_| panic!("it was sent abroad")).await;
    entry.service.set_home("ru-central", &home.endpoint);
    let client = async {
        let options = Options { strict: true, ..Options::default() };
        let endpoints = vec![entry.endpoint.clone()];
        let league = League::connect(ca.client(), endpoints, Expect::AnyNode, options);
        let league = league.await.unwrap();
        for _ in 0..2 {
            assert_eq!(ask_about(&league, About::Resident("RU")).await, Ok(3));
        }
        // An entry that names a home whose certificate is another region's is not believed.
        entry.service.set_home("kz-central", &home.endpoint);
        let lied = ask_about(&league, About::Resident("KZ")).await.unwrap_err();
        assert_eq!(lied.reason(), Reason::Unavailable);
        assert_eq!((entry.service.calls(), home.service.calls()), (0, 2));
    };
    tokio::select! {
        _ = entry.server => panic!("the server ended"),
        _ = home.server => panic!("the server ended"),
        () = client => {}
    }
}
