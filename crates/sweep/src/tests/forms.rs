//! Files that no machine writes: each format by itself.

use std::path::Path;
use std::sync::Arc;

use hansa_backup::manifest::{FORMAT, Group, Manifest, Part, PartKind, hex};
use hansa_backup::part;
use hansa_consensus::inspect::{self, ArchiveReader};
use hansa_ledger::core::kernel::{Code, Origin, Posting, Reference};
use hansa_types::id::{AccountId, OrderId, TransferId};
use hansa_types::time::LogTime;
use hansa_views::memory::MemoryView;
use hansa_views::{Batch, View};
use hansa_wal::fs::{Fs, SimFs};

use super::rig::{self, DE, Rig, US, batch, foreign, law, order, swept, view};
use crate::formats::{metrics, trace, view as rows};
use crate::{Findings, Root, Sweep};

fn empty() -> SimFs {
    let disk = SimFs::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk
}

/// A file by itself; what is foreign in it, and what is unexplained.
fn alone(name: &str, content: &[u8]) -> (u64, usize) {
    let disk = empty();
    rig::write(&disk, &Path::new("/data").join(name), content);
    let sweep = swept(&disk, Path::new("/data"));
    (foreign(&sweep, |_| true), sweep.findings.unexplained.len())
}

fn said(look: impl FnOnce(&mut Findings)) -> (u64, usize) {
    let mut findings = Findings::new(law("us-east", 2));
    look(&mut findings);
    findings.settle();
    let count = findings.found().iter().map(|found| found.count).sum();
    (count, findings.unexplained.len())
}

#[test]
fn a_provider_journal_names_orders_and_charges_of_others_are_foreign() {
    let (ours, theirs) = (order(2, 1), order(1, 1));
    let good = format!("charge pay-{ours} 5 sbx-ok-12USD-0f\nvoid pay-{ours}\n");
    assert_eq!(alone("sandbox.journal", good.as_bytes()), (0, 0));
    let torn = format!("{good}charge pay-?\nvoid pay-{ours}\n");
    assert_eq!(alone("sandbox.journal", torn.as_bytes()), (0, 0));
    let leak = format!("{good}charge pay-{theirs} 5 sbx-ok-12EUR-0f\n");
    assert_eq!(alone("sandbox.journal", leak.as_bytes()), (1, 0));
    let strange = format!("{good}Ada Lovelace, 1 Secret Street\n");
    assert_eq!(alone("sandbox.journal", strange.as_bytes()), (0, 1));
}

#[test]
fn a_settlement_is_read_line_by_line() {
    let (ours, theirs) = (order(2, 1), order(1, 1));
    let header = "key,kind,amount,currency,time,reference\n";
    let good = format!("{header}pay-{ours},capture,12,USD,5,sbx-ok-12USD-0f\n");
    assert_eq!(alone("settlement.csv", good.as_bytes()), (0, 0));
    let leak = format!("{good}pay-{theirs},capture,12,EUR,5,sbx-ok-12EUR-0f\n");
    assert_eq!(alone("settlement.csv", leak.as_bytes()), (1, 0));
    assert_eq!(alone("settlement.csv", b"name,address\n"), (0, 1));
}

#[test]
fn certificates_policies_and_locks_have_nothing_beside_themselves() {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(alone("node.crt", pem.as_bytes()), (0, 0));
    assert_eq!(alone("node.crt", format!("{pem}Ada Lovelace\n").as_bytes()), (0, 1));
    assert_eq!(alone("residency.toml", rig::POLICY.as_bytes()), (0, 0));
    assert_eq!(alone("residency.toml", b"customers = ['Ada']\n"), (0, 1));
    assert_eq!(alone("vault.lock", b""), (0, 0));
    assert_eq!(alone("vault.lock", b"x"), (0, 1));
    assert_eq!(alone("vault.key", b"hansa-vault-1 00ff\n").1, 1, "another release's");
    assert_eq!(alone("customers.csv", b"Ada,Lovelace\n"), (0, 1));
}

