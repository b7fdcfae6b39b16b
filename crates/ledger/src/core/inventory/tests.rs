#[cfg(feature = "seeded-bugs")]
mod seeded;

use hansa_types::id::{OrderId, TransferId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::model::Model;
use super::*;
use crate::core::invariants;
use crate::core::outcome::OutcomeCode as C;

const START: u64 = 1_000_000;
const WINDOW_MS: u64 = 5_000;
const CAP_MS: u64 = 2_000;

fn books() -> Inventory {
    let mut books = Inventory::new(Settings {
        id_window_ms: WINDOW_MS,
        hold_ms_max: CAP_MS,
        default_warehouse: "main".to_owned(),
    });
    books.advance(LogTime(START));
    books
}

fn id(n: u64) -> TransferId {
    TransferId::derive(LogTime(START), &[&n.to_le_bytes()])
}

fn order(n: u64) -> OrderId {
    OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), n)
}

fn line(line: u32, sku: &str, quantity: u32) -> StockLine<'_> {
    StockLine { line, sku, warehouse: None, quantity }
}

fn reserve<'a>(n: u64, lines: &[StockLine<'a>]) -> Command<'a> {
    Command::Reserve(Reserve { id: id(n), order: order(n), ttl_ms: 1_000, lines: lines.to_vec() })
}

fn receive(n: u64, sku: &str, quantity: u64) -> Command<'_> {
    let id = CommandId::Given(id(n));
    Command::Receive(Receive { id, sku, warehouse: None, quantity, document: "d" })
}

fn adjust(n: u64, sku: &str, delta: i64, force: bool) -> Adjust<'_> {
    let id = CommandId::Given(id(n));
    let (reason, document) = ("count", "d");
    Adjust { id, sku, warehouse: None, delta, expected_on_hand: None, force, reason, document }
}

fn body(command: &Command<'_>) -> u128 {
    xxh3_128(&postcard::to_allocvec(command).unwrap())
}

fn run(books: &mut Inventory, at: u64, command: &Command<'_>) -> Outcome {
    books.advance(LogTime(at));
    let outcome = books.apply(LogTime(at), command, body(command));
    books.journal_mut().seal(|_, _| ());
    outcome
}

fn code(books: &mut Inventory, command: &Command<'_>) -> C {
    let at = books.now().ms();
    run(books, at, command).code
}

fn sellable(books: &Inventory, sku: &str) -> i64 {
    books.stock(sku, None).iter().map(|stock| stock.sellable).sum()
}

#[test]
fn two_lines_of_one_sku_are_checked_together() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 5));
    let both = reserve(2, &[line(1, "A", 3), line(2, "A", 3)]);
    let refused = run(&mut b, START, &both);
    assert_eq!((refused.code, refused.line, refused.available), (C::ExceedsAvailable, 2, 2));
    assert_eq!(sellable(&b, "A"), 5, "nothing of a refused order is held");
    code(&mut b, &receive(3, "A", 5));
    let again = run(&mut b, START, &both);
    assert_eq!((again.code, again.line), (C::ExceedsAvailable, 2), "burnt");
}

#[test]
fn an_unknown_sku_names_its_line() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 5));
    let refused = run(&mut b, START, &reserve(2, &[line(1, "A", 1), line(4, "Z", 1)]));
    assert_eq!((refused.code, refused.line), (C::UnknownSku, 4));
}

#[test]
fn stock_goes_from_the_shelf_to_the_customer_and_back_to_quarantine() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 10));
    code(&mut b, &reserve(2, &[line(1, "A", 4)]));
    assert_eq!(code(&mut b, &Command::Commit { id: id(3), hold: id(2) }), C::Applied);
    let part = Ship { id: id(4), hold: id(2), lines: vec![line(1, "A", 3)] };
    assert_eq!(code(&mut b, &Command::Ship(part.clone())), C::Applied);
    assert_eq!(code(&mut b, &Command::Ship(part)), C::Exists);
    let too_many = Ship { id: id(5), hold: id(2), lines: vec![line(1, "A", 2)] };
    assert_eq!(code(&mut b, &Command::Ship(too_many)), C::ExceedsCommitted);
    assert_eq!(code(&mut b, &Command::Uncommit { id: id(6), hold: id(2) }), C::Applied);
    let rest = Ship { id: id(7), hold: id(2), lines: vec![] };
    assert_eq!(code(&mut b, &Command::Ship(rest)), C::AlreadyVoided);
    let returned = |n, quantity| {
        Command::Return(Return { id: id(n), order: order(2), lines: vec![line(1, "A", quantity)] })
    };
    assert_eq!(code(&mut b, &returned(8, 2)), C::Applied);
    assert_eq!(code(&mut b, &returned(9, 2)), C::ExceedsShipped);
    let stock = b.stock("A", None).remove(0);
    assert_eq!((stock.available, stock.quarantine, stock.on_hand()), (7, 2, 9));
}

