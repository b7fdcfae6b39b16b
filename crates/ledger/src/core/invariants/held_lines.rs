//! 6, the part inside a group: each live hold is a line of one open reservation, and what open
//! reservations have committed is what the committed buckets hold.

use std::collections::BTreeMap;

use super::Broken;
use crate::core::inventory::{Bucket, Inventory, ReservationState};

pub const NAME: &str = "holds-named";

pub fn check(machine: &Inventory) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut refuse = |what: String| broken.push(Broken { invariant: 6, name: NAME, what });
    let (mut held_lines, mut committed) = (0, BTreeMap::new());
    for (id, reservation) in machine.reservations() {
        for line in &reservation.lines {
            let ReservationState::Held { expires } = reservation.state else {
                let key = (line.sku, line.warehouse);
                *committed.entry(key).or_insert(0i128) += i128::from(line.open());
                continue;
            };
            held_lines += 1;
            let hold = machine.books().hold(&id.child(line.line));
            let named = hold.is_some_and(|hold| {
                hold.amount == u64::from(line.quantity) && hold.expires == Some(expires)
            });
            if !named {
                refuse(format!("line {} of reservation {id} has no such hold", line.line));
            }
        }
    }
    let holds = machine.books().holds_len();
    if holds != held_lines {
        refuse(format!("{holds} holds for {held_lines} held lines"));
    }
    let in_buckets: i128 = machine
        .books()
        .accounts()
        .filter(|(_, account)| Bucket::from_code(account.code) == Some(Bucket::Committed))
        .map(|(_, account)| account.balance())
        .sum();
    let by_orders: i128 = committed.values().sum();
    if in_buckets != by_orders {
        refuse(format!("{in_buckets} committed, {by_orders} of it by orders"));
    }
    for ((sku, warehouse), open) in committed {
        let account = machine.books().account(&Bucket::Committed.account(sku, warehouse));
        let balance = account.map_or(0, |account| account.balance());
        if balance != open {
            let sku = machine.sku_name(sku).unwrap_or("?");
            refuse(format!("{sku}: {balance} committed, {open} of it by orders"));
        }
    }
    broken
}
