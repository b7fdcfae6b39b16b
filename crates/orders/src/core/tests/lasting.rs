//! Of a command that shows copies only what it was about outlasts the log.

use bytes::Bytes;

use super::*;
use crate::core::command::{Command, Outcome, Refused};
use crate::core::lasting::{Form, lasting, to_log};
use crate::core::remote::{
    Batch, Held, Origin, Reduced, Reduction, Refill, RemoteEvent, RemoteStep, Shown,
};

const SHOWN: &[u8] = b"provider reference ch_4711";

fn event() -> RemoteEvent {
    let (view, shown) = (Bytes::from_static(SHOWN), Shown::default());
    RemoteEvent {
        sequence: 1,
        order: order_id(1),
        version: 1,
        view,
        shown,
        forks: Vec::new(),
        fault: None,
    }
}

fn reduced() -> Reduced {
    let (view, allowed) = (Some(Bytes::from_static(SHOWN)), Held::default());
    Reduced { order: order_id(1), version: 1, from: 1, terms: 2, allowed, view }
}

/// Every command that shows copies.
fn showing() -> Vec<Command> {
    let origin = Origin { region: RegionNumber::try_from(2).unwrap(), group: 0, epoch: 1 };
    let events = vec![event()];
    let batch = Batch { origin, after: 0, upto: 1, current_as_of_ms: None, events };
    let events = vec![event()];
    let refill = Refill { origin, sweep: None, lowered: 0, held: None, events };
    let reduction = Reduction { of: reduced(), waiting: None, keys: Vec::new() };
    let steps = [
        RemoteStep::Refill(Box::new(refill)),
        RemoteStep::Retry { order: order_id(1), events: vec![event()] },
        RemoteStep::Purge(vec![reduced()]),
        RemoteStep::Reduce(vec![reduction]),
    ];
    let mut all = vec![Command::ApplyRemote(Box::new(batch))];
    all.extend(steps.map(Command::Remote));
    all
}

fn shows(bytes: &[u8]) -> bool {
    bytes.windows(SHOWN.len()).any(|window| window == SHOWN)
}

#[test]
fn what_lasts_shows_nothing_names_the_order_and_holds_to_the_content() {
    for command in showing() {
        let logged = to_log(&command, || [7; 16]);
        assert!(shows(&logged) && Command::decode(&logged) == Some(command.clone()));
        let kept = lasting(&logged).unwrap();
        assert!(!shows(&kept) && kept.len() < logged.len() + 17, "{command:?}");
        let Some(Form::Kept(of, about)) = Form::read(&kept) else { panic!("{command:?}") };
        assert_eq!(of, *blake3::hash(&logged).as_bytes());
        assert!(format!("{about:?}").contains(&format!("{:?}", order_id(1))), "{about:?}");
        // The same content under another blind: nobody can try out what it was.
        assert_ne!(lasting(&to_log(&command, || [8; 16])).unwrap(), kept);
        for bytes in [logged, kept] {
            assert_eq!(Form::read(&bytes).unwrap().write(), bytes);
        }
    }
}

#[test]
fn what_lasts_stays_as_it_is_and_is_no_command() {
    let mut state = State::new(settings());
    let kept = lasting(&to_log(&showing()[0], || [7; 16])).unwrap();
    assert_eq!(lasting(&kept), None);
    assert_eq!(Command::decode(&kept), None);
    // Two frames around one command are no frame.
    assert_eq!(Form::read(&[&[0xb1; 17], &kept[..]].concat()), None);
    // Of what nobody can read nothing but the hash lasts.
    let unread = lasting(&[&[0xb1; 17][..], b"4539 1488 0343 6467"].concat()).unwrap();
    assert_eq!(unread.len(), 33);
    let resume = Command::Resume { order: order_id(1) };
    let logged = to_log(&resume, || panic!("there is nothing to blind"));
    assert_eq!((lasting(&logged), logged), (None, resume.encode()));
    assert_eq!(state.apply(START, resume), Outcome::Refused(Refused::OrderNotFound));
}
