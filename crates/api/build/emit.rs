//! Writes `Lawful`, `Texts` and redacting `Debug` impls, and the class table, as Rust source.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost_reflect::DescriptorPool;

use crate::classes::{Class, Field, Message, Shape};

/// The contents of `lawful.rs`.
pub fn lawful(messages: &[Message]) -> String {
    let mut out = String::new();
    let rows = rows(messages);
    for message in messages {
        emit_retain(&mut out, message, &rows);
        emit_texts(&mut out, message);
        if message.has_secrets() {
            emit_debug(&mut out, message);
        }
    }
    emit_table(&mut out, &rows);
    out
}

/// Each field's row in the table and its class: by message, then field, for the table is searched
/// by bisection.
type Rows<'a> = BTreeMap<(&'a str, &'a str), (usize, Class)>;

fn rows(messages: &[Message]) -> Rows<'_> {
    let mut rows = Rows::new();
    for message in messages {
        for field in &message.fields {
            rows.insert((&message.full_name, &field.name), (0, field.class));
        }
    }
    rows.values_mut().enumerate().for_each(|(row, (at, _))| *at = row);
    rows
}

/// Whether a field is kept.
fn keeps(message: &Message, field: &Field, rows: &Rows<'_>) -> String {
    let (row, class) = rows[&(message.full_name.as_str(), field.name.as_str())];
    format!("allowed.keeps({row}, {})", class_path(class))
}

/// The contents of `methods.rs`: every method of every service of ours.
pub fn methods(pool: &DescriptorPool) -> String {
    let mut rows = Vec::new();
    for service in pool.services().filter(|s| s.package_name().starts_with("hansa.")) {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let package = service.package_name();
            let streaming = method.is_server_streaming() || method.is_client_streaming();
            rows.push(format!(
                "    Method {{ path: {path:?}, package: {package:?}, streaming: {streaming} }},"
            ));
        }
    }
    rows.sort();
    format!("&[\n{}\n]\n", rows.join("\n"))
}

// Writing to a String cannot fail, so its results are dropped.

fn emit_retain(out: &mut String, message: &Message, rows: &Rows<'_>) {
    let _ = writeln!(out, "impl Lawful for {} {{", rust_path(message));
    let _ = writeln!(out, "    fn retain_by(&mut self, allowed: &Allowed) {{");
    if message.fields.is_empty() {
        let _ = writeln!(out, "        let _ = allowed;");
    }
    for field in message.fields.iter().filter(|f| f.oneof.is_none()) {
        let name = &field.name;
        let kept = keeps(message, field, rows);
        let _ = writeln!(out, "        if {kept} {{");
        match field.shape {
            Shape::Plain | Shape::Text | Shape::Texts => {}
            Shape::Message | Shape::Repeated => {
                let _ = writeln!(
                    out,
                    "            self.{name}.iter_mut().for_each(|m| m.retain_by(allowed));"
                );
            }
        }
        let _ = writeln!(out, "        }} else {{ self.{name} = Default::default(); }}");
    }
    for (oneof, fields) in oneofs(message) {
        emit_oneof(out, message, oneof, &fields, rows);
    }
    let _ = writeln!(out, "    }}\n}}");
}

fn emit_oneof(
    out: &mut String,
    message: &Message,
    oneof: &str,
    fields: &[&Field],
    rows: &Rows<'_>,
) {
    let path = format!("{}::{}::{}", package_path(message), snake(&message.name), camel(oneof));
    let _ = writeln!(out, "        let keep = match &mut self.{oneof} {{ None => true,");
    for field in fields {
        let kept = keeps(message, field, rows);
        let variant = camel(&field.name);
        let arm = match field.shape {
            Shape::Message => format!("(m) => {{ m.retain_by(allowed); {kept} }}"),
            Shape::Plain | Shape::Text | Shape::Texts | Shape::Repeated => {
                format!("(_) => {kept},")
            }
        };
        let _ = writeln!(out, "            Some({path}::{variant}{arm}", arm = close(&arm));
    }
    let _ = writeln!(out, "        }};\n        if !keep {{ self.{oneof} = None; }}");
}

