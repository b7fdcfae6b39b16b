//! The Rust files of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub struct Source {
    /// Relative to the workspace, with `/`.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let mut files = Vec::new();
        for top in ["crates", "tests", "xtask"] {
            walk(&root.join(top), &mut files)?;
        }
        files.sort();
        files.into_iter().map(|file| Self::read(root, &file)).collect()
    }

    fn read(root: &Path, file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let path = file.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        Ok(Self { path, text })
    }

    /// Whether this is test code, which may do what the rest may not.
    pub fn is_test(&self) -> bool {
        let in_tests = self.path.contains("/tests/") || self.path.starts_with("tests/");
        in_tests || self.path.ends_with("/tests.rs")
    }

    /// Lines before the file's own `#[cfg(test)]` module, with their numbers from 1.
    pub fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(n, line)| (n + 1, line));
        lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            let skip = path.file_name().is_some_and(|name| name == "target" || name == ".venv");
            if !skip {
                walk(&path, files)?;
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