#[test]
fn what_another_region_shipped_comes_back_from_there_and_leaves_other_orders_theirs() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 5));
    code(&mut b, &reserve(2, &[line(1, "A", 2)]));
    code(&mut b, &Command::Commit { id: id(3), hold: id(2) });
    code(&mut b, &Command::Ship(Ship { id: id(4), hold: id(2), lines: vec![] }));
    let back = |n, sku, quantity, away| {
        let returned = Return { id: id(n), order: order(9), lines: vec![line(1, sku, quantity)] };
        Command::ReturnElsewhere(ReturnElsewhere { returned, elsewhere: vec![away], ended: 1 })
    };
    // Of three that come back two left elsewhere, and one that nobody here ever had.
    assert_eq!(code(&mut b, &back(5, "A", 3, 2)), C::Applied);
    assert_eq!(code(&mut b, &back(5, "A", 3, 2)), C::Exists);
    assert_eq!(code(&mut b, &back(6, "NEW", 1, 1)), C::Applied);
    let quarantine = |b: &Inventory, sku| b.stock(sku, None)[0].quarantine;
    assert_eq!((quarantine(&b, "A"), quarantine(&b, "NEW")), (3, 1));
    // The other unit that left here is still the one order's to bring back, and nobody else's.
    assert_eq!(code(&mut b, &back(7, "A", 2, 0)), C::ExceedsShipped);
    assert_eq!(code(&mut b, &back(8, "A", 1, 0)), C::Applied);
    assert_eq!(code(&mut b, &back(9, "A", 1, 2)), C::Malformed);
    assert_eq!(code(&mut b, &back(10, "OTHER", 2, 1)), C::UnknownSku);
    assert!(!b.knows("OTHER"), "what is refused leaves no trace");
    let mut totals = SkuTotals::default();
    let unit = b.skus.number("A").unwrap();
    let accounts = b.books().accounts().filter(|(_, account)| account.unit.0 == unit);
    accounts.for_each(|(_, account)| totals.add(account));
    assert_eq!((totals.shipped, totals.elsewhere), (0, 2));
    assert_eq!((totals.on_hand, totals.came_in), (7, 7));
    assert_eq!(invariants::of_inventory(&b), []);
}

#[test]
fn partial_shipments_of_a_line_add_up() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 10));
    code(&mut b, &reserve(2, &[line(1, "A", 4)]));
    code(&mut b, &Command::Commit { id: id(3), hold: id(2) });
    let ship = |n, quantity| {
        Command::Ship(Ship { id: id(n), hold: id(2), lines: vec![line(1, "A", quantity)] })
    };
    assert_eq!(code(&mut b, &ship(4, 2)), C::Applied);
    assert_eq!(code(&mut b, &ship(5, 1)), C::Applied);
    let over = run(&mut b, START, &ship(6, 2));
    assert_eq!((over.code, over.available), (C::ExceedsCommitted, 1));
    assert_eq!(code(&mut b, &ship(7, 1)), C::Applied);
    assert_eq!(code(&mut b, &ship(8, 1)), C::AlreadyPosted, "all of it has left");
}

