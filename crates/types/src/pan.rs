//! Finds what could be a payment card number, so that it is refused and never stored.

/// Whether `text` holds 13 to 19 digits (spaces, dots and hyphens between them allowed) that
/// pass the Luhn check and begin like a known issuer with a length that issuer uses.
///
/// Digits of any script count, because a terminal accepts them too. A longer run of digits is
/// searched at every start, so a card number glued to other digits is found.
///
/// # Source
/// ISO/IEC 7812-1 (Luhn), issuer ranges as the networks publish them.
pub fn looks_like_card(text: &str) -> bool {
    let mut run: Vec<u8> = Vec::new();
    for c in text.chars() {
        match digit(c) {
            Some(d) => run.push(d),
            None if separates(c) => {}
            None => {
                if run_holds_card(&run) {
                    return true;
                }
                run.clear();
            }
        }
    }
    run_holds_card(&run)
}

fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '.' | '_' | '\u{2010}'..='\u{2015}' | '\u{ad}' | '\u{200b}')
}

/// The value of a decimal digit: ASCII, full-width, Arabic-Indic, Devanagari, Bengali.
fn digit(c: char) -> Option<u8> {
    const ZEROS: [u32; 6] = [0x30, 0xff10, 0x0660, 0x06f0, 0x0966, 0x09e6];
    ZEROS.iter().find_map(|&zero| {
        let value = u32::from(c).checked_sub(zero)?;
        (value < 10).then_some(value as u8)
    })
}

fn run_holds_card(run: &[u8]) -> bool {
    (0..run.len()).any(|start| {
        (13..=19).any(|len| run.get(start..start + len).is_some_and(|d| known_issuer(d) && luhn(d)))
    })
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &d)| match (i % 2, u32::from(d) * 2) {
            (0, _) => u32::from(d),
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn known_issuer(digits: &[u8]) -> bool {
    let prefix = |n: usize| digits[..n].iter().fold(0_u32, |p, &d| p * 10 + u32::from(d));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    match digits.len() {
        13 => digits[0] == 4,
        14 => matches!(three, 300..=305) || matches!(two, 36 | 38 | 39),
        15 => matches!(two, 34 | 37),
        16 => {
            digits[0] == 4
                || matches!(two, 51..=55 | 62 | 65)
                || matches!(four, 2221..=2720 | 6011 | 3528..=3589 | 2200..=2204)
                || matches!(three, 644..=649)
        }
        19 => digits[0] == 4 || matches!(two, 62 | 65) || four == 6011,
        12..=19 => matches!(two, 50 | 56..=58 | 62) || matches!(three, 630..=639 | 676),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "call me: 5555555555554444 ok",
            "378282246310005",
            "x6011111111111117x",
            "４１１１１１１１１１１１１１１１",
            "0004111111111111111",
            "3530111333300000",
        ] {
            assert!(looks_like_card(card), "{card}");
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in [
            "",
            "WHITE METAL LANTERN",
            "4111111111111112",
            "0044 20 7946 0958",
            "536365",
            "2010-12-01 08:26",
            "1234567890123",
        ] {
            assert!(!looks_like_card(text), "{text}");
        }
    }
}
