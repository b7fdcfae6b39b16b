//! A machine's parts: each with its own handle on the one log.

use bytes::Bytes;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::limits::COMMAND_BYTES_MAX;
use hansa_types::time::LogTime;
use openraft::EntryPayload;

use crate::archive::ArchiveError;
use crate::batch::Batch;
use crate::machine::{Frozen as _, Machine as _, ThawError};
use crate::pending::Pending;
use crate::queue::{Bounds, Door, Queue};
use crate::raft::{Entry, log_id};
use crate::replica::{Cell, Replica as _};
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::pair::{Came, NOTED, Notes, Pair};
use crate::testing::{Cluster, Settings, group_id, soon};
use crate::timing::Timing;
use crate::version::Unread;
use crate::{Archived, Group, SubmitError};

fn notes_id() -> GroupId {
    GroupId::new(GroupKind::Inventory, 0)
}

/// Handles of a node on both parts.
fn parts(cluster: &Cluster<Pair>, node: NodeId) -> (Group<Counters>, Group<Notes>) {
    let whole = cluster.group(node);
    (whole.part(group_id()).unwrap(), whole.part(notes_id()).unwrap())
}

async fn leading(cluster: &Cluster<Pair>) -> (Group<Counters>, Group<Notes>) {
    parts(cluster, cluster.leader().await)
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_command_goes_to_who_sent_it() {
    let cluster = Cluster::paused(Pair::both).await;
    cluster.submit("none").await;
    let whole = cluster.group(cluster.leader().await);
    let (counters, notes) = leading(&cluster).await;
    assert_eq!((counters.id(), counters.log()), (group_id(), group_id()));
    assert_eq!((notes.id(), notes.log()), (notes_id(), group_id()));
    let before = whole.status().applied;
    let texts = |all: &[&'static str]| all.iter().map(|text| Bytes::from(*text)).collect();
    let (first, counted, noted, one, last) = tokio::join!(
        whole.submit("add a 1".into(), soon()),
        counters.submit_many(texts(&["add a 1", "add b 7"]), soon()),
        notes.submit_many(texts(&["x", "", "y"]), soon()),
        notes.submit("z".into(), soon()),
        counters.submit("add a 1".into(), soon()),
    );
    assert_eq!((first, counted), (Ok(Came::Counted(1)), Ok(vec![2, 7])));
    assert_eq!((noted, one), (Ok(vec![Some(1), None, Some(2)]), Ok(Some(3))));
    assert_eq!(last, Ok(3));
    assert_eq!(whole.status().applied, before + 1, "one entry has them all");
    let texts = notes.read(soon(), |notes| notes.texts.clone()).await.unwrap();
    assert_eq!(texts, ["x", "y", "z"], "a read sees what was acknowledged before it");
    let (seen, at) = counters.read_at(soon(), |state, at| (state.value("a"), at)).await.unwrap();
    assert_eq!((seen, at.state_hash), (3, whole.status().state_hash), "the whole's hash");
}

#[tokio::test(start_paused = true)]
async fn one_part_never_shows_the_others_records() {
    let cluster = Cluster::paused(Pair::both).await;
    let (counters, notes) = leading(&cluster).await;
    for name in ["k", "l"] {
        cluster.submit(format!("add {name} 9")).await;
        cluster.submit(format!("close {name}")).await;
    }
    notes.submit("k".into(), soon()).await.unwrap();
    let mine = |found: Result<Option<Bytes>, ArchiveError>| {
        found.unwrap().map(|value| u64::from_le_bytes(value[..].try_into().unwrap()))
    };
    assert_eq!(CLOSED, NOTED);
    // From memory, then from the disk.
    for durable in [false, true] {
        if durable {
            counters.checkpoint().await;
        }
        assert_eq!(mine(counters.archive_get(CLOSED, b"k")), Some(9));
        assert_eq!(mine(notes.archive_get(NOTED, b"k")), Some(1));
        assert_eq!(mine(notes.archive_get(NOTED, b"l")), None);
        assert_eq!(counters.archive_scan(CLOSED, b"", 10).unwrap().len(), 2);
        assert_eq!(notes.archive_scan(NOTED, b"", 10).unwrap().len(), 1);
        let both = |of: &Archived| of.get_many(NOTED, &[b"l", b"k"]).unwrap();
        let counted = counters.archived(soon(), both).await.unwrap();
        let noted = notes.archived(soon(), both).await.unwrap();
        assert_eq!(counted.into_iter().map(|of| mine(Ok(of))).collect::<Vec<_>>(), [Some(9); 2]);
        assert_eq!(noted.into_iter().map(|of| mine(Ok(of))).collect::<Vec<_>>(), [None, Some(1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_refuses_the_commands_of_every_part() {
    let cluster = Cluster::paused(Pair::both).await;
    let leader = cluster.leader().await;
    let other = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
    cluster.submit("add a 1").await;
    cluster.settled().await;
    let (counters, notes) = parts(&cluster, other);
    let refused = SubmitError::NotLeader { leader: Some(leader) };
    assert_eq!(counters.submit("add a 1".into(), soon()).await, Err(refused.clone()));
    assert_eq!(notes.submit("x".into(), soon()).await, Err(refused));
    assert_eq!(counters.peek(|counters| counters.value("a")), 1);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_a_machine_lacks_has_no_handle() {
    let cluster = Cluster::paused(Pair::without_notes).await;
    let leader = cluster.leader().await;
    assert!(cluster.group(leader).part::<Notes>(notes_id()).is_none());
    assert!(cluster.group(leader).part::<Counters>(group_id()).is_some());
    assert_eq!(cluster.submit(&b"\xc1x"[..]).await, Came::Noted(None), "an outcome all the same");
}

#[tokio::test(start_paused = true)]
async fn parts_outlast_power_cuts_and_a_newcomer_gets_them_all() {
    let timing = Timing { checkpoint_entries: 8, ..Timing::quick() };
    let settings = Settings { timing, ..Settings::paused() };
    let mut cluster = Cluster::with(settings, Pair::both).await;
    for round in 1..=3_usize {
        for n in 0..10 {
            cluster.submit("add a 1").await;
            let (_, notes) = leading(&cluster).await;
            let noted = notes.submit(format!("{round}-{n}").into(), soon()).await;
            assert_eq!(noted, Ok(Some((round - 1) * 10 + n + 1)));
        }
        cluster.power_cut(round as u64).await;
        for node in cluster.ids() {
            cluster.boot(node).await;
        }
        let (counters, notes) = leading(&cluster).await;
        let counted = counters.read(soon(), |state| state.value("a")).await.unwrap();
        assert_eq!(counted, round as i64 * 10);
        assert_eq!(notes.peek(|notes| notes.texts.len()), round * 10);
    }
    let whole = |node: &NodeId| cluster.group(*node).status().purged.is_none();
    assert!(!cluster.up().iter().any(whole), "nobody has the whole log any more");
    cluster.join(NodeId(4)).await;
    cluster.want(&[1, 2, 3, 4]);
    cluster.members_are(&[1, 2, 3, 4]).await;
    cluster.settled().await;
    let (counters, notes) = parts(&cluster, NodeId(4));
    assert_eq!(counters.peek(|state| state.value("a")), 30);
    assert_eq!(notes.peek(|notes| notes.texts.last().cloned()), Some("3-9".into()));
    assert_eq!(notes.archive_scan(NOTED, b"", 100).unwrap().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_groups_version_is_raised_through_any_part() {
    let cluster = Cluster::paused(Pair::both).await;
    cluster.submit("add a 1").await;
    let (counters, notes) = leading(&cluster).await;
    assert_eq!(notes.raise_version(2, soon()).await, Ok(2));
    assert_eq!((notes.status().version, counters.status().version), (2, 2));
    assert_eq!(counters.submit("add a -5".into(), soon()).await, Ok(0), "by version 2");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_part_of_a_group_that_stops_is_told_that_it_is_not_known() {
    let mut cluster = Cluster::paused(Pair::both).await;
    cluster.submit("add a 1").await;
    let leader = cluster.leader().await;
    let (_, notes) = parts(&cluster, leader);
    // Nothing is committed any more.
    cluster.board.isolate(leader);
    let (answer, many, ()) = tokio::join!(
        notes.submit("x".into(), soon()),
        notes.submit_many(vec!["y".into(), "z".into()], soon()),
        async {
            // By then both are on their way.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            cluster.kill(leader).await;
        },
    );
    assert_eq!((answer, many), (Err(SubmitError::Unknown), Err(SubmitError::Unknown)));
}

#[test]
fn nobody_pays_for_a_caller_of_a_part_that_has_gone() {
    use crate::part::{Access, Through, Whole};

    let queue = std::sync::Arc::new(Queue::new(Bounds { commands: 10, bytes: 8 << 20 }));
    queue.set_door(Door::Open);
    let cell = Cell::new(group_id(), Pair::both(), Pending::new(false));
    let whole = Whole { cell: cell.into(), queue: queue.clone() };
    let through = Through::<Pair> { whole: std::sync::Arc::new(whole) };
    let notes: &dyn Access<Notes> = &through;
    drop(notes.submit("gone".into()).unwrap());
    drop(notes.submit_many(vec!["gone".into()]).unwrap());
    let _waits = notes.submit("x".into()).unwrap();
    let largest = |bytes: usize| notes.submit(vec![b'x'; bytes].into());
    assert!(largest(COMMAND_BYTES_MAX - 1).is_ok(), "and at once not waited for any more");
    let too_large = largest(COMMAND_BYTES_MAX).err();
    assert_eq!(too_large, Some(SubmitError::TooLarge), "the tag counts");
    let taken = queue.take_entry(false);
    let commands: Vec<_> = taken.iter().flat_map(|item| item.commands.as_slice()).collect();
    assert_eq!(commands, [&b"\xc1x"[..]], "behind its tag");
    queue.set_door(Door::NotLeader(None));
    let closed = SubmitError::NotLeader { leader: None };
    assert_eq!(notes.submit("late".into()).err(), Some(closed));
}

#[test]
fn no_machine_with_other_parts_takes_a_machines_place() {
    for (has, comes) in [
        (Pair::both as fn() -> Pair, Pair::without_notes as fn() -> Pair),
        (Pair::without_notes, Pair::both),
    ] {
        let cell = Cell::new(group_id(), has(), Pending::new(false));
        let mut state = Vec::new();
        comes().freeze().write(&mut state).unwrap();
        let position = Cell::new(group_id(), comes(), Pending::new(false)).position();
        let thawed = cell.thaw(&position, &mut &state[..]);
        assert!(matches!(thawed, Err(ThawError::Parts)), "{thawed:?}");
        let begin = Batch::begin(LogTime(9), &Bytes::from(comes().beginning().unwrap()));
        let begin = Entry { log_id: log_id(1, 1), payload: EntryPayload::Normal(begin) };
        assert_eq!(cell.apply(begin).err(), Some(Unread::Parts(group_id())));
        assert!(!cell.begun() && cell.position().applied.is_none(), "nothing has changed");
    }
}
