use super::*;
use crate::replay::core::code::NonStock;
use crate::replay::core::row;

const HEAD: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

/// Nobody is moved, so that the tests read as the file does.
fn map_as_is(lines: &str) -> Mapped {
    let (rows, malformed) = row::read(format!("{HEAD}{lines}").as_bytes()).expect("readable");
    assert_eq!(malformed, []);
    map(&rows, &Shares { rehomed: 0, ..Shares::default() })
}

fn only_order(mapped: &Mapped) -> &Order {
    match mapped.actions.as_slice() {
        [Action::Order(order)] => order,
        other => panic!("expected one order, got {other:?}"),
    }
}

#[test]
fn an_invoice_is_one_order_and_repeated_lines_stay() {
    let mapped = map_as_is(
        "536381,71270,PHOTO CLIP LINE,1,2010-12-01 09:41,1.25,15311,United Kingdom\n\
         536381,71270,PHOTO CLIP LINE,3,2010-12-01 09:41,1.25,15311,United Kingdom\n\
         536381,15056bl,EDWARDIAN PARASOL BLACK,2,2010-12-01 09:41,5.95,15311,United Kingdom\n",
    );
    let order = only_order(&mapped);
    let lines: Vec<_> = order.lines.iter().map(|line| (line.code.text(), line.quantity)).collect();
    assert_eq!(lines, [("71270", 1), ("71270", 3), ("15056BL", 2)]);
    assert_eq!(order.demand()["71270"], 4, "checked together");
    assert_eq!((order.currency, order.total_minor()), ("GBP", 4 * 125 + 2 * 595));
    assert_eq!(order.buyer, Buyer { customer: Some("15311".into()), country: "GB" });
}

#[test]
fn fees_are_priced_lines_without_stock() {
    let mapped = map_as_is(
        "536370,22728,ALARM CLOCK,24,2010-12-01 08:45,3.75,12583,France\n\
         536370,POST,POSTAGE,3,2010-12-01 08:45,18.0,12583,France\n\
         536370,gift_0001_40,Voucher,1,2010-12-01 08:45,34.04,12583,France\n\
         536370,D,Discount,-1,2010-12-01 08:45,5.00,12583,France\n",
    );
    let order = only_order(&mapped);
    let kinds: Vec<_> = order
        .lines
        .iter()
        .map(|line| match &line.code {
            Code::Stock(_) => None,
            Code::NonStock { kind, .. } => Some((*kind, line.unit_price_minor)),
        })
        .collect();
    let fee = |kind, price| Some((kind, price));
    assert_eq!(
        kinds,
        [
            None,
            fee(NonStock::Postage, 1800),
            fee(NonStock::Voucher, 3404),
            fee(NonStock::Discount, -500)
        ]
    );
    assert_eq!(order.demand().len(), 1);
}

#[test]
fn a_missing_customer_is_a_guest() {
    let mapped = map_as_is("536544,21773,BATH,1,2010-12-01 14:32,2.51,,EIRE\n");
    assert_eq!(only_order(&mapped).buyer, Buyer { customer: None, country: "IE" });
}

#[test]
fn a_customer_under_two_countries_is_two_buyers() {
    let mapped = map_as_is(
        "539475,22633,WARMER,1,2010-12-19 14:41,1.85,12370,Austria\n\
         539476,22633,WARMER,1,2010-12-19 14:51,1.85,12370,Cyprus\n",
    );
    let homes: Vec<_> = mapped.actions.iter().map(Action::country).collect();
    assert_eq!(homes, ["AT", "CY"]);
}

#[test]
fn a_cancellation_is_a_return() {
    let mapped = map_as_is("C536383,35004C,SET OF 3 DUCKS,-1,2010-12-01 09:49,4.65,15311,France\n");
    let [Action::Return(back)] = mapped.actions.as_slice() else { panic!("{mapped:?}") };
    assert_eq!((back.invoice.as_str(), back.rows[0].quantity), ("C536383", 1));
    assert_eq!(back.rows[0].code.text(), "35004C");
}

#[track_caller]
fn check_adjust(line: &str, delta: i64, reason: &str) {
    let mapped = map_as_is(line);
    let [Action::Adjust(adjust)] = mapped.actions.as_slice() else { panic!("{mapped:?}") };
    assert_eq!((adjust.delta, adjust.reason.as_str()), (delta, reason));
}

#[test]
fn a_correction_keeps_its_sign_and_its_reason() {
    check_adjust("537425,84968F,check,-20,2010-12-06 15:35,0.0,,United Kingdom\n", -20, "check");
    check_adjust("540979,21888,?,-30,2010-12-06 15:35,0.0,,United Kingdom\n", -30, "?");
    check_adjust("539611,85135B,Found,53,2010-12-20 14:33,0.0,,United Kingdom\n", 53, "Found");
    let none = "written off, no reason given";
    check_adjust("536589,21777,,-10,2010-12-01 16:50,0.0,,United Kingdom\n", -10, none);
}

#[test]
fn a_free_line_beside_paid_ones_is_a_sample() {
    let mapped = map_as_is(
        "537197,22841,ROUND CAKE TIN,1,2010-12-05 14:02,0.0,12647,Germany\n\
         537197,22842,CAKE TIN,2,2010-12-05 14:02,7.95,12647,Germany\n",
    );
    let order = only_order(&mapped);
    assert_eq!(order.lines[0].unit_price_minor, 0);
    assert_eq!(order.demand()["22841"], 1, "a sample leaves the shelf like anything else");
}

