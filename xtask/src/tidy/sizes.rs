//! Files, functions and lines stay small; what is listed as larger may only shrink.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::Source;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;
const LINE_CHARS_MAX: usize = 100;

/// The list of excesses: `"path" = lines` and `"path::function" = lines`.
pub const LISTED: &str = "xtask/tidy-excess.toml";

type Listed = BTreeMap<String, usize>;

pub fn check(root: &Path, sources: &[Source]) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join(LISTED)).context(LISTED)?;
    let listed: Listed = toml::from_str(&text).context(LISTED)?;
    let mut sizes = BTreeMap::new();
    let mut found = Vec::new();
    for source in sources {
        found.extend(long_lines(source));
        sizes.extend(measure(source)?);
    }
    found.extend(sizes.iter().filter_map(|(what, size)| too_large(what, size, &listed)));
    found.extend(listed.keys().filter_map(|what| no_longer(what, &sizes)));
    Ok(found)
}

struct Size {
    lines: usize,
    max: usize,
}

fn too_large(what: &str, size: &Size, listed: &Listed) -> Option<String> {
    let Size { lines, max } = *size;
    match listed.get(what) {
        None if lines > max => Some(format!("{what}: {lines} lines, more than {max}: find a seam")),
        Some(&was) if lines > was => Some(format!("{what}: {lines} lines, was {was}: only shrink")),
        Some(&was) if lines < was => {
            Some(format!("{what}: shrank to {lines} lines: lower it in {LISTED} (was {was})"))
        }
        _ => None,
    }
}

fn no_longer(what: &str, sizes: &BTreeMap<String, Size>) -> Option<String> {
    let gone = sizes.get(what).is_none_or(|size| size.lines <= size.max);
    gone.then(|| format!("{what}: no longer too large: take it out of {LISTED}"))
}

fn long_lines(source: &Source) -> Vec<String> {
    let long = |line: &str| line.chars().count() > LINE_CHARS_MAX;
    let numbered = source.text.lines().enumerate().filter(|(_, line)| long(line));
    numbered.map(|(n, _)| format!("{}:{}: longer than 100", source.path, n + 1)).collect()
}

fn measure(source: &Source) -> Result<Vec<(String, Size)>> {
    let lines = source.text.lines().count();
    let mut sizes = vec![(source.path.clone(), Size { lines, max: FILE_LINES_MAX })];
    if source.is_test() {
        return Ok(sizes);
    }
    let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
    let mut functions = Functions::default();
    functions.visit_file(&file);
    let size = |lines| Size { lines, max: FUNCTION_LINES_MAX };
    let named = |(name, lines)| (format!("{}::{name}", source.path), size(lines));
    sizes.extend(functions.0.into_iter().map(named));
    Ok(sizes)
}

#[derive(Default)]
struct Functions(BTreeMap<String, usize>);

impl Functions {
    fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        let longest = self.0.entry(name.to_string()).or_default();
        *longest = lines.max(*longest);
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.add(&f.sig.ident, &f.block);
        syn::visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.add(&f.sig.ident, &f.block);
        syn::visit::visit_impl_item_fn(self, f);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body_lines: usize, listed: &[(&str, usize)]) -> Vec<String> {
        let text = format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(body_lines));
        let source = Source { path: "crates/x/src/a.rs".to_owned(), text };
        let listed = listed.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let sizes = measure(&source).unwrap().into_iter().collect::<BTreeMap<_, _>>();
        sizes.iter().filter_map(|(what, size)| too_large(what, size, &listed)).collect()
    }

    #[test]
    fn an_excess_is_found_and_a_listed_one_may_only_shrink() {
        let name = "crates/x/src/a.rs::long";
        assert!(check(58, &[]).is_empty());
        assert_eq!(check(59, &[]).len(), 1);
        assert!(check(70, &[(name, 72)]).is_empty());
        assert_eq!(check(71, &[(name, 72)]).len(), 1, "it grew");
        assert_eq!(check(69, &[(name, 72)]).len(), 1, "it shrank and the list was not lowered");
    }
}
