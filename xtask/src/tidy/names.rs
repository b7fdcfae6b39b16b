//! Files are found by guessing their name.

use super::source::Source;

const DUMPING_GROUNDS: &[&str] = &[
    "mod.rs",
    "utils.rs",
    "util.rs",
    "common.rs",
    "helpers.rs",
    "manager.rs",
    "types.rs",
    "misc.rs",
];

pub fn check(source: &Source) -> Option<String> {
    let name = source.path.rsplit('/').next()?;
    let bad = DUMPING_GROUNDS.contains(&name);
    bad.then(|| format!("{}: name the file after what is in it (style.md 4)", source.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumping_ground_is_found() {
        let source = |path: &str| Source { path: path.to_owned(), text: String::new() };
        assert!(check(&source("crates/x/src/utils.rs")).is_some());
        assert!(check(&source("crates/x/src/a/mod.rs")).is_some());
        assert!(check(&source("crates/x/src/money.rs")).is_none());
    }
}
