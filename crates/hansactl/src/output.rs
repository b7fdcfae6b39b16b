//! Data to stdout: a table for people, the API's own message as proto3 JSON for programs.

use std::sync::OnceLock;

use comfy_table::{Table, presets};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::args::Format;
use crate::error::Problem;

/// Rows under a header.
#[derive(Debug)]
pub struct Rows {
    table: Table,
    cells: Vec<Vec<String>>,
    empty: &'static str,
}

impl Rows {
    /// `empty` is said on stderr when there is no row.
    pub fn new(header: &[&str], empty: &'static str) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // Continued output, such as a watch's, has its header once or none.
        if !header.is_empty() {
            table.set_header(header.iter().map(|title| title.to_uppercase()));
        }
        let head = header.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>();
        let cells = if head.is_empty() { Vec::new() } else { vec![head] };
        Self { table, cells, empty }
    }

    /// A row; every row has as many cells as the header.
    pub fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| plain(&cell)).collect();
        self.cells.push(cells.clone());
        self.table.add_row(cells);
    }

    fn text(&self) -> String {
        // The style pads on both sides; nothing stands to the left of a line.
        let lines = self.table.trim_fmt();
        let lines = lines.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same rows with commas between, as RFC 4180 has them.
    fn csv(&self) -> String {
        let lines = self.cells.iter().map(|cells| {
            let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
            cells.join(",")
        });
        lines.collect::<Vec<_>>().join("\r\n")
    }

    pub fn print(&self) {
        if self.table.is_empty() {
            if !self.empty.is_empty() {
                eprintln!("{}", self.empty);
            }
        } else {
            println!("{}", self.text());
        }
    }
}

/// Quoted where it must be. A spreadsheet takes what begins like a formula for one: not with us.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
    let cell = if formula && cell != "-" { format!("'{cell}") } else { cell.to_owned() };
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

/// Text from elsewhere must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Prints a message as asked; `name` is its full Protobuf name.
pub fn print<M: Message>(
    format: Format,
    name: &str,
    message: &M,
    rows: impl FnOnce(&M) -> Rows,
) -> Result<(), Problem> {
    match format {
        Format::Table => rows(message).print(),
        Format::Json => println!("{}", json(name, message)?),
        Format::Csv => println!("{}", rows(message).csv()),
    }
    Ok(())
}

fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(hansa_api::FILE_DESCRIPTOR_SET).ok()).as_ref()
}

/// A message from its proto3 JSON; a field that it does not have is an error.
///
/// # Errors
/// What is wrong, and where.
pub fn parse<M: Message + Default>(name: &str, text: &str) -> Result<M, String> {
    let descriptor = pool().and_then(|pool| pool.get_message_by_name(name));
    let descriptor = descriptor.ok_or_else(|| format!("this tool does not know {name}"))?;
    let mut from = serde_json::Deserializer::from_str(text);
    let read = DynamicMessage::deserialize(descriptor, &mut from).map_err(|e| e.to_string())?;
    from.end().map_err(|e| e.to_string())?;
    M::decode(read.encode_to_vec().as_slice()).map_err(|e| e.to_string())
}

/// Canonical proto3 JSON on one line, with lower-camel names as every other tool prints them.
pub fn json<M: Message>(name: &str, message: &M) -> Result<String, Problem> {
    let broken = || Problem::failed(format!("cannot print {name} as JSON"), "use -o table");
    let pool = pool().ok_or_else(broken)?;
    let descriptor = pool.get_message_by_name(name).ok_or_else(broken)?;
    let bytes = message.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor, bytes.as_slice()).map_err(|_| broken())?;
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    dynamic
        .serialize_with_options(&mut serializer, &SerializeOptions::new())
        .map_err(|_| broken())?;
    String::from_utf8(out).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use hansa_api::pb;

    use super::*;

    #[test]
    fn messages_print_as_proto3_json() {
        let stock = pb::inventory::Stock {
            sku: "85123A".into(),
            available_quantity: 7,
            ..Default::default()
        };
        let json = json("hansa.inventory.v1.Stock", &stock).expect("prints");
        assert_eq!(json, r#"{"sku":"85123A","availableQuantity":"7"}"#);
    }

    #[test]
    fn tables_begin_at_the_left_edge() {
        let mut rows = Rows::new(&["sku", "units"], "none");
        rows.add(["85123A".to_owned(), "7".to_owned()]);
        assert_eq!(rows.text(), "SKU     UNITS\n85123A  7");
    }

    #[test]
    fn a_description_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
