use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::directory::ownership_service_server::{
    OwnershipService, OwnershipServiceServer,
};
use hansa_api::pb::directory::{self as wire, FenceEpochResponse};
use hansa_node::env::test::seeded;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::Kind;
use hansa_region_router::forward::Forward;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::*;
use crate::testing::{Does, Fake, directory, number};

/// A region that promises, and knows of this owner.
#[derive(Clone)]
struct Knows(Vec<Signed>);

#[tonic::async_trait]
impl OwnershipService for Knows {
    async fn exchange_ownership(
        &self,
        _: Request<wire::ExchangeOwnershipRequest>,
    ) -> Result<Response<wire::ExchangeOwnershipResponse>, Status> {
        Err(Reason::Unimplemented.into())
    }

    async fn renew_epochs(
        &self,
        _: Request<RenewEpochsRequest>,
    ) -> Result<Response<RenewEpochsResponse>, Status> {
        let records = self.0.clone();
        Ok(Response::new(RenewEpochsResponse { granted: vec![true], records }))
    }

    async fn read_heir(
        &self,
        _: Request<wire::ReadHeirRequest>,
    ) -> Result<Response<wire::ReadHeirResponse>, Status> {
        Err(Reason::Unimplemented.into())
    }

    async fn fence_epoch(
        &self,
        _: Request<wire::FenceEpochRequest>,
    ) -> Result<Response<FenceEpochResponse>, Status> {
        Ok(Response::new(FenceEpochResponse::default()))
    }
}

fn knows(of: Option<(&str, u64)>) -> Does {
    let record = of.map(|(owner, epoch)| Signed {
        birth_region: "eu-west".into(),
        owner_region: owner.into(),
        epoch,
        ..Signed::default()
    });
    let knows = Knows(record.into_iter().collect());
    Does::Serves(Routes::new(OwnershipServiceServer::new(knows)))
}

/// eu-west goes on with what was born there, in an epoch beyond this one.
async fn given_up(fake: &Fake, ends: u64, confirmed_stopped: bool) -> Result<(), Failure> {
    let record = OwnershipRecord {
        birth: number(1),
        owner: number(1),
        epoch: ends + 1,
        ends,
        kind: Kind::Failover,
        confirmed_stopped,
        reason: "x".into(),
        ticket: "x".into(),
        time_ms: 1,
        by: "x".into(),
        proof: Default::default(),
    };
    let now = directory(1, &[]);
    let (env, _) = seeded("give-up", 1, hansa_types::time::WallTime(0));
    let book = Book::of(now.clone());
    let forward = Forward::new(fake.clone(), book.clone(), env.entropy.clone());
    let (clock, entropy) = (Arc::clone(&env.clock), env.entropy.clone());
    let own = Own { book, upstreams: fake.clone(), forward, clock, entropy };
    let due = Deadline::after(Duration::from_secs(4));
    nobody_else_owns(&own, &now, &record, &Signed::default(), due).await
}

fn fences(fake: &Fake) -> usize {
    let seen = fake.seen.lock().unwrap();
    seen.iter().filter(|seen| seen.path.ends_with("/FenceEpoch")).count()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_up_while_a_region_that_may_own_says_nothing() {
    for away in [Does::Unreachable, Does::Hangs] {
        let fake = Fake::default().with("gateway us-east", knows(None));
        let fake = fake.with("gateway ap-south", away);
        for confirmed in [false, true] {
            let refused = given_up(&fake, 1, confirmed).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::OwnershipRefused);
            let said = refused.to_string();
            assert!(said.contains("ap-south") && said.contains("--confirm-stopped"), "{said}");
        }
        assert!(given_up(&fake, 2, false).await.is_err(), "nobody said that it is off");
        assert_eq!(fences(&fake), 0, "what is refused leaves nothing behind");
        // On a person's word it goes on, and doubts: that ends an epoch nobody here knows.
        given_up(&fake, 2, true).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_owns_is_not_given_up_whatever_a_person_says() {
    let fake = Fake::default().with("gateway us-east", knows(Some(("us-east", 2))));
    let fake = fake.with("gateway ap-south", knows(None));
    for (ends, confirmed) in [(1, false), (2, true)] {
        let refused = given_up(&fake, ends, confirmed).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::EpochEnded);
        assert!(refused.to_string().contains("region failback"), "{refused}");
    }
    assert_eq!(fences(&fake), 0);
}

#[tokio::test(start_paused = true)]
async fn every_other_region_promises_before_it_is_asked_again() {
    let fake = Fake::default().with("gateway us-east", knows(Some(("eu-west", 1))));
    let fake = fake.with("gateway ap-south", knows(None));
    given_up(&fake, 1, false).await.unwrap();
    let of = |who: &str| -> Vec<String> {
        let seen = fake.seen.lock().unwrap();
        let paths = seen.iter().filter(|seen| seen.who == who).map(|seen| &seen.path);
        paths.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
    };
    for who in ["gateway us-east", "gateway ap-south"] {
        assert_eq!(of(who), ["RenewEpochs", "FenceEpoch", "RenewEpochs"]);
    }
}
