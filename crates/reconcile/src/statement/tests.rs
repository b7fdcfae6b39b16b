//! Dirt in statements, and sums over what is sound.

use super::*;

const HEAD: &str = "key,kind,amount,currency,time,reference\n";
const T: u64 = 1_700_000_000_000;

fn order(n: u64) -> OrderId {
    use hansa_types::region::{RegionNumber, Slot};
    use hansa_types::time::LogTime;
    let region = RegionNumber::try_from(1).unwrap();
    OrderId::new(LogTime(T + n), region, Slot::of(b"c"), n)
}

fn charges(text: &str, run: usize) -> Result<Vec<Charge>, Error> {
    let mut read = from_reader(text.as_bytes(), &Mapping::sandbox(), run, |_| {})?;
    let mut all = Vec::new();
    while let Some(charge) = read.charges.next_charge()? {
        all.push(charge);
    }
    Ok(all)
}

#[test]
fn sums_are_the_same_however_many_runs_it_takes() {
    let mut text = HEAD.to_owned();
    for n in (0..50).rev() {
        let key = format!("pay-{}", order(n));
        text += &format!("{key},capture,700,EUR,{},c\n{key},auth,700,EUR,{T},a\n", T + n);
        text += &format!("{key},refund,{},EUR,{T},r1\n{key},capture,700,EUR,{T},c\n", n + 1);
    }
    text += &format!("foreign,auth,5,EUR,{T},x\n");
    let whole = charges(&text, 1_000).unwrap();
    assert_eq!(whole.len(), 51);
    for (n, charge) in (0..).zip(&whole[..50]) {
        assert_eq!(charge.order(), Some(order(n)));
        assert_eq!(
            (charge.captured, charge.net()),
            (700, 699 - n as i64),
            "said twice, once taken"
        );
    }
    assert_eq!((whole[50].order(), whole[50].open()), (None, 5), "keys of no order come last");
    for run in [1, 3, 7, 64] {
        assert_eq!(charges(&text, run).unwrap(), whole, "runs of {run}");
    }
}

#[test]
fn dirt_is_refused_with_its_line() {
    let key = format!("pay-{}", order(1));
    let good = format!("{key},auth,700,EUR,{T},a\n");
    let cases = [
        (format!("{key},auth,700,EUR,{T}\n"), "fields"),
        (format!("{key},auth,700,EUR,{T},a,b\n"), "fields"),
        (format!("{key},settled,700,EUR,{T},a\n"), "no kind"),
        (format!("{key},auth,7.00,EUR,{T},a\n"), "amount"),
        (format!("{key},auth,-700,EUR,{T},a\n"), "negative"),
        (format!("{key},auth,0,EUR,{T},a\n"), "nothing"),
        (format!("{key},auth,99999999999999999999,EUR,{T},a\n"), "amount"),
        (format!("{key},auth,700,EUX,{T},a\n"), "ISO 4217"),
        (format!("{key},auth,700,EUR,yesterday,a\n"), "time"),
        (format!("{key},auth,700,EUR,17,a\n"), "out of reach"),
        (format!(",auth,700,EUR,{T},a\n"), "no key"),
        (format!("{key},auth,700,EUR,{T},4111 1111 1111 1111\n"), "card number"),
        (format!("4111111111111111,auth,700,EUR,{T},a\n"), "card number"),
        (format!("{key},auth,700,EUR,{T},a\u{7}b\n"), "control"),
        (format!("{key},auth,700,EUR,{T},{}\n", "x".repeat(300)), "longer"),
    ];
    for (bad, word) in cases {
        let error = charges(&format!("{HEAD}{good}{bad}{good}"), 100).unwrap_err().to_string();
        assert!(error.starts_with("line 3") && error.contains(word), "{bad}: {error}");
        assert!(!error.contains("4111"), "never echoed: {error}");
    }
    for head in ["", "key,kind,amount,currency,time\n", "kind,key,amount,currency,time,reference\n"]
    {
        assert!(charges(&format!("{head}{good}"), 100).is_err(), "{head}");
    }
    let mut bytes = format!("{HEAD}{good}").into_bytes();
    bytes.extend(b"\xff,auth,700,EUR,1700000000000,a\n");
    assert!(from_reader(&bytes[..], &Mapping::sandbox(), 10, |_| {}).is_err(), "not UTF-8");
}

