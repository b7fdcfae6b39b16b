//! Where a test's league keeps its data: below `target/`, emptied when the test begins and left
//! behind when it fails, so that it can be looked at ([`crate::processes::Processes`] takes its
//! nodes' data away where all went well).

use std::path::{Path, PathBuf};

use memchr::memmem;

/// An empty folder named after the test.
pub fn fresh(name: &str) -> PathBuf {
    let target = std::env::current_exe().expect("a test binary has a path");
    // target/debug/deps/test-binary
    let target = target.ancestors().nth(3).expect("below target/").to_owned();
    let folder = target.join("tmp").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the last run's folder goes");
    }
    std::fs::create_dir_all(&folder).expect("a new folder");
    folder
}

/// Every file below `folder` that holds `needle`, byte by byte; but for what its node takes away
/// meanwhile.
pub fn files_with(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = there(std::fs::read_dir(&folder)) else { continue };
        for entry in entries {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if there(std::fs::read(&path))
                .is_some_and(|bytes| memmem::find(&bytes, needle).is_some())
            {
                found.push(path);
            }
        }
    }
    found
}

fn there<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.expect("it is readable")),
    }
}
