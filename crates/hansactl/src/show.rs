//! Answers that several nouns share.

use crate::member::group_name;
use crate::output::Rows;

/// What a change of wanted members changed.
pub fn changed(version: u64, groups: &[u32]) -> Rows {
    let mut rows = Rows::new(&["group", "directory"], "nothing to change: it is as wanted");
    for group in groups {
        rows.add([group_name(*group), format!("version {version}")]);
    }
    rows
}
