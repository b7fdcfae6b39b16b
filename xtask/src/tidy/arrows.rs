//! Dependencies between our crates point one way only.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// Who may use whom: the rooms of ARCHITECTURE.md. Dev-dependencies are exempt.
const MAY_USE: &[(&str, &[&str])] = &[
    ("hansa-types", &[]),
    ("hansa-pages", &["hansa-types"]),
    ("hansa-backup", &["hansa-types"]),
    ("hansa-api", &["hansa-types"]),
    ("hansa-reconcile", &["hansa-types", "hansa-api"]),
    ("hansa-node", &["hansa-types", "hansa-api"]),
    ("hansa-wal", &["hansa-types", "hansa-node"]),
    ("hansa-consensus", &["hansa-types", "hansa-backup", "hansa-api", "hansa-node", "hansa-wal"]),
    ("hansa-views", &["hansa-types"]),
    (
        "hansa-region-router",
        &["hansa-types", "hansa-pages", "hansa-api", "hansa-node", "hansa-consensus"],
    ),
    (
        "hansa-ledger",
        &[
            "hansa-types",
            "hansa-pages",
            "hansa-api",
            "hansa-node",
            "hansa-consensus",
            "hansa-views",
        ],
    ),
    (
        "hansa-orders",
        &[
            "hansa-types",
            "hansa-pages",
            "hansa-api",
            "hansa-reconcile",
            "hansa-node",
            "hansa-wal",
            "hansa-consensus",
            "hansa-region-router",
        ],
    ),
    ("hansa-shard", &["hansa-types", "hansa-consensus", "hansa-ledger", "hansa-orders"]),
    ("hansa-gateway", &["hansa-types", "hansa-api", "hansa-node", "hansa-region-router"]),
    (
        "hansa-sweep",
        &[
            "hansa-types",
            "hansa-api",
            "hansa-backup",
            "hansa-wal",
            "hansa-consensus",
            "hansa-views",
            "hansa-region-router",
            "hansa-ledger",
            "hansa-orders",
            "hansa-shard",
        ],
    ),
    (
        "hansa",
        &[
            "hansa-sweep",
            "hansa-backup",
            "hansa-types",
            "hansa-api",
            "hansa-node",
            "hansa-wal",
            "hansa-consensus",
            "hansa-views",
            "hansa-region-router",
            "hansa-ledger",
            "hansa-orders",
            "hansa-shard",
            "hansa-gateway",
        ],
    ),
    ("hansactl", &["hansa-types", "hansa-api", "hansa-backup", "hansa-reconcile"]),
    ("hansa-checker", &["hansa-types", "hansa-api"]),
    (
        "hansa-tests",
        &[
            "hansa",
            "hansa-types",
            "hansa-api",
            "hansa-node",
            "hansa-consensus",
            "hansa-checker",
            "hansa-region-router",
            "hansa-sweep",
            "xtask",
        ],
    ),
    (
        "hansa-bench",
        &[
            "hansa",
            "hansa-tests",
            "hansa-types",
            "hansa-api",
            "hansa-node",
            "hansa-wal",
            "hansa-consensus",
            "hansa-ledger",
        ],
    ),
    (
        "hansa-counts",
        &[
            "hansa-types",
            "hansa-api",
            "hansa-consensus",
            "hansa-region-router",
            "hansa-ledger",
            "hansa-orders",
        ],
    ),
    (
        "hansa-sim",
        &[
            "hansa",
            "hansa-api",
            "hansa-checker",
            "hansa-consensus",
            "hansa-node",
            "hansa-orders",
            "hansa-reconcile",
            "hansa-types",
            "hansa-wal",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries that one room keeps to itself.
const KEPT_BY: &[(&str, &str)] = &[
    ("openraft", "hansa-consensus"),
    ("redb", "hansa-consensus"),
    ("sled", "hansa-views"),
    ("turmoil", "hansa-sim"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub fn check(root: &Path) -> Result<Vec<String>> {
    let output = crate::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()?;
    ensure!(output.status.success(), "cargo metadata failed");
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    Ok(metadata.packages.iter().flat_map(of_package).collect())
}

fn of_package(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, allowed)) = MAY_USE.iter().find(|(who, _)| *who == name) else {
        return vec![format!("{name}: not in xtask/src/tidy/arrows.rs: say what it may use")];
    };
    let shipped = package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev"));
    shipped.filter_map(|d| problem(name, allowed, &d.name)).collect()
}

fn problem(name: &str, allowed: &[&str], used: &str) -> Option<String> {
    let ours = MAY_USE.iter().any(|(who, _)| *who == used);
    if ours && !allowed.contains(&used) {
        return Some(format!("{name}: must not depend on {used} (see ARCHITECTURE.md)"));
    }
    let (_, keeper) = KEPT_BY.iter().find(|(library, _)| *library == used)?;
    (*keeper != name).then(|| format!("{name}: only {keeper} may name {used}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, used: &str, kind: Option<&str>) -> usize {
        let dependency = Dependency { name: used.to_owned(), kind: kind.map(str::to_owned) };
        of_package(&Package { name: name.to_owned(), dependencies: vec![dependency] }).len()
    }

    #[test]
    fn a_new_arrow_is_found() {
        assert_eq!(check("hansa-ledger", "hansa-orders", None), 1);
        assert_eq!(check("hansa-ledger", "hansa-orders", Some("dev")), 0);
        assert_eq!(check("hansactl", "hansa-node", None), 1);
        assert_eq!(check("hansa-orders", "openraft", None), 1);
        assert_eq!(check("hansa-orders", "tonic", None), 0);
        assert_eq!(check("hansa-new", "tonic", None), 1);
    }
}