/// Closes the `Some(` pattern that surrounds a variant's own pattern.
fn close(arm: &str) -> String {
    arm.replacen(") =>", ")) =>", 1)
}

fn emit_texts(out: &mut String, message: &Message) {
    let _ = writeln!(out, "impl Texts for {} {{", rust_path(message));
    let _ =
        writeln!(out, "    fn find(&self, bad: &TextTest) -> Result<(), String> {{ let _ = bad;");
    for field in message.fields.iter().filter(|f| f.oneof.is_none()) {
        let name = &field.name;
        let _ = match field.shape {
            Shape::Plain => Ok(()),
            Shape::Text => writeln!(out, "        find_text(\"{name}\", &self.{name}, bad)?;"),
            Shape::Texts => writeln!(out, "        find_texts(\"{name}\", &self.{name}, bad)?;"),
            Shape::Message => writeln!(out, "        find_in(\"{name}\", &self.{name}, bad)?;"),
            Shape::Repeated => {
                writeln!(out, "        find_in_each(\"{name}\", &self.{name}, bad)?;")
            }
        };
    }
    for (oneof, fields) in oneofs(message) {
        let path = format!("{}::{}::{}", package_path(message), snake(&message.name), camel(oneof));
        for Field { name, shape, .. } in fields {
            let call = match shape {
                Shape::Text => format!("find_text(\"{name}\", v, bad)?"),
                Shape::Message => format!("find_in_one(\"{name}\", v, bad)?"),
                Shape::Plain | Shape::Texts | Shape::Repeated => continue,
            };
            let variant = camel(name);
            let _ = writeln!(
                out,
                "        if let Some({path}::{variant}(v)) = &self.{oneof} {{ {call}; }}"
            );
        }
    }
    let _ = writeln!(out, "        Ok(())\n    }}\n}}");
}

fn emit_debug(out: &mut String, message: &Message) {
    let _ = writeln!(out, "impl std::fmt::Debug for {} {{", rust_path(message));
    let _ =
        writeln!(out, "    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{");
    let _ = writeln!(out, "        f.debug_struct(\"{}\")", message.name);
    for field in message.fields.iter().filter(|f| f.oneof.is_none()) {
        let name = &field.name;
        let shown = match field.class {
            Class::Operational => format!("&self.{name}"),
            Class::Personal | Class::Financial => "&Redacted".to_owned(),
        };
        let _ = writeln!(out, "            .field(\"{name}\", {shown})");
    }
    for oneof in oneofs(message).keys() {
        let _ = writeln!(out, "            .field(\"{oneof}\", &Redacted)");
    }
    let _ = writeln!(out, "            .finish()\n    }}\n}}");
}

fn emit_table(out: &mut String, rows: &Rows<'_>) {
    let _ = writeln!(out, "pub(super) static TABLE: &[(&str, &str, DataClass)] = &[");
    for ((message, field), (_, class)) in rows {
        let class = class_path(*class);
        let _ = writeln!(out, "    (\"{message}\", \"{field}\", {class}),");
    }
    let _ = writeln!(out, "];");
}

fn oneofs(message: &Message) -> BTreeMap<&str, Vec<&Field>> {
    let mut found: BTreeMap<&str, Vec<&Field>> = BTreeMap::new();
    for field in &message.fields {
        if let Some(oneof) = &field.oneof {
            found.entry(oneof).or_default().push(field);
        }
    }
    found
}

fn class_path(class: Class) -> &'static str {
    match class {
        Class::Operational => "DataClass::Operational",
        Class::Personal => "DataClass::Personal",
        Class::Financial => "DataClass::Financial",
    }
}

fn package_path(message: &Message) -> String {
    format!("crate::pb::{}", message.package.replace('.', "::"))
}

fn rust_path(message: &Message) -> String {
    format!("{}::{}", package_path(message), message.name)
}

/// `stock_line` → `StockLine`, as prost names oneofs and variants.
fn camel(name: &str) -> String {
    let upper = |w: &str| w[..1].to_uppercase() + &w[1..];
    name.split('_').filter(|w| !w.is_empty()).map(upper).collect()
}

/// `SubmitResponse` → `submit_response`, as prost names the modules of oneofs.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
