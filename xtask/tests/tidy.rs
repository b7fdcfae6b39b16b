//! The workspace is tidy: arrows, sizes, imports and names (style.md, ARCHITECTURE.md).

#[test]
fn the_workspace_is_tidy() {
    let found = xtask::tidy::check(&xtask::workspace_root()).unwrap();
    assert!(found.is_empty(), "tidy found:\n{}", found.join("\n"));
}