#[test]
fn an_extension_stops_at_the_cap() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 1));
    code(&mut b, &reserve(2, &[line(1, "A", 1)]));
    let extend = |n| Command::Extend { id: id(n), hold: id(2), ttl_ms: 60_000 };
    let shorter = Command::Extend { id: id(9), hold: id(2), ttl_ms: 1 };
    let kept = run(&mut b, START, &shorter);
    assert_eq!(kept.expires, Some(LogTime(START + 1_000)), "an extension never shortens");
    let extended = run(&mut b, START + 500, &extend(3));
    assert_eq!(extended.expires, Some(LogTime(START + CAP_MS)));
    assert_eq!(run(&mut b, START + 500, &extend(4)).code, C::ExtendCapReached);
    let commit = Command::Commit { id: id(5), hold: id(2) };
    assert_eq!(run(&mut b, START + CAP_MS, &commit).code, C::Expired);
    assert_eq!(sellable(&b, "A"), 1);
}

#[test]
fn a_count_below_what_is_held_names_the_orders_and_force_voids_the_newest() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 10));
    for n in 2..5 {
        run(&mut b, START + n, &reserve(n, &[line(1, "A", 3)]));
    }
    let refused = run(&mut b, START + 9, &Command::Adjust(adjust(6, "A", -5, false)));
    assert_eq!((refused.code, refused.available), (C::BelowHeld, 1));
    assert_eq!(refused.orders, [order(4), order(3), order(2)]);
    assert_eq!(run(&mut b, START + 9, &Command::Adjust(adjust(7, "A", -5, true))).code, C::Applied);
    assert!(b.reservation(&id(2)).is_some(), "the oldest hold stays");
    assert!(b.reservation(&id(3)).is_none() && b.reservation(&id(4)).is_none());
    let commit = Command::Commit { id: id(8), hold: id(4) };
    assert_eq!(code(&mut b, &commit), C::AlreadyVoided);
    let beyond = Command::Adjust(adjust(9, "A", -6, true));
    assert_eq!(code(&mut b, &beyond), C::ExceedsAvailable);
}

#[test]
fn a_count_is_compared_before_it_is_corrected() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 10));
    let counted = |n, expected| {
        let expected_on_hand = Some(expected);
        Command::Adjust(Adjust { expected_on_hand, ..adjust(n, "A", 2, false) })
    };
    let refused = run(&mut b, START, &counted(2, 9));
    assert_eq!((refused.code, refused.available), (C::CountDiffers, 10));
    assert_eq!(code(&mut b, &counted(3, 10)), C::Applied);
    assert_eq!(sellable(&b, "A"), 12);
}

#[test]
fn safety_stock_is_kept_back_and_backorders_are_sold_ahead() {
    let mut b = books();
    code(&mut b, &receive(1, "A", 5));
    let floor = |n, safety_stock, backorder_limit| {
        let id = CommandId::Given(id(n));
        Command::SetFloor(SetFloor { id, sku: "A", warehouse: None, safety_stock, backorder_limit })
    };
    assert_eq!(code(&mut b, &floor(2, 2, 0)), C::Applied);
    assert_eq!(code(&mut b, &reserve(3, &[line(1, "A", 4)])), C::ExceedsAvailable);
    assert_eq!(code(&mut b, &floor(4, 0, 3)), C::Applied);
    assert_eq!(code(&mut b, &reserve(5, &[line(1, "A", 8)])), C::Applied);
    assert_eq!(code(&mut b, &floor(6, 0, 2)), C::BelowHeld);
}

#[test]
fn a_request_key_has_one_effect_within_the_window() {
    let mut b = books();
    let receive = |quantity| {
        let id = CommandId::Requested(RequestKey(7));
        Command::Receive(Receive { id, sku: "A", warehouse: None, quantity, document: "d" })
    };
    assert_eq!(run(&mut b, START, &receive(5)).code, C::Applied);
    assert_eq!(run(&mut b, START + WINDOW_MS, &receive(5)).code, C::Exists);
    assert_eq!(run(&mut b, START + WINDOW_MS, &receive(6)).code, C::ExistsWithDifferent);
    assert_eq!(sellable(&b, "A"), 5);
    assert_eq!(run(&mut b, START + WINDOW_MS + 1, &receive(6)).code, C::Applied, "forgotten");
}