#[test]
fn a_guest_basket_with_free_lines_stays_an_order() {
    let mapped = map_as_is(
        "537534,85064,LETTER RACK,1,2010-12-07 11:48,0.0,,United Kingdom\n\
         537534,DOT,DOTCOM POSTAGE,1,2010-12-07 11:48,9.50,,United Kingdom\n",
    );
    assert_eq!(only_order(&mapped).lines.len(), 2);
}

#[test]
fn what_is_no_order_is_left_and_said() {
    let mapped = map_as_is(
        "A563186,B,Adjust bad debt,1,2011-08-12 14:51,-11062.06,,United Kingdom\n\
         536366,M,Manual,1,2010-12-01 08:28,0.0,17850,France\n\
         536367,D,Discount,-1,2010-12-01 08:28,5.00,17850,France\n\
         C536368,22633,WARMER,6,2010-12-01 08:28,1.85,17850,France\n",
    );
    assert_eq!(mapped.actions, []);
    let lines: Vec<_> = mapped.left.iter().map(|left| left.line).collect();
    assert_eq!(lines, [2, 3, 4, 5]);
}

#[test]
fn a_country_that_is_none_costs_its_row_only() {
    let mapped = map_as_is(
        "536366,22633,WARMER,6,2010-12-01 08:28,1.85,17850,Unspecified\n\
         536367,22633,WARMER,6,2010-12-01 08:28,1.85,17850,Japan\n",
    );
    assert_eq!(mapped.malformed.len(), 1);
    assert_eq!(mapped.malformed[0].line, 2);
    assert_eq!(only_order(&mapped).invoice, "536367");
}

#[test]
fn a_moved_buyer_takes_returns_and_currency_along() {
    let lines = "536365,22633,WARMER,6,2010-12-01 08:26,1.85,17850,United Kingdom\n\
                 C536366,22633,WARMER,-6,2010-12-01 08:28,1.85,17850,United Kingdom\n";
    let (rows, _) = row::read(format!("{HEAD}{lines}").as_bytes()).expect("readable");
    let mapped = map(&rows, &Shares { rehomed: 1_000, ..Shares::default() });
    let [Action::Order(order), Action::Return(back)] = mapped.actions.as_slice() else {
        panic!("{mapped:?}")
    };
    assert_eq!(order.buyer, back.buyer);
    assert!(["US", "CA", "JP", "AU"].contains(&order.buyer.country));
    assert_ne!(order.currency, "GBP");
    assert_eq!(order.lines[0].unit_price_minor, 185, "the number is kept, no rate is claimed");
    assert_eq!(mapped.rehomed_invoices, 2);
}

const SAMPLE: &[u8] = include_bytes!("../../../../../../data/online-retail-sample.csv");

#[test]
fn every_row_of_the_shipped_sample_is_accounted_for() {
    let (rows, malformed) = row::read(SAMPLE).expect("readable");
    let mapped = map(&rows, &Shares::default());
    assert_eq!((malformed.len(), mapped.malformed.len()), (0, 0));
    let (mut orders, mut lines, mut returned, mut adjusted) = (0, 0, 0, 0);
    for action in &mapped.actions {
        match action {
            Action::Order(order) => {
                orders += 1;
                lines += order.lines.len();
            }
            Action::Return(back) => returned += back.rows.len(),
            Action::Adjust(_) => adjusted += 1,
        }
    }
    assert_eq!(lines + returned + adjusted + mapped.left.len(), rows.len());
    assert_eq!((orders, returned, adjusted, mapped.left.len()), (251, 212, 22, 0));
}

#[test]
fn the_sample_has_all_the_dirt_that_the_mapping_reads() {
    let (rows, _) = row::read(SAMPLE).expect("readable");
    let mapped = map(&rows, &Shares { rehomed: 0, ..Shares::default() });
    let lines = || {
        mapped.actions.iter().filter_map(|action| match action {
            Action::Order(order) => Some(order),
            _ => None,
        })
    };
    let any = |test: &dyn Fn(&Order) -> bool| lines().any(test);
    let kind = |wanted: NonStock| {
        any(&|order| {
            order
                .lines
                .iter()
                .any(|line| matches!(&line.code, Code::NonStock { kind, .. } if *kind == wanted))
        })
    };
    assert!(any(&|order| order.buyer.customer.is_none()), "guests");
    assert!(any(&|order| order.lines.iter().any(|line| line.unit_price_minor == 0)), "samples");
    assert!(kind(NonStock::Postage) && kind(NonStock::Fee) && kind(NonStock::Voucher));
    let repeated = |order: &Order| order.demand().len() < order.lines.len();
    assert!(any(&repeated), "repeated lines of a SKU");
    let mut countries: Vec<_> = lines().map(|order| order.buyer.country).collect();
    countries.sort_unstable();
    countries.dedup();
    assert_eq!(countries.len(), 9, "{countries:?}");
    assert!(rows.iter().any(|row| row.stock_code.bytes().any(|byte| byte.is_ascii_lowercase())));
}
