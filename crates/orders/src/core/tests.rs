//! Claims about the machine; the random drive against a fake world is in `drive`.

mod attack;
mod carries;
mod drive;
mod keys;
mod lasting;
mod listing;
mod moves;
mod near;
mod remote;
mod repair;
mod restored;
mod saga;
#[cfg(feature = "seeded-bugs")]
mod seeded;
mod shelf;
mod subjects;
mod takeover;
mod versions;
mod world;

use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

use super::command::{Accept, Command, Outcome};
use super::contents::{Contents, Line, LineKind, Token};
use super::effect::{Booking, Call, Report, StepResult, Todo};
use super::keys::{Key, Scope};
use super::order::Note;
use super::settings::Settings;
use super::state::State;
use super::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use super::{invariants, status::OrderStatus};

const START: LogTime = LogTime(1_700_000_000_000);

pub(crate) fn settings() -> Settings {
    Settings {
        region: RegionNumber::try_from(1).unwrap(),
        index: 0,
        groups: 1,
        epoch: 1,
        hold_ttl_ms: 60_000,
        hold_cap_ms: 300_000,
        settle_ms: 30_000,
        funds_ttl_ms: 86_400_000,
        park_after_ms: 3_600_000,
        key_ttl_ms: 86_400_000,
        history_max: 64,
        evict_after_ms: 0,
    }
}

fn order_id(n: u64) -> OrderId {
    let slot = Slot::of(&n.to_le_bytes());
    OrderId::new(START.plus_ms(n), RegionNumber::try_from(1).unwrap(), slot, n)
}

fn key(n: u128) -> Key {
    Key { scope: Scope(n), body: n }
}

fn line(sku: &str, quantity: u32, price_minor: i64, stock_group: Option<u16>) -> Line {
    let kind = if stock_group.is_some() { LineKind::Stock } else { LineKind::Fee };
    let sku = Some(sku.parse().unwrap());
    Line { kind, sku, description: String::new(), quantity, price_minor, stock_group }
}

/// Two stock lines in two inventory groups, and postage.
fn contents() -> Contents {
    let lines =
        vec![line("A", 2, 300, Some(0)), line("B", 1, 200, Some(1)), line("POST", 1, 100, None)];
    with_lines(lines)
}

fn with_lines(lines: Vec<Line>) -> Contents {
    let worth = |line: &Line| line.price_minor * i64::from(line.quantity);
    Contents {
        caller: "storefront".into(),
        sealed_with: key_of(1),
        guest: false,
        residence: "GB".parse().unwrap(),
        request: "r-1".parse().unwrap(),
        currency: "GBP".parse().unwrap(),
        total_minor: lines.iter().map(worth).sum(),
        lines,
        token: Token("tok_approve".into()),
        personal: None,
        payment_group: 0,
        reference: String::new(),
        placed_ms: None,
    }
}

/// The first key of customer `n`.
fn key_of(n: u128) -> KeyOf {
    let home = RegionNumber::try_from(1).unwrap();
    KeyOf { subject: SubjectId { home, hash: n }, generation: 1 }
}

fn wrapped(by: RegionKey, fill: u8) -> Wrapped {
    Wrapped { by, nonce: [fill; 12], ciphertext: vec![fill; 80].into() }
}

const FIRST: RegionKey = RegionKey(1 << 48);

/// Order `n` of customer `n`, whose first it is.
fn accept(n: u64, mut contents: Contents) -> Command {
    let key = key(u128::from(n));
    contents.sealed_with = key_of(u128::from(n));
    let mint = Some(wrapped(FIRST, 1));
    Command::Accept(Box::new(Accept { order: order_id(n), key, epoch: 1, contents, mint }))
}

fn placed(contents: Contents) -> (State, OrderId) {
    let mut state = State::new(settings());
    state.advance(START);
    let outcome = state.apply(START, accept(1, contents));
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    (state, order_id(1))
}

fn status(state: &State, id: OrderId) -> OrderStatus {
    state.orders.get(&id).unwrap().order_status(state.contents.get(&id).unwrap())
}

fn holds(state: &State) {
    let broken = invariants::check(state, 10);
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(state.digest(), state.digest_full());
}

fn answer(state: &mut State, at: LogTime, call: &Call, result: StepResult) {
    let report = Report { order: call.order, no: call.no, result };
    state.apply(at, Command::Report(vec![report]));
}

/// Whether the stock books do it.
fn stock(todo: &Todo) -> bool {
    matches!(todo, Todo::Book(Booking::Stock(_)))
}

fn no_id() -> TransferId {
    TransferId::derive(START, &[])
}