#[test]
fn stock_is_listed_in_order_of_sku() {
    let mut b = books();
    for (n, sku) in ["C", "A", "B"].into_iter().enumerate() {
        code(&mut b, &receive(n as u64, sku, 1));
    }
    let names = |stocks: Vec<Stock>| stocks.into_iter().map(|stock| stock.sku).collect::<Vec<_>>();
    assert_eq!(names(b.list_stock(None, None, 2)), ["A", "B"]);
    assert_eq!(names(b.list_stock(Some("B"), None, 2)), ["C"]);
}

const SKUS: [&str; 3] = ["A", "B", "C"];

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// kind, hold (counts back), lines as (sku, quantity), amount, flag
    Do {
        kind: u8,
        back: usize,
        lines: Vec<(usize, u32)>,
        amount: i64,
        flag: bool,
        sku: usize,
    },
    Again {
        back: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let quantity = prop_oneof![10 => 1u32..8, 1 => Just(0)];
    let lines = prop::collection::vec((0usize..3, quantity), 0..4);
    let kind = prop_oneof![5 => Just(0u8), 10 => 1u8..12, 3 => Just(7)];
    prop_oneof![
        3 => (0u64..900).prop_map(Step::Pass),
        14 => (kind, 0usize..6, lines, -12i64..20, any::<bool>(), 0usize..3).prop_map(
            |(kind, back, lines, amount, flag, sku)| {
                Step::Do { kind, back, lines, amount, flag, sku }
            }
        ),
        2 => (0usize..20).prop_map(|back| Step::Again { back }),
    ]
}

fn draft(
    id: TransferId,
    step: &(u8, TransferId, Vec<(usize, u32)>, i64, bool, usize),
) -> Command<'static> {
    let (kind, hold, lines, amount, flag, sku) = step;
    let (hold, sku, given) = (*hold, SKUS[*sku], CommandId::Given(id));
    let number =
        |(n, (sku, quantity)): (usize, &(usize, u32))| line(n as u32 + 1, SKUS[*sku], *quantity);
    let lines: Vec<_> = lines.iter().enumerate().map(number).collect();
    match kind {
        0 => Command::Reserve(Reserve { id, order: order(1), ttl_ms: 700, lines }),
        1 => Command::Extend { id, hold, ttl_ms: if *flag { 900 } else { 100 } },
        2 | 3 => Command::Commit { id, hold },
        4 => Command::Uncommit { id, hold },
        5 => Command::Release { id, hold },
        6 => {
            let lines = if *flag { lines } else { vec![] };
            Command::Ship(Ship { id, hold, lines })
        }
        7 => {
            let quantity = amount.unsigned_abs();
            Command::Receive(Receive { id: given, sku, warehouse: None, quantity, document: "" })
        }
        8 => {
            let expected_on_hand = (*amount > 15).then_some(3);
            let (reason, document, force) = ("", "", *flag);
            let (delta, warehouse) = (*amount, None);
            Command::Adjust(Adjust {
                id: given,
                sku,
                warehouse,
                delta,
                expected_on_hand,
                force,
                reason,
                document,
            })
        }
        10 => {
            let expected_shipped = if *flag { 0 } else { lines.len() as i64 };
            let (delta, reason, document) = (*amount, "", "");
            Command::Rebook(Rebook { id, sku, delta, expected_shipped, reason, document })
        }
        11 => {
            let away = |line: &StockLine<'_>| if *flag { line.quantity } else { line.quantity / 2 };
            let elsewhere = lines.iter().map(away).collect();
            let returned = Return { id, order: order(1), lines };
            Command::ReturnElsewhere(ReturnElsewhere { returned, elsewhere, ended: 1 })
        }
        _ if *flag => Command::Return(Return { id, order: order(1), lines }),
        _ => {
            let (safety_stock, backorder_limit) = ((*amount).max(0) as u32 / 4, 3);
            Command::SetFloor(SetFloor {
                id: given,
                sku,
                warehouse: None,
                safety_stock,
                backorder_limit,
            })
        }
    }
}