#[test]
fn a_file_that_was_cut_short_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statement.csv");
    let line = format!("pay-{},capture,70", order(1));
    std::fs::write(&path, format!("{HEAD}{line}")).unwrap();
    let error = read(&path, &Mapping::sandbox(), |_| {}).err().unwrap().to_string();
    assert!(error.contains("cut short"), "{error}");
}

#[test]
fn a_banks_file_without_a_last_newline_is_whole_unless_its_mapping_wants_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank.csv");
    let line = format!("2026-01-02T03:04:05Z;Settled;hansa/pay-{};A1;12,50;EUR;x", order(1));
    let head = "Booked;Type;Merchant Reference;Psp Reference;Net;Ccy;Note";
    let read_by = |mapping: &str| read(&path, &Mapping::parse(mapping).unwrap(), |_| {});
    let strict = MAPPING.replace("format = 1", "format = 1\nfinal_newline = true");
    std::fs::write(&path, format!("{head}\n{line}")).unwrap();
    assert_eq!(read_by(MAPPING).map(|read| read.lines).unwrap(), 1);
    assert!(read_by(&strict).err().unwrap().to_string().contains("cut short"));
    std::fs::write(&path, format!("{head}\n{line}\n")).unwrap();
    assert!(read_by(MAPPING).is_ok() && read_by(&strict).is_ok());
    // Cut inside of a line it lacks fields, whatever the mapping says.
    std::fs::write(&path, format!("{head}\n{}", &line[..line.len() - 5])).unwrap();
    assert!(read_by(MAPPING).is_err());
}

const MAPPING: &str = r#"

        format = 1
        delimiter = ";"
        unit = "major"
        decimal = ","
        sign = "signed"
        time = "rfc3339"
        key_prefix = "hansa/"
        [columns]
        key = "Merchant Reference"
        kind = "Type"
        amount = "Net"
        currency = "Ccy"
        time = "Booked"
        reference = "Psp Reference"
        [kinds]
        capture = ["Settled"]
        refund = ["Refunded"]
        ignore = ["Fee"]
    "#;

#[test]
fn a_mapping_turns_a_real_file_into_ours() {
    let mapping = MAPPING;
    let parsed = Mapping::parse(mapping).unwrap();
    let key = format!("pay-{}", order(1));
    let text = format!(
        "Booked;Type;Merchant Reference;Psp Reference;Net;Ccy;Note\n\
         2026-01-02T03:04:05Z;Settled;hansa/{key};A1;12,50;EUR;x\n\
         2026-01-02T03:04:05Z;Refunded;hansa/{key};A2;-2,5;EUR;x\n\
         2026-01-02T03:04:05Z;Fee;;A3;0,10;EUR;x\n"
    );
    let mut read = from_reader(text.as_bytes(), &parsed, 10, |_| {}).unwrap();
    let charge = read.charges.next_charge().unwrap().unwrap();
    assert_eq!((charge.order(), charge.captured, charge.refunded), (Some(order(1)), 1_250, 250));
    assert_eq!(read.lines, 3);
    for (from, to) in [
        ("format = 1", "format = 2"),
        ("unit = \"major\"", "unit = \"cents\""),
        ("ignore = [\"Fee\"]", "ignore = [\"Settled\"]"),
        ("ignore = [\"Fee\"]", "chargeback = [\"C\"]"),
        ("key = \"Merchant Reference\"", "extra = \"x\""),
    ] {
        assert!(Mapping::parse(&mapping.replace(from, to)).is_err(), "{to}");
    }
}
