//! States of the other machines: each is its machine's to the last byte.

use hansa_consensus::inspect::Entry;
use hansa_consensus::{Frozen as _, Machine, Records};
use hansa_ledger::core::inventory::{self, CommandId, Inventory, Receive};
use hansa_ledger::core::payments::{self, Authorize, PaymentKey, Payments};
use hansa_ledger::machine::Batch;
use hansa_orders::core::command::Command;
use hansa_orders::core::contents::Sealed;
use hansa_orders::core::moves;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_region_router::core::directory;
use hansa_types::id::{GroupId, GroupKind, TransferId};
use hansa_types::time::LogTime;

use super::rig::{self, law, number, order};
use crate::findings::{Findings, Place, Stays};
use crate::says::{self, Hearing};

const AT: LogTime = LogTime(1_700_000_000_000);

/// What a machine's log, records and state say once it has applied a command: how much of it is
/// foreign, at the least.
fn told<M: Machine>(mut machine: M, kind: GroupKind, command: Vec<u8>) -> u64 {
    let mut findings = Findings::new(law("us-east", 2));
    let place = Place { file: "x".into(), stays: Stays::Kept };
    let at = || String::new();
    let mut hearing = Hearing { findings: &mut findings, place: &place, at: &at };
    let group = GroupId::new(kind, 0);
    let mut out = Records::new();
    machine.advance(AT, &mut out);
    machine.apply(AT, &command, &mut out);
    let entry =
        |bytes: &[u8]| Entry { index: 1, term: 1, at: None, commands: vec![bytes.to_vec().into()] };
    says::entry(group, &entry(&command), &mut hearing).unwrap();
    let longer = [&command[..], &[0xff]].concat();
    let mut state = Vec::new();
    machine.freeze().write(&mut state).unwrap();
    assert!(says::state(group, &mut &state[..], &mut hearing).unwrap() > 0);
    state.push(0);
    // What is said before a tail is met counts for nothing here.
    let mut other = Findings::new(law("us-east", 2));
    let mut hearing = Hearing { findings: &mut other, place: &place, at: &at };
    assert!(says::entry(group, &entry(&longer), &mut hearing).is_err(), "a tail");
    assert!(says::state(group, &mut &state[..], &mut hearing).is_err(), "a tail");
    findings.settle();
    findings.found().iter().map(|found| found.count).sum()
}

#[test]
fn stock_is_nobodys() {
    let settings = inventory::Settings {
        id_window_ms: 1_000,
        hold_ms_max: 1_000,
        default_warehouse: "main".into(),
    };
    let mut batch = Batch::default();
    batch.push(&inventory::Command::Receive(Receive {
        id: CommandId::Given(TransferId::derive(AT, &[b"x"])),
        sku: "A",
        warehouse: None,
        quantity: 5,
        document: "d",
    }));
    assert_eq!(told(Inventory::new(settings), GroupKind::Inventory, batch.finish()), 0);
}

#[test]
fn money_of_another_regions_order_is_foreign_in_log_and_state() {
    for (region, leaks) in [(2, 0), (1, 2)] {
        let settings = payments::Settings { id_window_ms: 1_000 };
        let mut batch = Batch::default();
        batch.push(&payments::Command::Authorize(Authorize {
            id: TransferId::derive(AT, &[b"x"]),
            payment: PaymentKey(7 << 80),
            order: order(region, 1),
            amount: 5,
            currency: "USD".parse().unwrap(),
            timeout_ms: 0,
        }));
        assert_eq!(told(Payments::new(settings), GroupKind::Payments, batch.finish()), leaks);
    }
}

#[test]
fn what_somebody_brought_along_is_foreign_where_his_law_does_not_have_it_kept() {
    for (residence, leaks) in [("US", 0), ("DE", 4)] {
        let personal = Sealed { nonce: [1; 12], ciphertext: vec![1; 40].into() };
        let of = KeyOf { subject: SubjectId { home: number(2), hash: 7 }, generation: 1 };
        let by = RegionKey::new(1, 7);
        let mint = Some(Wrapped { by, nonce: [2; 12], ciphertext: vec![2; 80].into() });
        let blocks = vec![(order(2, 1), residence.parse().unwrap(), personal)];
        let keep = moves::Keep { of, mint, blocks, from: number(1), dead: 0 };
        let keep = Command::Moves(moves::Step::Keep(Box::new(keep)));
        let machine = OrdersMachine::new(rig::rules(2));
        // The block and the key that opens it, in log and state.
        assert_eq!(told(machine, GroupKind::Orders, keep.encode()), leaks, "{residence}");
    }
}

#[test]
fn the_directory_is_nobodys_and_tells_which_laws_there_were() {
    let genesis = directory::Genesis {
        here: number(2),
        policy: rig::POLICY.to_owned(),
        regions: Vec::new(),
        groups: Vec::new(),
    };
    let command = directory::Command::Bootstrap(Box::new(genesis)).encode().unwrap();
    assert_eq!(told(directory::State::default(), GroupKind::Directory, command.to_vec()), 0);
}