fn agree(books: &Inventory, model: &Model) -> Result<(), TestCaseError> {
    for sku in SKUS {
        let stock = books.stock(sku, None);
        prop_assert_eq!(stock.is_empty(), !model.shelves.contains_key(sku));
        let Some(stock) = stock.first() else { continue };
        let found = (stock.available, stock.reserved, stock.committed, stock.sellable);
        let expected =
            (model.available(sku), model.reserved(sku), model.committed(sku), model.sellable(sku));
        prop_assert_eq!(found, expected, "{}", sku);
        prop_assert_eq!(stock.quarantine, model.shelves[sku].returned);
    }
    prop_assert_eq!(invariants::of_inventory(books), vec![]);
    prop_assert_eq!(books.digest(), books.recompute_digest());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut books = books();
        let (window_ms, cap_ms) = (WINDOW_MS, CAP_MS);
        let mut model = Model { window_ms, cap_ms, now: START, ..Model::default() };
        let mut now = START;
        let mut sent: Vec<(TransferId, Command<'static>)> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let (id, command) = match step {
                Step::Pass(ms) => {
                    now += ms;
                    books.advance(LogTime(now));
                    model.advance(now);
                    agree(&books, &model)?;
                    continue;
                }
                Step::Do { kind, back, lines, amount, flag, sku } => {
                    let id = TransferId::derive(LogTime(now), &[&n.to_le_bytes()]);
                    let hold = sent.iter().rev().nth(*back).map_or(id, |(hold, _)| *hold);
                    (id, draft(id, &(*kind, hold, lines.clone(), *amount, *flag, *sku)))
                }
                Step::Again { back } => match sent.iter().rev().nth(*back) {
                    Some(sent) => sent.clone(),
                    None => continue,
                },
            };
            let body = body(&command);
            let outcome = books.apply(LogTime(now), &command, body);
            prop_assert_eq!(outcome.code, model.apply(id, &command, body), "{:?}", command);
            books.journal_mut().seal(|_, _| ());
            agree(&books, &model)?;
            sent.push((id, command));
            if n % 10 == 9 {
                let mut bytes = Vec::new();
                books.freeze().write(&mut bytes).unwrap();
                let thawed = Inventory::read(&mut bytes.as_slice()).unwrap();
                prop_assert_eq!(thawed.digest(), books.digest());
                books = thawed;
            }
        }
    }
}

mod attack {
    use super::*;

    #[test]
    fn stock_at_the_end_of_its_counter_does_not_end_the_process() {
        let mut books = books();
        for (n, quantity) in [(1, i64::MAX as u64), (2, i64::MAX as u64), (3, 1)] {
            run(&mut books, START, &receive(n, "A", quantity));
        }
        run(&mut books, START, &reserve(10, &[line(1, "A", 1)]));
        run(&mut books, START, &Command::Commit { id: id(11), hold: id(10) });
        run(&mut books, START, &Command::Uncommit { id: id(12), hold: id(10) });
        assert_eq!(invariants::of_inventory(&books), []);
    }

    #[test]
    fn a_count_beyond_the_books_is_an_outcome() {
        let mut books = books();
        run(&mut books, START, &receive(1, "A", u64::MAX));
        run(&mut books, START, &reserve(10, &[line(1, "A", 1)]));
        run(&mut books, START, &Command::Commit { id: id(11), hold: id(10) });
        let mut count = adjust(12, "A", 1, false);
        count.expected_on_hand = Some(7);
        run(&mut books, START, &Command::Adjust(count));
        books.stock("A", None).iter().for_each(|stock| _ = stock.on_hand());
    }

    #[test]
    fn replicas_of_other_settings_have_other_digests() {
        let settings = |hold_ms_max| Settings {
            id_window_ms: WINDOW_MS,
            hold_ms_max,
            default_warehouse: "main".to_owned(),
        };
        let (a, b) = (Inventory::new(settings(1_000)), Inventory::new(settings(2_000)));
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn a_receipt_that_is_refused_leaves_no_warehouse() {
        let mut books = books();
        let at = CommandId::Given(id(1));
        let (sku, warehouse) = ("lower case", Some("w-2"));
        let bad = Receive { id: at, sku, warehouse, quantity: 1, document: "d" };
        assert_eq!(run(&mut books, START, &Command::Receive(bad)).code, C::Malformed);
        assert_eq!(books.warehouse_name(WarehouseNo(1)), None);
    }
}
