use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: String,
    #[serde(default)]
    timing: Timing,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Timing {
    heartbeat_ms: u64,
    election_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat_ms: 150, election_ms: 600 }
    }
}

impl Checked for Node {
    fn check(&self, problems: &mut Problems) {
        problems.must(!self.name.is_empty(), "name", &self.name, "not empty");
        problems.within("timing", &self.timing);
    }
}

impl Checked for Timing {
    fn check(&self, problems: &mut Problems) {
        problems.range("heartbeat_ms", self.heartbeat_ms, 10..=5_000);
        let good = self.election_ms >= 3 * self.heartbeat_ms;
        problems.must(good, "election_ms", self.election_ms, "three heartbeats or more");
    }
}

fn read(text: &str) -> Result<Node, String> {
    parse(Path::new("node.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn all_wrong_values_are_named_with_their_range_at_once() {
    let error = read("name = ''\n[timing]\nheartbeat_ms = 5\nelection_ms = 10").unwrap_err();
    assert!(error.contains("timing.heartbeat_ms = 5: must be 10 to 5000"), "{error}");
    assert!(error.contains("timing.election_ms = 10: must be three heartbeats"), "{error}");
    assert!(error.contains("name = : must be not empty"), "{error}");
}

#[test]
fn a_misspelt_key_is_refused_by_name_and_line() {
    let error = read("name = 'n'\n[timing]\nhartbeat_ms = 150").unwrap_err();
    assert!(error.contains("hartbeat_ms") && error.contains("heartbeat_ms"), "{error}");
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_key() {
    let error = read("name = 'n'\n[timing]\nheartbeat_ms = 'soon'").unwrap_err();
    assert!(error.contains("heartbeat_ms") && error.contains("soon"), "{error}");
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let config = read("name = 'n'").unwrap();
    let printed = print(&config).unwrap();
    assert!(printed.contains("election_ms = 600"), "{printed}");
    assert_eq!(read(&printed).unwrap(), config);
}
