use std::time::Duration;

use bytes::Bytes;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tokio::time::Instant;

use crate::outcome::{ReadError, SubmitError};
use crate::testing::counter::Counters;
use crate::testing::{Cluster, Settings, eventually, soon};
use crate::timing::Timing;

/// In paused time nobody is late: who leads goes on leading, however busy the machine is.
async fn cluster() -> Cluster<Counters> {
    Cluster::paused(Counters::default).await
}

/// With folders that a test can take away.
async fn with_folders() -> Cluster<Counters> {
    Cluster::with(Settings { disks: None, ..Settings::paused() }, Counters::default).await
}

fn other_than(cluster: &Cluster<Counters>, node: NodeId) -> NodeId {
    cluster.up().into_iter().find(|other| *other != node).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_submitted_command_is_read_back_and_reaches_every_replica() {
    let cluster = cluster().await;
    assert_eq!(cluster.submit("add a 2").await, 2);
    assert_eq!(cluster.submit("add a 3").await, 5);
    assert_eq!(cluster.read(|m| m.value("a")).await, 5);
    cluster.settled().await;
    for node in cluster.ids() {
        assert_eq!(cluster.group(node).peek(|m| m.value("a")), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_names_the_leader() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    let follower = other_than(&cluster, leader);
    let group = cluster.group(follower);
    eventually("the follower knows", || group.leadership().borrow().leader == Some(leader)).await;
    let refused = SubmitError::NotLeader { leader: Some(leader) };
    assert_eq!(group.submit("add a 1".into(), soon()).await, Err(refused));
    let refused = ReadError::NotLeader { leader: Some(leader) };
    assert_eq!(group.read(soon(), |m| m.value("a")).await, Err(refused));
}

#[tokio::test(start_paused = true)]
async fn concurrent_commands_share_entries() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let before = group.status().applied;
    let submits = (0..1_000).map(|_| group.submit("add a 1".into(), soon()));
    let mut values: Vec<i64> =
        futures::future::join_all(submits).await.into_iter().map(Result::unwrap).collect();
    values.sort_unstable();
    assert_eq!(values, (1..=1_000).collect::<Vec<_>>(), "each applied once, each answered its own");
    let entries = group.status().applied - before;
    assert!(entries < 100, "{entries} entries for 1,000 commands");
}

#[tokio::test(start_paused = true)]
async fn commands_submitted_together_are_one_entry_in_order() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let before = group.status().applied;
    let commands: Vec<Bytes> = (1..=5).map(|n| Bytes::from(format!("add a {n}"))).collect();
    let outcomes = group.submit_many(commands, soon()).await;
    assert_eq!(outcomes, Ok(vec![1, 3, 6, 10, 15]));
    assert_eq!(group.status().applied, before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_and_loses_nothing_acknowledged() {
    let mut cluster = cluster().await;
    let first = cluster.leader().await;
    for _ in 0..20 {
        cluster.submit("add a 1").await;
    }
    cluster.kill(first).await;
    let second = cluster.leader().await;
    assert_ne!(first, second);
    assert_eq!(cluster.read(|m| m.value("a")).await, 20);
    cluster.submit("add b 1").await;
    cluster.boot(first).await;
    cluster.settled().await;
    assert_eq!(cluster.group(first).peek(|m| (m.value("a"), m.value("b"))), (20, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_all_nodes_keeps_every_command() {
    let mut cluster = cluster().await;
    for n in 0..30 {
        cluster.submit(format!("add k{} 1", n % 3)).await;
    }
    cluster.settled().await;
    let before = cluster.group(NodeId(1)).status();
    cluster.kill_all().await;
    for node in cluster.ids() {
        cluster.boot(node).await;
    }
    assert_eq!(cluster.read(|m| m.value("k0") + m.value("k1") + m.value("k2")).await, 30);
    cluster.settled().await;
    let after = cluster.group(cluster.leader().await).status();
    assert!(after.term > before.term, "a restarted leader is elected anew");
    assert_eq!(after.state_hash, before.state_hash);
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_serves_no_read_and_acknowledges_nothing() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let old = cluster.leader().await;
    cluster.board.isolate(old);
    let deadline = Instant::now() + Duration::from_millis(300);
    let read = cluster.group(old).read(deadline, |m| m.value("a")).await;
    assert!(matches!(read, Err(ReadError::Deadline | ReadError::NotLeader { .. })), "{read:?}");
    let deadline = Instant::now() + Duration::from_millis(300);
    let write = cluster.group(old).submit("add a 10".into(), deadline).await;
    assert!(
        matches!(write, Err(SubmitError::Unknown | SubmitError::NotLeader { .. })),
        "{write:?}"
    );
    eventually("another leader", || cluster.leader_now().is_some_and(|now| now != old)).await;
    cluster.board.heal();
    cluster.settled().await;
    let value = cluster.read(|m| m.value("a")).await;
    assert!(value == 1 || value == 11, "applied once or not at all: {value}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whom_nobody_follows_says_so_before_its_callers_run_out_of_time() {
    let cluster = cluster().await;
    let old = cluster.leader().await;
    cluster.board.isolate(old);
    let mut leadership = cluster.group(old).leadership();
    let refused = leadership.wait_for(|now| !now.mine && now.leader.is_none());
    tokio::time::timeout_at(soon(), refused).await.expect("it gives up").expect("it runs");
    let write = cluster.group(old).submit("add a 1".into(), soon()).await;
    assert_eq!(write, Err(SubmitError::NotLeader { leader: None }));
    let read = cluster.group(old).read(soon(), |m| m.value("a")).await;
    assert_eq!(read, Err(ReadError::NotLeader { leader: None }));
    cluster.board.heal();
    cluster.submit("add a 1").await;
    cluster.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_due_timer_fires_without_a_command() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    cluster.group(leader).submit("after 50 a 7".into(), soon()).await.unwrap();
    eventually("the timer", || cluster.group(leader).peek(|m| m.value("a")) == 7).await;
    let entries = cluster.group(leader).status().applied;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cluster.group(leader).status().applied, entries, "nothing due, no tick");
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_on_demand_and_on_drain() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let first = cluster.leader().await;
    let second = other_than(&cluster, first);
    cluster.group(first).transfer_leadership(second).await;
    eventually("the chosen one leads", || cluster.leader_now() == Some(second)).await;
    let before = Instant::now();
    cluster.node(second).host.drain().await;
    assert!(before.elapsed() < Duration::from_secs(2));
    assert!(!cluster.group(second).leadership().borrow().mine);
    cluster.submit("add a 1").await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_over_what_was_won_a_moment_ago() {
    let cluster = cluster().await;
    cluster.submit("add a 1").await;
    let first = cluster.leader().await;
    let second = other_than(&cluster, first);
    let mut won = cluster.group(second).leadership();
    cluster.group(first).transfer_leadership(second).await;
    let won = won.wait_for(|now| now.leader == Some(second)).await.map(|now| now.mine);
    assert!(!won.unwrap(), "it serves already");
    let (handed, kept) = cluster.node(second).host.drain().await;
    assert_eq!((handed.len(), kept.len()), (1, 0));
    cluster.submit("add a 1").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_early() {
    let timing = Timing { queue_commands_max: 10, ..Timing::quick() };
    let settings = Settings { timing, ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let submits = (0..2_000).map(|_| group.submit("add a 1".into(), soon()));
    let answers = futures::future::join_all(submits).await;
    let count = |what: fn(&Result<i64, SubmitError>) -> bool| {
        answers.iter().filter(|answer| what(answer)).count() as i64
    };
    let done = count(|answer| answer.is_ok());
    // Only if another node came to lead meanwhile.
    let unknown = count(|answer| matches!(answer, Err(SubmitError::Unknown)));
    assert!(count(|answer| matches!(answer, Err(SubmitError::Overloaded { .. }))) > 0);
    let value = cluster.read(|m| m.value("a")).await;
    assert!((done..=done + unknown).contains(&value), "{value} of {done} and perhaps {unknown}");
}

#[tokio::test(start_paused = true)]
async fn a_passed_deadline_leaves_the_outcome_unknown() {
    let cluster = cluster().await;
    let mut answer = Err(SubmitError::NotLeader { leader: None });
    while matches!(answer, Err(SubmitError::NotLeader { .. })) {
        cluster.board.heal();
        let leader = cluster.leader().await;
        cluster.board.isolate(leader);
        let deadline = Instant::now() + Duration::from_millis(10);
        answer = cluster.group(leader).submit("add a 1".into(), deadline).await;
    }
    assert_eq!(answer, Err(SubmitError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn many_groups_share_one_log() {
    let groups: Vec<GroupId> = (0..4).map(|n| GroupId::new(GroupKind::Inventory, n)).collect();
    let settings = Settings { groups: groups.clone(), ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    for (n, id) in groups.iter().enumerate() {
        let end = soon();
        let outcome = loop {
            let mut leads = None;
            eventually("a leader of each group", || {
                let up = cluster.ids();
                let mine =
                    |node: &&NodeId| cluster.node(**node).groups[id].leadership().borrow().mine;
                leads = up.iter().find(mine).copied();
                leads.is_some()
            })
            .await;
            let group = &cluster.node(leads.unwrap()).groups[id];
            match group.submit(format!("add a {n}").into(), end).await {
                // Leaders change on a busy machine; nothing was proposed then.
                Err(SubmitError::NotLeader { .. }) => {}
                outcome => break outcome,
            }
        };
        assert_eq!(outcome, Ok(n as i64), "groups do not see each other");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_node_is_refused() {
    let mut cluster = with_folders().await;
    cluster.submit("add a 1").await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    let victim = other_than(&cluster, leader);
    cluster.kill(victim).await;
    std::fs::remove_dir_all(cluster.dir(victim)).unwrap();
    cluster.boot(victim).await;
    eventually("the wiped node ends", || !cluster.node(victim).exit.whys().is_empty()).await;
    cluster.submit("add a 1").await;
    assert_eq!(cluster.group(victim).peek(|m| m.value("a")), 0, "it was sent nothing");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_log_alone_does_not_start() {
    let mut cluster = with_folders().await;
    cluster.submit("add a 1").await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    std::fs::remove_dir_all(cluster.dir(leader).join("wal")).unwrap();
    let refused = cluster.try_boot(leader).await.err();
    assert!(matches!(refused, Some(crate::OpenError::LogMissing { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_timer_is_not_set_back_by_a_change_of_leader() {
    let cluster = cluster().await;
    assert_eq!(cluster.submit("after 3600000 a 7").await, 0);
    let group = cluster.group(cluster.leader().await);
    assert_eq!(group.submit_many(Vec::new(), soon()).await, Ok(Vec::new()));
    let placed = group.status().log_time;
    eventually("an idle leader's time is in the log", || {
        group.status().log_time.since(placed) >= Duration::from_secs(4)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_node_is_refused_by_a_follower_that_never_needed_it() {
    let mut cluster = with_folders().await;
    cluster.submit("add a 1").await;
    let leader = cluster.leader().await;
    let followers: Vec<NodeId> = cluster.ids().into_iter().filter(|n| *n != leader).collect();
    let [watcher, victim] = followers[..] else { panic!("two followers") };
    let book = |node| &cluster.node(node).host;
    eventually("the followers have met", || {
        book(watcher).has_met(victim) && book(victim).has_met(watcher)
    })
    .await;
    cluster.kill(victim).await;
    cluster.kill(leader).await;
    std::fs::remove_dir_all(cluster.dir(victim)).unwrap();
    cluster.boot(victim).await;
    eventually("the wiped node ends", || !cluster.node(victim).exit.whys().is_empty()).await;
    assert!(cluster.leader_now().is_none(), "no quorum with one that forgot");
}
