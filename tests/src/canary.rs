//! A text that nobody else has, in every form in which it may lie somewhere.

use std::fmt::Write as _;

use memchr::memmem;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text as it is, in UTF-16 of both orders, in hex, percent-encoded, and in base64 at each of
/// its three places.
pub fn forms(text: &str) -> Vec<Vec<u8>> {
    let wide: Vec<u16> = text.encode_utf16().collect();
    let mut forms = vec![
        text.as_bytes().to_vec(),
        wide.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        wide.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        hex(text, "", false).into_bytes(),
        hex(text, "", true).into_bytes(),
    ];
    let percent = |upper| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                true => out.push(char::from(byte)),
                false => out.push_str(&hex_of(byte, "%", upper)),
            }
            out
        })
    };
    forms.extend([percent(true).into_bytes(), percent(false).into_bytes()]);
    forms.push(hex(text, "%", true).into_bytes());
    for shift in 0..3 {
        let standard = base64(text, shift);
        let url: String = standard
            .chars()
            .map(|c| {
                if c == '+' {
                    '-'
                } else if c == '/' {
                    '_'
                } else {
                    c
                }
            })
            .collect();
        forms.extend([standard.into_bytes(), url.into_bytes()]);
    }
    forms.sort();
    forms.dedup();
    forms
}

fn hex(text: &str, before: &str, upper: bool) -> String {
    text.bytes().map(|byte| hex_of(byte, before, upper)).collect()
}

fn hex_of(byte: u8, before: &str, upper: bool) -> String {
    let mut out = before.to_owned();
    // Writing to a string cannot fail.
    let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
    out
}

/// The digits that do not depend on what stands around the text, which begins at `shift` of three.
fn base64(text: &str, shift: usize) -> String {
    let padded = [vec![0; shift], text.as_bytes().to_vec()].concat();
    let bits = padded.len() * 8;
    let digit = |at: usize| {
        let word = (0..6).fold(0_usize, |word, n| {
            let bit = at * 6 + n;
            word << 1 | usize::from(padded[bit / 8] >> (7 - bit % 8) & 1)
        });
        char::from(DIGITS[word])
    };
    ((shift * 8).div_ceil(6)..bits / 6).map(digit).collect()
}

/// Whether any form of the text is in these bytes. Pages of nothing but zeros are passed over:
/// most of a log's segment is that, and no form has a zero page in it.
pub fn is_in(bytes: &[u8], text: &str) -> bool {
    let forms = forms(text);
    let finders: Vec<_> = forms.iter().map(memmem::Finder::new).collect();
    let found = |part: &[u8]| finders.iter().any(|finder| finder.find(part).is_some());
    parts(bytes).into_iter().any(found)
}

/// The stretches between whole pages of zeros.
fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    const PAGE: [u8; 4096] = [0; 4096];
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, page) in (0..).step_by(PAGE.len()).zip(bytes.chunks(PAGE.len())) {
        if page == PAGE {
            parts.push(&bytes[start..at]);
            start = at + PAGE.len();
        }
    }
    parts.push(&bytes[start.min(bytes.len())..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_every_form() {
        let text = "Zenobia Quintessenz";
        for form in [
            "…Zenobia Quintessenz…".to_owned(),
            "Zenobia%20Quintessenz".to_owned(),
            "5a656e6f626961205175696e74657373656e7a".to_owned(),
            // base64 of the text behind nothing, "x" and "xy".
            "WmVub2JpYSBRdWludGVzc2Vueg==".to_owned(),
            "eFplbm9iaWEgUXVpbnRlc3Nlbno=".to_owned(),
            "eHlaZW5vYmlhIFF1aW50ZXNzZW56".to_owned(),
        ] {
            assert!(is_in(form.as_bytes(), text), "{form}");
        }
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(is_in(&wide, text));
        assert!(!is_in(b"Zenobia Quintessen", text));
    }
}
