//! A file that rotates for ever, one that is full, and one of the former format.

use hansa_node::env::SystemEntropy;
use hansa_types::id::GroupKind;

use super::*;

fn group() -> GroupId {
    GroupId::new(GroupKind::Orders, 0)
}

fn of(hash: u128) -> KeyOf {
    let home = RegionNumber::try_from(1).unwrap();
    KeyOf { subject: SubjectId { home, hash }, generation: 1 }
}

fn newest(ring: &Ring) -> RegionKey {
    ring.newest().unwrap().0
}

/// Rotates at `now_ms` with a window that is over at once.
fn rotate(ring: &mut Ring, now_ms: u64) -> RegionKey {
    let former = newest(ring);
    ring.rotate(former, now_ms, 0, &SystemEntropy::new()).unwrap().key
}

#[test]
fn rotations_never_fill_the_file_and_what_was_destroyed_stays_so() {
    let mut ring = Ring::draw(&SystemEntropy::new(), 0);
    let first = newest(&ring);
    let mut former = first;
    for now in 1..=3 * KEYS_MAX as u64 {
        let key = rotate(&mut ring, now);
        assert!(key > former);
        former = key;
        ring.release(group(), (1, key));
        let due = ring.due(&[group()], 1, now);
        assert_eq!(due.len(), 1);
        ring.destroy(&due, now);
    }
    assert!(ring.keys.len() <= TOMBSTONES_MAX + 1);
    let read = Ring::read(&ring.write()).unwrap();
    assert_eq!(newest(&read), former);
    assert!(matches!(read.secret_of(first), Err(VaultError::Destroyed(_))));
    let stranger = RegionKey::new(former.number() + 1, 5);
    assert!(matches!(read.secret_of(stranger), Err(VaultError::UnknownKey(_))));
}

#[test]
fn a_file_full_of_keys_that_live_still_destroys_and_then_rotates_again() {
    let mut ring = Ring::draw(&SystemEntropy::new(), 0);
    for now in 1..KEYS_MAX as u64 {
        rotate(&mut ring, now);
    }
    let last = newest(&ring);
    let full = ring.rotate(last, 9_999, 0, &SystemEntropy::new());
    assert!(matches!(full, Err(VaultError::Full)));
    ring.release(group(), (1, last));
    let due = ring.due(&[group()], 1, 10_000);
    assert_eq!(due.len(), KEYS_MAX - 1);
    ring.destroy(&due, 10_000);
    assert!(rotate(&mut ring, 10_001) > last);
    assert!(Ring::read(&ring.write()).is_ok());
}

#[test]
fn the_number_of_a_key_goes_on_beyond_sixteen_bits_and_ends_with_a_word() {
    let mut ring = Ring::draw(&SystemEntropy::new(), 0);
    ring.keys[0].0.key = RegionKey::new(u32::from(u16::MAX), 7);
    assert_eq!(rotate(&mut ring, 1).number(), u32::from(u16::MAX) + 1);
    let end = RegionKey::new(RegionKey::NUMBER_MAX, 7);
    ring.keys[1].0.key = end;
    let over = ring.rotate(end, 2, 0, &SystemEntropy::new());
    assert!(matches!(over, Err(VaultError::Full)));
}

#[test]
fn of_more_erasures_than_there_is_room_for_the_first_are_remembered() {
    let mut ring = Ring::draw(&SystemEntropy::new(), 0);
    let key = newest(&ring);
    let all: Vec<_> = (0..=ERASED_MAX as u128).map(|n| (of(n), key)).collect();
    assert_eq!(ring.note_erased(&all), (true, false));
    assert_eq!(ring.erased.len(), ERASED_MAX);
    assert_eq!(ring.note_erased(&all[..9]), (false, true));
    assert!(Ring::read(&ring.write()).is_ok());
}

#[test]
fn a_file_of_the_former_format_is_read_but_for_releases_of_a_life_without_a_name() {
    let mut ring = Ring::draw(&SystemEntropy::new(), 0);
    let (former, key) = (newest(&ring), rotate(&mut ring, 1));
    let text = ring.write();
    let (body, _) = text.trim_end().rsplit_once('\n').unwrap();
    let third = format!("{}\n", body.replacen(MAGIC, FORMER_MAGICS[0], 1));
    assert_eq!(newest(&Ring::read(&format!("{third}sum {}\n", sum(&third))).unwrap()), key);
    assert!(ring.is_written(&format!("{third}sum {}\n", sum(&third))));
    let body = body.replacen(MAGIC, FORMER_MAGICS[1], 1);
    let body = format!("{body}\nreleased {} {key}\n", group().number());
    let read = Ring::read(&format!("{body}sum {}\n", sum(&body))).unwrap();
    assert!(read.secret_of(former).is_ok() && newest(&read) == key);
    assert!(read.released.is_empty());
    let (then, now) = (Named::of(&ring.secret).unwrap().id, Named::of(&read.secret).unwrap().id);
    assert_eq!(then, now);
}

#[test]
fn a_former_file_with_more_tombstones_than_are_kept_rotates() {
    let entropy = SystemEntropy::new();
    let mut ring = Ring::draw(&entropy, 0);
    ring.keys.clear();
    for number in 1..=TOMBSTONES_MAX as u32 + 88 {
        ring.add(&entropy, 0, number);
        ring.keys.last_mut().unwrap().0.state = KeyLife::Destroyed { at_ms: 1 };
    }
    let key = ring.add(&entropy, 2, TOMBSTONES_MAX as u32 + 89).key;
    let text = ring.write();
    let (body, _) = text.trim_end().rsplit_once('\n').unwrap();
    let body = format!("{}\n", body.replacen(MAGIC, FORMER_MAGICS[1], 1));
    let mut read = Ring::read(&format!("{body}sum {}\n", sum(&body))).unwrap();
    let made = rotate(&mut read, 3);
    assert_eq!(made.number(), key.number() + 1);
    assert_eq!(read.keys.len(), TOMBSTONES_MAX + 2);
    let retired = read.keys.iter().find(|(info, _)| info.key == key).unwrap();
    assert!(matches!(retired.0.state, KeyLife::Retired { at_ms: 3, .. }));
}

#[test]
fn what_a_group_dropped_under_a_living_key_is_told_until_that_is_destroyed() {
    let mut ring = Ring::draw(&SystemEntropy::new(), 0);
    let former = newest(&ring);
    assert!(ring.note_dropped(group(), former));
    assert!(!ring.note_dropped(group(), former));
    assert!(!ring.note_dropped(group(), RegionKey::new(9, 9)), "nobody's key");
    let key = rotate(&mut ring, 1);
    assert!(ring.note_dropped(group(), key) && !ring.note_dropped(group(), former));
    assert_eq!(Ring::read(&ring.write()).unwrap().dropped, [(group(), key)].into());
    ring.destroy(&[key], 2);
    assert!(ring.dropped.is_empty());
}
