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
        Self { table, empty }
    }

    /// A row; every row has as many cells as the header.
    pub fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        self.table.add_row(cells.into_iter().map(|cell| plain(&cell)));
    }

    fn text(&self) -> String {
        // The style pads on both sides; nothing stands to the left of a line.
        let lines = self.table.trim_fmt();
        let lines = lines.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn print(&self) {
        if self.table.is_empty() {
            if !self.empty.is_empty() {
                eprintln!("{}", self.empty);
            }
        } else {
            println!("{}", self.text());
        }
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
    }
    Ok(())
}

/// Canonical proto3 JSON on one line, with lower-camel names as every other tool prints them.
fn json<M: Message>(name: &str, message: &M) -> Result<String, Problem> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let broken = || Problem::failed(format!("cannot print {name} as JSON"), "use -o table");
    let pool = POOL
        .get_or_init(|| DescriptorPool::decode(hansa_api::FILE_DESCRIPTOR_SET).ok())
        .as_ref()
        .ok_or_else(broken)?;
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
