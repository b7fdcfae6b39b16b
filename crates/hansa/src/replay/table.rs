//! A report for people (a table, one column a region) and for programs (JSON).

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use hansa_types::money::Currency;
use serde_json::{Value, json};

use super::report::{Report, Tally};

/// One line of the table: its label and how a region's cell is read.
type Line = (String, Box<dyn Fn(&Tally) -> String>);

/// The table of the regions and what stands below it.
#[must_use]
pub fn text(report: &Report) -> String {
    let total = report.total();
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let names = report.regions.keys().map(ToString::to_string);
    table.set_header([String::new()].into_iter().chain(names).chain(["league".to_owned()]));
    for (label, cell) in lines(report, &total) {
        let cells = report.regions.values().chain([&total]).map(|tally| right(cell(tally)));
        table.add_row([Cell::new(label)].into_iter().chain(cells));
    }
    format!("{table}\n{}", notes(report, &total))
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn lines(report: &Report, total: &Tally) -> Vec<Line> {
    fn count(label: &str, read: fn(&Tally) -> u64) -> Line {
        (label.to_owned(), Box::new(move |tally| read(tally).to_string()))
    }
    let mut lines = vec![
        count("orders placed", |tally| tally.placed),
        count("  confirmed", |tally| tally.confirmed),
        count("  rejected", Tally::rejected_total),
    ];
    for reason in total.rejected.keys() {
        let key = reason.clone();
        let read = move |tally: &Tally| tally.rejected.get(&key).unwrap_or(&0).to_string();
        lines.push((format!("    {reason}"), Box::new(read)));
    }
    lines.push(count("  cancelled", |tally| tally.cancelled));
    lines.push(count("  shipped", |tally| tally.shipped));
    for reason in total.refused.keys() {
        let key = reason.clone();
        let read = move |tally: &Tally| tally.refused.get(&key).unwrap_or(&0).to_string();
        lines.push((format!("calls refused: {reason}"), Box::new(read)));
    }
    lines.push(count("rows returned", |tally| tally.returned_rows));
    lines.push(count("rows without a purchase", |tally| tally.unmatched_rows));
    lines.push(count("stock corrections", |tally| tally.adjusted));
    lines.extend(total.revenue_minor.keys().map(|code| money("captured", code, captured)));
    lines.extend(total.refunded_minor.keys().map(|code| money("refunded", code, refunded)));
    lines.push(latency("PlaceOrder p50", 0.50));
    lines.push(latency("PlaceOrder p99", 0.99));
    let seconds = report.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let rate = move |tally: &Tally| format!("{:.1}", tally.placed as f64 / seconds);
    lines.push(("orders/s".to_owned(), Box::new(rate)));
    lines
}

type Sums = std::collections::BTreeMap<String, i128>;

fn captured(tally: &Tally) -> &Sums {
    &tally.revenue_minor
}

fn refunded(tally: &Tally) -> &Sums {
    &tally.refunded_minor
}

fn money(label: &str, code: &str, read: fn(&Tally) -> &Sums) -> Line {
    let key = code.to_owned();
    let cell = move |tally: &Tally| {
        read(tally).get(&key).map_or_else(|| "-".to_owned(), |minor| amount(*minor, &key))
    };
    (format!("{label} {code}"), Box::new(cell))
}

/// Minor units as people write them; sums may be wider than one amount can be.
fn amount(minor: i128, code: &str) -> String {
    let exponent = code.parse::<Currency>().map_or(2, Currency::exponent);
    let scale = 10i128.pow(exponent);
    let whole = minor.abs() / scale;
    let sign = if minor < 0 { "-" } else { "" };
    match exponent {
        0 => format!("{sign}{whole}"),
        digits => {
            let part = minor.abs() % scale;
            format!("{sign}{whole}.{part:0width$}", width = digits as usize)
        }
    }
}

fn latency(label: &str, quantile: f64) -> Line {
    let read = move |tally: &Tally| tally.latency(quantile).map_or("-".to_owned(), millis);
    (label.to_owned(), Box::new(read))
}

fn millis(latency: Duration) -> String {
    format!("{:.1} ms", latency.as_secs_f64() * 1_000.0)
}

/// What the figures do not say by themselves. Writing to a `String` cannot fail.
fn notes(report: &Report, total: &Tally) -> String {
    let mut notes = String::new();
    let shares = &report.shares;
    let _ = writeln!(
        notes,
        "synthetic, not in the data: {} invoices moved to US, CA, JP, AU (number of minor units \
         kept); {} of 1000 cards decline; {} of 1000 orders are cancelled; {} of {} SKUs start \
         short",
        report.rehomed_invoices,
        shares.declined,
        shares.cancelled,
        total.skus_short,
        total.skus_loaded,
    );
    let _ = writeln!(
        notes,
        "a cancellation (C...) is matched to the buyer's newest shipped purchase of that item; \
         {} rows had none in this file and were not replayed",
        total.unmatched_rows,
    );
    if total.replayed > 0 {
        let _ = writeln!(notes, "{} answers were known from an earlier run", total.replayed);
    }
    for left in &report.left {
        let _ = writeln!(notes, "line {}: not replayed: {}", left.line, left.why);
    }
    for malformed in &report.malformed {
        let _ = writeln!(notes, "line {}: malformed, skipped: {}", malformed.line, malformed.why);
    }
    if !report.surprises.is_empty() {
        let why =
            "otherwise than predicted, which assumes a league that only this file has stocked:";
        let _ = writeln!(notes, "{why}");
    }
    for surprise in &report.surprises {
        let (expected, found) = (&surprise.expected, &surprise.found);
        let _ =
            writeln!(notes, "  invoice {}: expected {expected}, found {found}", surprise.invoice);
    }
    notes
}

/// The same, for programs.
#[must_use]
pub fn json(report: &Report) -> Value {
    let region = |tally: &Tally| {
        json!({
            "skus_loaded": tally.skus_loaded,
            "skus_short": tally.skus_short,
            "orders_placed": tally.placed,
            "orders_confirmed": tally.confirmed,
            "orders_rejected": tally.rejected,
            "orders_cancelled": tally.cancelled,
            "orders_shipped": tally.shipped,
            "calls_refused": tally.refused,
            "answers_replayed": tally.replayed,
            "rows_returned": tally.returned_rows,
            "rows_unmatched": tally.unmatched_rows,
            "stock_corrections": tally.adjusted,
            "captured": sums(&tally.revenue_minor),
            "refunded": sums(&tally.refunded_minor),
            "place_order_p50_us": tally.latency(0.50).map(|latency| latency.as_micros() as u64),
            "place_order_p99_us": tally.latency(0.99).map(|latency| latency.as_micros() as u64),
            "orders_per_second": report.orders_per_second(tally),
        })
    };
    let regions: serde_json::Map<String, Value> =
        report.regions.iter().map(|(name, tally)| (name.to_string(), region(tally))).collect();
    json!({
        "regions": regions,
        "league": region(&report.total()),
        "synthetic": { "shares": report.shares, "rehomed_invoices": report.rehomed_invoices },
        "malformed": report.malformed,
        "not_replayed": report.left,
        "surprises": report.surprises,
        "elapsed_ms": report.elapsed.as_millis() as u64,
    })
}

/// Amounts as decimal text: JSON numbers are floats to many readers.
fn sums(sums: &Sums) -> serde_json::Map<String, Value> {
    sums.iter().map(|(code, minor)| (code.clone(), json!(amount(*minor, code)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_follow_their_currency() {
        for (minor, code, text) in [
            (123_456, "GBP", "1234.56"),
            (-5, "USD", "-0.05"),
            (255, "JPY", "255"),
            (0, "GBP", "0.00"),
        ] {
            assert_eq!(amount(minor, code), text);
        }
    }

    #[test]
    fn an_amount_fits_whatever_a_sum_may_be() {
        assert_eq!(amount(i128::from(i64::MAX) * 2, "GBP"), "184467440737095516.14");
    }
}
