use super::*;

type Answer = oneshot::Receiver<Result<u32, SubmitError>>;

fn queue(commands: usize, bytes: usize) -> Queue<u32> {
    let queue = Queue::new(Bounds { commands, bytes });
    queue.set_door(Door::Open);
    queue
}

fn push(queue: &Queue<u32>, bytes: usize) -> Result<Answer, SubmitError> {
    let (tx, rx) = oneshot::channel();
    let commands = Commands::One(Bytes::from(vec![0; bytes]));
    queue.push(Item { commands, reply: Reply::One(tx) }).map(|()| rx)
}

#[test]
fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let queue = queue(2, 1 << 20);
    let _kept = (push(&queue, 1).unwrap(), push(&queue, 1).unwrap());
    queue.note_rate(100, Duration::from_secs(1));
    let Err(SubmitError::Overloaded { retry_after }) = push(&queue, 1) else { panic!("entered") };
    assert!(retry_after >= Duration::from_millis(10) && retry_after <= Duration::from_secs(2));
}

#[test]
fn bytes_are_bounded_as_well_as_commands() {
    let queue = queue(100, 1_000);
    let _kept = push(&queue, 900).unwrap();
    assert!(matches!(push(&queue, 200), Err(SubmitError::Overloaded { .. })));
}

#[test]
fn waiting_commands_leave_together_oldest_first() {
    let queue = queue(100, 1 << 20);
    let _kept: Vec<_> = (1..=5).map(|n| push(&queue, n).unwrap()).collect();
    let sizes: Vec<_> =
        queue.take_entry(false).iter().map(|item| item.commands.as_slice()[0].len()).collect();
    assert_eq!(sizes, [1, 2, 3, 4, 5]);
    assert!(queue.take_entry(false).is_empty());
}

#[test]
fn little_waits_behind_an_entry_that_is_on_its_way() {
    let queue = queue(100, 1 << 20);
    let mut kept = vec![push(&queue, 1).unwrap()];
    assert!(queue.take_entry(true).is_empty());
    kept.push(push(&queue, BEHIND_BYTES_MIN).unwrap());
    assert_eq!(queue.take_entry(true).len(), 2, "much does not");
    kept.extend((0..BEHIND_COMMANDS_MIN).map(|_| push(&queue, 1).unwrap()));
    assert_eq!(queue.take_entry(true).len(), BEHIND_COMMANDS_MIN);
}

#[test]
fn an_entry_never_exceeds_its_cap() {
    let queue = queue(100_000, usize::MAX);
    let _kept: Vec<_> = (0..4).map(|_| push(&queue, COMMAND_BYTES_MAX).unwrap()).collect();
    assert_eq!(queue.take_entry(false).len(), 1, "two would pass the cap with their framing");
    assert_eq!(queue.take_entry(false).len(), 1);
}

#[test]
fn a_command_that_no_entry_holds_is_too_large() {
    let queue = queue(100, usize::MAX);
    assert_eq!(push(&queue, COMMAND_BYTES_MAX + 1).err(), Some(SubmitError::TooLarge));
}

#[test]
fn nobody_pays_for_a_caller_that_has_gone() {
    let queue = queue(100, 1 << 20);
    drop(push(&queue, 1).unwrap());
    let _kept = push(&queue, 2).unwrap();
    assert_eq!(queue.take_entry(false).len(), 1);
}

#[test]
fn closing_the_door_refuses_what_waits_and_what_comes() {
    let queue = queue(100, 1 << 20);
    let mut waits = push(&queue, 1).unwrap();
    let leader = Some(NodeId(3));
    queue.set_door(Door::NotLeader(leader));
    assert_eq!(waits.try_recv().unwrap(), Err(SubmitError::NotLeader { leader }));
    assert_eq!(push(&queue, 1).err(), Some(SubmitError::NotLeader { leader }));
    queue.set_door(Door::Stopped);
    queue.set_door(Door::Open);
    assert_eq!(push(&queue, 1).err(), Some(SubmitError::Stopped), "a stop is final");
}
