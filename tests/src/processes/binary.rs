//! The programs that tests run: the one that ships, one that never syncs, and its next release.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The `hansa` binary of this build, made if it is not there or old.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("hansa", ""))
}

/// The operator's tool of this build.
pub fn hansactl() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("hansactl", ""))
}

/// The same with every sync compiled out: `HANSA_WITHOUT_SYNC`, or built here, which takes a while.
pub fn without_sync() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("HANSA_WITHOUT_SYNC") {
        Some(path) => path.into(),
        None => build("hansa-unsafe-no-sync", "hansa/unsafe-no-sync"),
    })
}

/// The next release, whose orders apply a second version: built here, two crates beside the others.
pub fn next_release() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("hansa-version-2-test", "hansa/version-2-test"))
}

/// Programs that are there already are taken from `HANSA_BIN`, as they are.
fn build(bin: &str, features: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("HANSA_BIN") {
        return Path::new(&folder).join(bin);
    }
    let test = std::env::current_exe().expect("a test binary has a path");
    // target/debug/deps/test-binary
    let folder = test.ancestors().nth(2).expect("below target/").to_owned();
    let mut build = xtask::cargo();
    build.args(["build", "-q", "--bin", bin, "--features", features]);
    build.arg("--target-dir").arg(folder.parent().expect("target/"));
    match cfg!(debug_assertions) {
        // As `cargo test --workspace` builds it, so that nothing is built twice: features are the
        // same only with a test beside the program, any that is quick to link.
        true => build.args(["--workspace", "--test", "tidy"]),
        // As `cargo test -p hansa-tests --release` does.
        false => build.args(["--release", "-p", "hansa-tests", "-p", "hansa", "-p", "hansactl"]),
    };
    assert!(build.status().expect("cargo runs").success(), "{bin} does not build");
    folder.join(bin)
}