#[test]
fn what_a_crash_left_of_a_small_file_is_read_as_that_file() {
    for name in ["identity", "anchors", "wal/FORMAT", "groups/orders-0/STOPPED"] {
        let name = format!("{name}.tmp");
        assert_eq!((alone(&name, b""), alone(&name, &[0; 24])), ((0, 0), (0, 0)), "{name}");
    }
    assert_eq!(alone("groups/orders-0/FORGOTTEN.tmp", b"7"), (0, 0));
    assert_eq!(alone("groups/orders-0/STOPPED.tmp", b"its state differs"), (0, 0));
    for name in ["identity", "wal/FORMAT", "groups/orders-0/FORGOTTEN", "customers"] {
        assert_eq!(alone(&format!("{name}.tmp"), b"Ada Lovelace").1, 1, "{name}");
    }
}

#[test]
fn what_was_set_aside_as_damaged_is_named_as_what_it_is() {
    let until = "set aside until a person";
    for name in ["groups/orders-0/00000000000000000007.damaged", "anchors.damaged"] {
        let disk = empty();
        rig::write(&disk, &Path::new("/data").join(name), b"HANSACKP and no more");
        let sweep = swept(&disk, Path::new("/data"));
        let [found] = &sweep.findings.unexplained[..] else { panic!("one file") };
        assert_eq!(found.file, name);
        assert!(found.why.starts_with(until), "{}", found.why);
    }
}

#[test]
fn a_trace_names_machines_and_orders_and_nothing_of_people() {
    let lines = |text: &str| said(|to| trace::lines("node.log", text, to));
    let good = format!(
        "2026-11-21T17:31:46.123456Z  INFO hansa_orders: accepted order={} took_ms=12 \
         head=6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\n\
         {{\"timestamp\":\"2026-11-21T17:31:46Z\",\"level\":\"INFO\",\"message\":\"elected\"}}\n",
        order(1, 1)
    );
    assert_eq!(lines(&good), (0, 0));
    let leak = |text: &str| lines(&format!("2026-11-21T17:31:46.1Z INFO x: {text}\n"));
    assert_eq!(leak("mail=ada@lovelace.example").0, 1);
    assert_eq!(leak("email=none").0, 1, "the field alone");
    assert_eq!(leak("token tok_visa").0, 1);
    assert_eq!(leak("card=4111111111111111").0, 1);
    let bytes = view(7, DE, &super::BOTH);
    assert!(leak(&format!("envelope={}", hex(&bytes))).0 >= 2, "a view in hex");
    assert!(leak(&format!("envelope={}", base64(&bytes))).0 >= 2, "a view in base64");
    assert_eq!(leak(&"QUJD".repeat(40)).1, 1, "nobody knows what that says");
    assert_eq!(lines("Ada Lovelace lives here\n").1, 1, "no line of a log");
    let span = r#"{"attributes":[{"key":"customer_id","value":{"stringValue":"17850"}}]}"#;
    assert_eq!(lines(&format!("{span}\n")).0, 1);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..1 + three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for n in 0..=three.len() {
            out.push(char::from(DIGITS[(word >> (18 - 6 * n) & 63) as usize]));
        }
    }
    out
}

#[test]
fn a_page_of_metrics_has_figures_and_closed_labels() {
    let page = |text: &str| said(|to| metrics::page("metrics", text, to));
    let good = "# TYPE hansa_calls_total counter\nhansa_calls_total{method=\"PlaceOrder\"} 7\n";
    assert_eq!(page(good), (0, 0));
    assert_eq!(page("hansa_up 1\nAda 1\n"), (0, 1));
    assert_eq!(page("hansa_calls_total{customer_id=\"17850\"} 1\n").0, 1);
    assert_eq!(page("hansa_calls_total{who=\"ada@lovelace.example\"} 1\n").0, 1);
}

