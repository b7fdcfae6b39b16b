//! The file's English country names as ISO 3166-1 codes. Which region is home is not decided here:
//! that is policy, and the league answers it.

/// Every country name of the published dataset, dirt included (`EIRE`, `RSA`, `USA`).
const NAMES: &[(&str, &str)] = &[
    ("Australia", "AU"),
    ("Austria", "AT"),
    ("Bahrain", "BH"),
    ("Belgium", "BE"),
    ("Brazil", "BR"),
    ("Canada", "CA"),
    // Two ISO codes under one name; Jersey is the larger, and policies treat both alike.
    ("Channel Islands", "JE"),
    ("Cyprus", "CY"),
    ("Czech Republic", "CZ"),
    ("Denmark", "DK"),
    ("EIRE", "IE"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Hong Kong", "HK"),
    ("Iceland", "IS"),
    ("Israel", "IL"),
    ("Italy", "IT"),
    ("Japan", "JP"),
    ("Lebanon", "LB"),
    ("Lithuania", "LT"),
    ("Malta", "MT"),
    ("Netherlands", "NL"),
    ("Norway", "NO"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    ("RSA", "ZA"),
    ("Saudi Arabia", "SA"),
    ("Singapore", "SG"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("USA", "US"),
    ("United Arab Emirates", "AE"),
    ("United Kingdom", "GB"),
];

/// The ISO code of a country name of the file; `None` for a name that names no country
/// (`Unspecified`, `European Community`): such a line is reported, never guessed.
#[must_use]
pub fn iso(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_names_are_mapped_and_its_dirt_too() {
        for (name, code) in [
            ("EIRE", Some("IE")),
            ("Channel Islands", Some("JE")),
            ("United Kingdom", Some("GB")),
            ("united kingdom", Some("GB")),
            ("RSA", Some("ZA")),
            ("Unspecified", None),
            ("European Community", None),
        ] {
            assert_eq!(iso(name), code, "{name}");
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        for (index, (name, code)) in NAMES.iter().enumerate() {
            assert_eq!(code.len(), 2, "{name}");
            assert!(NAMES[..index].iter().all(|(earlier, _)| earlier != name), "{name}");
        }
    }
}
