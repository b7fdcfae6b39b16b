//! Leaders that stood still, and wall clocks that jump.

use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::{ReadError, SubmitError};
use crate::testing::counter::Counters;
use crate::testing::{Cluster, eventually, soon};
use crate::timing::Timing;

/// Far beyond an election, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

async fn cluster() -> Cluster<Counters> {
    Cluster::paused(Counters::default).await
}

/// Waits until another node than `old` leads, and has it commit `command`.
async fn overtake(cluster: &Cluster<Counters>, old: hansa_types::id::NodeId, command: &str) {
    let other = || {
        let others = cluster.up().into_iter().filter(|node| *node != old);
        others.into_iter().find(|node| cluster.group(*node).leadership().borrow().mine)
    };
    // Whoever leads now may lead no more when the command arrives: then it took nothing.
    let due = Instant::now() + PATIENCE;
    while Instant::now() < due {
        eventually("another leads", || other().is_some()).await;
        let Some(leader) = other() else { continue };
        match cluster.group(leader).submit(command.to_owned().into(), soon()).await {
            Err(SubmitError::NotLeader { .. }) => {}
            done => return assert!(done.is_ok(), "{done:?}"),
        }
    }
    panic!("nobody led for long enough to take {command}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stood_still_serves_no_stale_read_when_it_wakes() {
    for round in 0..4 {
        let cluster = cluster().await;
        cluster.submit("add a 1").await;
        let old = cluster.leader().await;
        let group = cluster.group(old);
        // A round of ReadIndex is under way when it stops: its answers wait on the wire.
        let mut before = Vec::new();
        for _ in 0..4 {
            let group = group.clone();
            #[expect(clippy::disallowed_methods, reason = "a reader outside every node")]
            let reader = tokio::spawn(async move { group.read(soon(), |m| m.value("a")).await });
            before.push(reader);
            tokio::task::yield_now().await;
        }
        cluster.board.freeze(old);
        overtake(&cluster, old, "add a 10").await;
        // Reads that come before it wakes, and after: none may join the old round.
        let asleep = group.read(soon(), |m| m.value("a"));
        let awake = async {
            tokio::time::sleep(Duration::from_millis(20 * round)).await;
            cluster.board.wake(old);
            let reads = (0..16).map(|_| group.read(soon(), |m| m.value("a")));
            futures::future::join_all(reads).await
        };
        let (asleep, awake) = tokio::join!(asleep, awake);
        for read in awake.into_iter().chain([asleep]) {
            let fresh = matches!(read, Ok(11));
            let refused = matches!(read, Err(ReadError::NotLeader { .. } | ReadError::Deadline));
            assert!(fresh || refused, "{read:?}");
        }
        // Those that came before the write may answer either way.
        for read in before {
            let read = read.await.expect("no panic");
            assert!(!matches!(read, Ok(value) if value != 1 && value != 11), "{read:?}");
        }
        let late = cluster.submit("add a 100").await;
        assert_eq!(late, 111);
        cluster.settled().await;
    }
}

/// Two answers to one entry, given before the others elected another leader, arrive after a read
/// has come: by the first the entry is committed, and openraft takes the second for one to the
/// append that tells of it.
#[tokio::test(start_paused = true)]
async fn answers_from_before_a_read_came_do_not_confirm_it() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let old = cluster.leader().await;
    let group = cluster.group(old);
    let others: Vec<_> = cluster.up().into_iter().filter(|node| *node != old).collect();
    others.iter().for_each(|other| cluster.board.hold_answers(*other, old));
    let written = group.submit("add a 10".into(), soon());
    let story = async {
        tokio::time::sleep(Timing::quick().heartbeat()).await;
        // What it sends now is lost; what was answered lies there unread.
        cluster.board.isolate(old);
        overtake(&cluster, old, "add a 100").await;
        let answers = async {
            for other in &others {
                tokio::time::sleep(Duration::from_millis(1)).await;
                cluster.board.let_go(*other, old);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            cluster.board.heal();
            Instant::now()
        };
        let read = async { (group.read(soon(), |m| m.value("a")).await, Instant::now()) };
        let ((read, told), healed) = tokio::join!(read, answers);
        // Nobody waits any longer for who will not answer it, once it hears of its successor.
        assert!(told < healed + Duration::from_secs(3), "{:?}", told - healed);
        read
    };
    let (written, read) = tokio::join!(written, story);
    assert_eq!(written, Ok(11), "both have it");
    assert!(matches!(read, Err(ReadError::NotLeader { .. })), "{read:?}");
    cluster.settled().await;
}

/// Found by the suite of faults: a call hung at such a leader until the cut was over.
#[tokio::test(start_paused = true)]
async fn who_waits_at_a_leader_that_is_cut_off_is_told_that_it_is_not_known() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let old = cluster.leader().await;
    for other in cluster.up().into_iter().filter(|node| *node != old) {
        cluster.board.cut(old, other);
        cluster.board.cut(other, old);
    }
    let far = Instant::now() + Duration::from_secs(3_600);
    let group = cluster.group(old);
    let told = tokio::time::timeout(PATIENCE, group.submit("add a 10".into(), far)).await;
    // Not the leader, where it was told so before the command came.
    let told = told.expect("it does not wait for the cut's end");
    assert!(matches!(told, Err(SubmitError::Unknown | SubmitError::NotLeader { .. })), "{told:?}");
    cluster.board.heal();
    let after = cluster.submit("add a 100").await;
    assert!([101, 111].contains(&after), "{after}");
    cluster.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_wall_clock_is_wrong_stops_leading_and_does_not_win_again() {
    let cluster = cluster().await;
    let odd = cluster.leader().await;
    cluster.submit("add a 1").await;
    let before = cluster.group(odd).status().log_time;
    cluster.node(odd).clock.set_ahead_ms(300_000);
    eventually("another leads", || cluster.leader_now().is_some_and(|leader| leader != odd)).await;
    // The others leave, one after the other: the odd one's vote is needed, its leading is not.
    let second = cluster.leader().await;
    let third = cluster.up().into_iter().find(|node| *node != odd && *node != second).unwrap();
    cluster.board.cut(second, third);
    cluster.board.cut(third, second);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert!(!cluster.group(odd).leadership().borrow().mine, "it won again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.board.heal();
    cluster.submit("add a 1").await;
    cluster.settled().await;
    let passed = cluster.group(odd).status().log_time.since(before);
    assert!(passed < Duration::from_secs(60), "time followed the odd clock by {passed:?}");
}

#[tokio::test(start_paused = true)]
async fn wall_clocks_that_jump_by_minutes_expire_nothing_early() {
    for ahead in [600_000_i64, -600_000] {
        let cluster = cluster().await;
        let leader = cluster.leader().await;
        let placed = Instant::now();
        let ttl = Duration::from_millis(2_000);
        assert_eq!(cluster.group(leader).submit("after 2000 a 7".into(), soon()).await, Ok(0));
        cluster.up().iter().for_each(|node| cluster.node(*node).clock.set_ahead_ms(ahead));
        // A change of leader too: the next one starts at the last stamp.
        let second = cluster.up().into_iter().find(|node| *node != leader).unwrap();
        cluster.group(leader).transfer_leadership(second).await;
        eventually("the timer", || {
            let fired = |node| cluster.group(node).peek(|m| m.value("a")) == 7;
            cluster.up().into_iter().any(fired)
        })
        .await;
        let took = placed.elapsed();
        assert!(took >= ttl * 10 / 11, "{ahead} ms ahead: after {took:?}");
    }
}

/// Followers that answer each heartbeat, but late, follow: nobody else is elected, and openraft
/// counts no answer that comes after one heartbeat's time.
#[tokio::test(start_paused = true)]
async fn a_group_whose_heartbeats_are_answered_late_goes_on_serving() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let heartbeat = Timing::quick().heartbeat();
    cluster.board.answers_late(heartbeat + heartbeat / 2);
    // Long enough for what was heard before to be over.
    tokio::time::sleep(3 * Timing::quick().election_max()).await;
    for n in 2..=4 {
        assert_eq!(cluster.submit("add a 1").await, n);
        assert_eq!(cluster.read(|m| m.value("a")).await, n);
        tokio::time::sleep(Timing::quick().election_max()).await;
    }
    cluster.settled().await;
}

/// The same after a time in which nobody was heard at all, too short for the others to elect.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_heard_but_hears_nobody_in_time_gives_way() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let old = cluster.leader().await;
    cluster.board.answers_late(Timing::quick().election_max() + Timing::quick().heartbeat());
    // Neither heartbeats nor entries are answered in time: what was heard before is soon over.
    eventually("it is heard no more", || !cluster.group(old).leadership().borrow().mine).await;
    let heartbeat = Timing::quick().heartbeat();
    cluster.board.answers_late(heartbeat + heartbeat / 2);
    assert_eq!(cluster.submit("add a 1").await, 2);
    cluster.settled().await;
}