#[test]
fn a_view_is_read_row_by_row_and_its_engines_files_are_searched() {
    let leak = view(7, DE, &super::BOTH);
    let engine = [b"sled".as_slice(), &leak, &[0; 50]].concat();
    assert!(alone("views/payments-0-entries/db", &engine).0 >= 2);
    assert_eq!(alone("views/payments-0-entries/db", &view(7, DE, &[])), (0, 0));
    let account = |name: &str| AccountId::derive(&[name.as_bytes()]);
    let posting = Posting {
        id: TransferId::derive(LogTime(5), &[b"capture"]),
        at: LogTime(5),
        debit: account("funds"),
        credit: account("revenue"),
        amount: 700,
        code: Code(1),
        reference: Reference(7),
        origin: Origin::Move,
    };
    let rows = |value: &[u8], of: OrderId| {
        let kept: Arc<dyn View> = Arc::new(MemoryView::default());
        let mut put = Batch::default();
        let key = [posting.debit.to_bytes().as_slice(), &5_u64.to_be_bytes()].concat();
        put.put(key, value.to_vec());
        kept.apply(put, 1).unwrap();
        let source = rows::Source { folder: "views/payments-0-entries".into(), view: kept };
        said(|to| {
            to.payment(posting.reference.0, of);
            assert_eq!(rows::rows(&source, None, to), Ok(None));
        })
    };
    let entry = postcard::to_allocvec(&[(5_u64, posting)][..]).unwrap();
    assert_eq!(rows(&entry, order(2, 1)), (0, 0));
    assert_eq!(rows(&entry, order(1, 1)), (1, 0), "money of another region's order");
    assert_eq!(rows(b"Ada Lovelace", order(2, 1)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_order_is_found_in_a_backup_and_a_changed_part_is_unexplained() {
    for (classes, leaks) in [(&[][..], false), (&super::BOTH[..], true)] {
        let rig = Rig::start().await;
        rig.submit(&rig::own(1, US)).await;
        rig.submit(&batch(1, &[(7, view(7, DE, classes))])).await;
        let (disk, dir) = rig.stop().await;
        let backup = Path::new("/backup");
        let group = dir.join("groups/orders-0");
        copy_out(&disk, &group, backup);
        let sweep = swept(&disk, backup);
        assert_eq!(sweep.findings.unexplained, []);
        for part in ["state", "entries"] {
            let found = foreign(&sweep, |found| found.file.ends_with(part));
            assert_eq!(found > 0, leaks, "{part}");
        }
        for part in ["state", "entries", "records"] {
            let fork = disk.fork(1);
            rig::plant(&fork, &backup.join("orders-0").join(part), rig::Flip::Longer);
            assert_eq!(swept(&fork, backup).findings.unexplained.len(), 1, "{part}");
        }
    }
}

/// Makes a backup of one group from its files.
fn copy_out(disk: &SimFs, group: &Path, to: &Path) {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let newest = disk.list(group).unwrap().into_iter().rfind(|name| name.ends_with(".ckpt"));
    let state = disk.bytes(&group.join(newest.unwrap())).unwrap();
    let mut files = vec![(PartKind::State, part::head(PartKind::State).to_vec())];
    files[0].1.extend_from_slice(&part::frame(0, &state));
    files.push((PartKind::Records, part::head(PartKind::Records).to_vec()));
    files.push((PartKind::Entries, part::head(PartKind::Entries).to_vec()));
    let archive = ArchiveReader::open(&fs, &group.join(inspect::ARCHIVE)).unwrap();
    for chunk in 0..archive.chunks().0 {
        let bytes = archive.entries(chunk).unwrap().unwrap();
        files[2].1.extend_from_slice(&part::frame(chunk * 64, &bytes));
    }
    let parts = files.iter().map(|(kind, bytes)| {
        let (kind, blake3) = (*kind, hex(&inspect::hash(bytes)));
        Part { kind, bytes: bytes.len() as u64, frames: 1, blake3 }
    });
    let id = hansa_types::id::GroupId::new(hansa_types::id::GroupKind::Orders, 0);
    let group = Group {
        name: id.to_string(),
        group: id.number(),
        node: 1,
        index: 1,
        term: 1,
        log_time_ms: 1,
        state_hash: String::new(),
        chain_head: String::new(),
        records: 0,
        parts: parts.collect(),
    };
    let mut manifest = Manifest {
        format: FORMAT,
        id: "b-1".into(),
        region: "us-east".into(),
        number: 2,
        epoch: 1,
        cut_ms: 1,
        keep_until_ms: u64::MAX,
        groups: vec![group],
        hash: String::new(),
    };
    manifest.seal();
    rig::write(disk, &to.join("manifest.json"), manifest.to_json().as_bytes());
    for (kind, bytes) in files {
        rig::write(disk, &to.join("orders-0").join(kind.as_str()), &bytes);
    }
}

#[test]
fn nothing_to_read_is_finished_at_once() {
    let fs: Arc<dyn Fs> = Arc::new(empty());
    let roots = vec![Root::of(&fs, "/data", "", false), Root::of(&fs, "/none", "none", false)];
    let mut sweep = Sweep::new(roots, vec![], vec![], Findings::new(law("us-east", 2)));
    assert!(sweep.step().finished);
    assert_eq!(sweep.unread.len(), 1, "what is named and not there was not read");
}
