//! What may not be named where.

use super::source::Source;

struct Rule {
    applies: fn(&Source) -> bool,
    words: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        applies: |source| source.path.contains("/core/") || source.path.ends_with("/core.rs"),
        words: &[
            "async fn",
            ".await",
            "tokio::",
            "tonic::",
            "futures::",
            "sled::",
            "redb::",
            "hansa_views",
            "std::fs",
            "std::net",
            "std::thread",
            "Instant::now",
            "SystemTime",
            "HashMap",
            "HashSet",
            "rand::",
            "SystemRandom",
            "mpsc",
        ],
        why: "a core is pure: time, ids and randomness are arguments, I/O is the shell's",
    },
    Rule {
        applies: |source| source.path != "crates/api/src/status.rs" && !in_status_folder(source),
        words: &[
            "Status::new(",
            "Status::with_details",
            "Status::internal(",
            "Status::unavailable(",
        ],
        why: "a gRPC status is made in crates/api/src/status.rs only",
    },
    Rule {
        applies: |source| source.path.starts_with("crates/ledger/"),
        words: &["Peers", "client::connect", "Endpoint::from"],
        why: "the ledger dials nobody",
    },
    Rule {
        applies: |source| source.path.starts_with("crates/gateway/"),
        words: &["std::fs::write", "File::create", "hansa_consensus", "hansa_views"],
        why: "the gateway stores nothing",
    },
];

fn in_status_folder(source: &Source) -> bool {
    source.path.starts_with("crates/api/src/status/")
}

pub fn check(source: &Source) -> Vec<String> {
    // The words above would find themselves.
    if source.is_test() || source.path.starts_with("xtask/") {
        return Vec::new();
    }
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| (rule.applies)(source)).collect();
    source
        .shipped_lines()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(n, line)| rules.iter().filter_map(move |rule| problem(rule, n, line)))
        .map(|problem| format!("{}:{problem}", source.path))
        .collect()
}

fn problem(rule: &Rule, n: usize, line: &str) -> Option<String> {
    let word = rule.words.iter().find(|word| line.contains(**word))?;
    Some(format!("{n}: `{word}` here: {}", rule.why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        super::check(&Source { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn a_clock_in_a_core_is_found() {
        let text = "let now = Instant::now();\n";
        assert_eq!(check("crates/orders/src/core/order.rs", text), 1);
        assert_eq!(check("crates/orders/src/saga/runner.rs", text), 0);
        assert_eq!(check("crates/orders/src/core/order/tests.rs", text), 0);
        assert_eq!(check("crates/orders/src/core/order.rs", "// Instant::now is absent\n"), 0);
    }

    #[test]
    fn a_status_made_inline_is_found() {
        let text = "return Err(tonic::Status::new(code, text));\n";
        assert_eq!(check("crates/gateway/src/service/x.rs", text), 1);
        assert_eq!(check("crates/api/src/status.rs", text), 0);
    }
}
