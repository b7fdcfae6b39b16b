use std::collections::VecDeque;
use std::path::Path;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hansa_api::pb::raft::{PeerErrorKind, SnapshotChunk};
use hansa_node::env::test::seeded;
use hansa_types::time::WallTime;
use hansa_wal::fs::{Fs, SimFs};
use parking_lot::Mutex;

use super::*;
use crate::pending::Pending;
use crate::replica::Cell;
use crate::testing::counter::Counters;
use crate::testing::group_id;

/// Answers what it was told to, one after the other, and then grants.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<LinkError>>,
}

fn granted() -> VoteResponse<Types> {
    VoteResponse::new(Vote::new(3, 1), None, true)
}

impl Link for Script {
    fn call(&self, _to: NodeId, _ask: Ask) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let next = self.answers.lock().pop_front();
        futures::future::ready(next.map_or(Ok(wire::voted(&granted())), Err)).boxed()
    }

    fn snapshot(
        &self,
        _to: NodeId,
        _header: SnapshotHeader,
        _chunks: BoxStream<'static, SnapshotChunk>,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        futures::future::ready(Err(LinkError::Unreachable(String::new()))).boxed()
    }
}

/// What a pre-vote comes to with these answers, and how many of them were not asked for.
async fn asked(answers: &[LinkError]) -> (Result<VoteResponse<Types>, RPCError<Types>>, usize) {
    let (env, _) = seeded("a", 1, WallTime(0));
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new(1));
    fs.create_dir_all(Path::new("group")).unwrap();
    let archive = Arc::new(Archive::open(&fs, Path::new("group/archive.redb")).unwrap());
    let cell = Arc::new(Cell::new(group_id(), Counters::default(), Pending::new(true)));
    let dir = Path::new("group").to_owned();
    let checkpoints = Checkpoints::load(fs, dir, group_id(), cell, archive.clone()).unwrap();
    let link = Arc::new(Script { answers: Mutex::new(answers.iter().cloned().collect()) });
    let network = Network {
        node: NodeId(1),
        group: group_id(),
        link: link.clone(),
        archive,
        checkpoints: Arc::new(checkpoints),
        writer: Writer::start(&env),
        append_max: Duration::from_secs(1),
        reports: Arc::default(),
        acks: Arc::default(),
    };
    let mut client = Client { network, target: NodeId(2) };
    let request = VoteRequest::new(Vote::new(3, 1), None);
    let answer = client.pre_vote(request, RPCOption::new(Duration::from_secs(1))).await;
    let left = link.answers.lock().len();
    (answer, left)
}

#[tokio::test(start_paused = true)]
async fn a_peer_out_of_reach_is_asked_for_a_pre_vote_until_it_is_back() {
    let away = || LinkError::Unreachable("away".into());
    assert_eq!(asked(&[away(), away(), away()]).await, (Ok(granted()), 0));
    let begun = Instant::now();
    let (answer, left) = asked(&vec![away(); 1_000]).await;
    assert!(matches!(answer, Err(RPCError::Unreachable(_))), "{answer:?}");
    assert!(left > 900 && begun.elapsed() < Duration::from_secs(1), "{left} left");
}

#[tokio::test(start_paused = true)]
async fn what_a_living_peer_refuses_is_not_asked_again() {
    let refused = |kind| LinkError::Refused { kind, detail: String::new() };
    let refusals = [
        refused(PeerErrorKind::Stopped),
        refused(PeerErrorKind::UnknownGroup),
        refused(PeerErrorKind::WrongNode),
        refused(PeerErrorKind::Overloaded),
        LinkError::Denied("the peer speaks protocol 2-3".into()),
        LinkError::Timeout(Duration::from_secs(1)),
    ];
    for refusal in refusals {
        let begun = Instant::now();
        let (answer, left) = asked(&[refusal.clone(), refusal.clone()]).await;
        assert!(answer.is_err(), "{refusal}");
        assert_eq!((left, begun.elapsed()), (1, Duration::ZERO), "{refusal}");
    }
}
