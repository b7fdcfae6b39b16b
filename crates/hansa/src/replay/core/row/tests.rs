use super::*;

const HEAD: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

fn read_lines(lines: &[u8]) -> (Vec<Row>, Vec<Malformed>) {
    let mut file = HEAD.as_bytes().to_vec();
    file.extend_from_slice(lines);
    read(file.as_slice()).expect("readable")
}

#[test]
fn a_real_line_keeps_every_column() {
    let (rows, malformed) = read_lines(
        b"536365,85123A,WHITE HEART HOLDER,6,2010-12-01 08:26,2.55,17850,United Kingdom\n",
    );
    assert_eq!(malformed, []);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].line, rows[0].quantity, rows[0].unit_price_minor), (2, 6, 255));
    assert_eq!((rows[0].customer.as_str(), rows[0].country.as_str()), ("17850", "United Kingdom"));
}

#[track_caller]
fn check_why(line: &[u8], expected: &str) {
    let mut lines = line.to_vec();
    lines
        .extend_from_slice(b"\n536366,22633,WARMER,6,2010-12-01 08:28,1.85,17850,United Kingdom\n");
    let (rows, malformed) = read_lines(&lines);
    assert_eq!(rows.len(), 1, "the rest goes on");
    assert_eq!(malformed.len(), 1, "one malformed line");
    assert_eq!(malformed[0].line, 2, "named by its line");
    assert!(malformed[0].why.contains(expected), "{:?} lacks {expected:?}", malformed[0].why);
}

#[test]
fn a_malformed_line_is_named_and_the_rest_goes_on() {
    check_why(b"536365,85123A,X,6,2010-12-01 08:26,2.55,17850", "7 fields");
    check_why(b"536365,85123A,X,six,2010-12-01 08:26,2.55,17850,France", "Quantity `six`");
    check_why(b"536365,85123A,X,0,2010-12-01 08:26,2.55,17850,France", "Quantity is 0");
    check_why(b"536365,85123A,X,1,01/12/2010 08:26,2.55,17850,France", "InvoiceDate");
    check_why(b"536365,85123A,X,1,2010-12-01 08:26,0.001,17850,France", "UnitPrice `0.001`");
    check_why(b"536365,85123A,X,1,2010-12-01 08:26,1e3,17850,France", "UnitPrice");
    check_why(b"536365,,X,1,2010-12-01 08:26,1,17850,France", "StockCode is empty");
    check_why(b",85123A,X,1,2010-12-01 08:26,1,17850,France", "InvoiceNo is empty");
    check_why(b"536 65,85123A,X,1,2010-12-01 08:26,1,17850,France", "InvoiceNo");
    check_why(
        b"536365,85123A,\xa340,1,2010-12-01 08:26,1,17850,France",
        "Description is not UTF-8",
    );
    check_why(b"536365,85123A,X,1,2010-12-01 08:26,1,17850,", "Country is empty");
}

#[test]
fn another_file_is_refused_as_a_whole() {
    let wrong = read("invoice,code\n1,2\n".as_bytes());
    assert!(matches!(wrong, Err(FileError::Header { position: 1, .. })), "{wrong:?}");
    assert!(matches!(read("".as_bytes()), Err(FileError::NoHeader)));
}

#[test]
fn prices_are_pence_and_never_rounded() {
    for (text, minor) in [("2.55", 255), ("2.5", 250), ("15", 1500), ("0.0", 0), ("-1.20", -120)] {
        assert_eq!(price(text), Ok(minor), "{text}");
    }
    for text in ["", ".", ".5", "1.234", "1,20", "+1", "--1", "99999999999999999999"] {
        assert!(price(text).is_err(), "{text}");
    }
}
