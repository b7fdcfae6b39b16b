//! What would make two runs of a node differ: it is injected (`hansa::node::World`), or absent.

use super::source::Source;

/// Crates whose code runs inside a simulated node.
const SERVER: [&str; 12] = [
    "crates/api/",
    "crates/consensus/",
    "crates/gateway/",
    "crates/hansa/src/node",
    "crates/ledger/",
    "crates/node/",
    "crates/orders/",
    "crates/pages/",
    "crates/region-router/",
    "crates/types/",
    "crates/views/",
    "crates/wal/",
];

struct Rule {
    words: &'static [&'static str],
    why: &'static str,
    /// Where the real thing is, and what a simulated node never runs.
    except: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        words: &["SystemTime", "std::time::Instant"],
        why: "time comes from env.clock or tokio::time",
        // A client on a real machine dates its own requests.
        except: &["crates/node/src/env/real.rs", "crates/api/src/client/reach.rs"],
    },
    Rule {
        words: &["rand::", "SystemRandom", "new_v4", "getrandom", "RandomState", "fastrand"],
        why: "randomness comes from env.entropy",
        // A client's own jitter, when nobody gives it any.
        except: &["crates/node/src/env/real.rs", "crates/api/src/client/reach.rs"],
    },
    Rule {
        words: &["std::thread", "spawn_blocking", "block_in_place", "JoinSet"],
        why: "loops are started by env.loops, tasks by env.tasks",
        // Flushes the process's traces at its end.
        except: &["crates/node/src/env/real.rs", "crates/node/src/telemetry.rs"],
    },
    Rule {
        words: &["HashMap", "HashSet"],
        why: "whatever is iterated or dropped has an order: BTreeMap, BTreeSet",
        // Its hasher has no secret, and nobody iterates it.
        except: &["crates/pages/src/table.rs"],
    },
    Rule {
        words: &["TcpListener", "TcpStream", "UdpSocket", "UnixStream"],
        why: "streams come from hansa_node::net",
        except: &[
            "crates/node/src/net/real.rs",
            "crates/api/src/client/reach.rs",
            // The metrics page and the probes belong to a process: a simulated node has none.
            "crates/node/src/telemetry/probes.rs",
        ],
    },
    Rule {
        words: &["std::fs", "tokio::fs", "File::open(", "OpenOptions"],
        why: "files are reached through hansa_wal::fs::Fs",
        except: &[
            "crates/wal/src/fs/real.rs",
            "crates/node/src/config.rs",
            "crates/node/src/devca.rs",
            "crates/orders/src/provider/sandbox/journal.rs",
            "crates/orders/src/provider/sandbox/settlement.rs",
            "crates/views/src/sled_view.rs",
        ],
    },
];

/// Never shipped, whatever their names say.
const FIXTURES: [&str; 3] = ["/examples/", "/testing", "/fixture.rs"];

pub fn check(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let server = SERVER.iter().any(|part| path.starts_with(part)) && !path.ends_with("build.rs");
    let shipped = !source.is_test() && !FIXTURES.iter().any(|part| path.contains(part));
    if !server || !shipped || path == "crates/views/src/conformance.rs" {
        return Vec::new();
    }
    let rules = RULES.iter().filter(|rule| !rule.except.contains(&path));
    let mut found: Vec<String> = rules.flat_map(|rule| named(rule, source)).collect();
    found.extend(unbiased(source));
    found
}

fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.shipped_lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn named(rule: &Rule, source: &Source) -> Vec<String> {
    let hit = |(n, line): (usize, &str)| {
        let word = rule.words.iter().find(|word| names(line, word))?;
        Some(format!("{}:{n}: `{word}` here: {}", source.path, rule.why))
    };
    code(source).filter_map(hit).collect()
}

/// Whether the line names the word, also as one of several that are imported together.
fn names(line: &str, word: &str) -> bool {
    let apart = word.rsplit_once("::").filter(|(_, last)| !last.is_empty());
    let together = apart.is_some_and(|(from, last)| {
        let list = line.split_once(&format!("use {from}::{{")).map(|(_, list)| list);
        list.is_some_and(|list| list.split([',', '}', ' ', ';']).any(|name| name == last))
    });
    // A crate's name begins where no other name goes on.
    let goes_on = |at: usize| {
        let before = line[..at].chars().next_back();
        word.ends_with("::") && before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    line.match_indices(word).any(|(at, _)| !goes_on(at)) || together
}

/// A choice among several that are ready is made by chance unless it says otherwise.
fn unbiased(source: &Source) -> Vec<String> {
    let mut lines = code(source).peekable();
    let mut found = Vec::new();
    while let Some((n, line)) = lines.next() {
        let mut first = || lines.peek().is_some_and(|(_, next)| next.trim() == "biased;");
        if line.contains("select! {") && !line.contains("biased;") && !first() {
            found.push(format!("{}:{n}: `select!` without `biased;`", source.path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        super::check(&Source { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn a_clock_a_lot_and_a_socket_are_found_but_not_where_they_are_made() {
        for text in [
            "let now = SystemTime::now();",
            "use std::time::{Duration, Instant};",
            "let now = std::time::Instant::now();",
            "let lot: f64 = rand::random();",
            "let all: HashMap<u64, Step> = HashMap::new();",
            "let socket = TcpStream::connect(at).await?;",
            "let text = std::fs::read_to_string(path)?;",
            "tokio::task::spawn_blocking(work);",
        ] {
            assert_eq!(check("crates/orders/src/saga/runner.rs", text), 1, "{text}");
            assert_eq!(check("crates/orders/src/tests/rig.rs", text), 0, "{text}");
            assert_eq!(check("crates/hansactl/src/main.rs", text), 0, "{text}");
        }
        assert_eq!(check("crates/orders/src/x.rs", "use tokio::time::{Instant, sleep};"), 0);
        assert_eq!(check("crates/orders/src/x.rs", "use std::time::{Duration, InstantLike};"), 0);
        assert_eq!(check("crates/node/src/env/real.rs", "SystemTime::now()"), 0);
        assert_eq!(check("crates/orders/src/x.rs", "self.rounds(Errand::Delete)"), 0);
        assert_eq!(check("crates/orders/src/x.rs", "Errand::lot(rand::random())"), 1);
    }

    #[test]
    fn a_choice_by_chance_is_found() {
        let fair = "tokio::select! {\n    a = b => {}\n}";
        let biased = "tokio::select! {\n    // Why.\n    biased;\n    a = b => {}\n}";
        assert_eq!(check("crates/ledger/src/x.rs", fair), 1);
        assert_eq!(check("crates/ledger/src/x.rs", biased), 0);
    }
}
