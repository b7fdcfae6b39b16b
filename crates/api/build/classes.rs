//! Reads the data class of every field of every `hansa.*` message; a field without one is an error.
//!
//! Shared by build.rs and by the test that plants an unclassed field.

use prost_reflect::{
    DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
};

const OPTION: &str = "hansa.options.v1.data_class";

/// The values of `hansa.options.v1.DataClass` that are classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Operational,
    Personal,
    Financial,
}

#[derive(Debug)]
pub struct Message {
    pub full_name: String,
    pub package: String,
    /// Name inside the package.
    pub name: String,
    pub fields: Vec<Field>,
}

impl Message {
    pub fn has_secrets(&self) -> bool {
        self.fields.iter().any(|f| f.class != Class::Operational)
    }
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub class: Class,
    pub shape: Shape,
    /// The oneof that the field is a variant of.
    pub oneof: Option<String>,
}

/// How a field is held in the generated struct, as far as clearing and reading it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Numbers, bytes, enums, repeated or not, and messages that are not ours.
    Plain,
    /// `String`.
    Text,
    /// `Vec<String>`.
    Texts,
    /// `Option<M>` of a hansa message.
    Message,
    /// `Vec<M>` of a hansa message.
    Repeated,
}

/// All hansa messages with their classes, or every field that lacks one.
pub fn read(pool: &DescriptorPool) -> Result<Vec<Message>, String> {
    let option = pool.get_extension_by_name(OPTION).ok_or(format!("{OPTION} is not defined"))?;
    let mut messages = Vec::new();
    let mut faults = Vec::new();
    for message in pool.all_messages().filter(is_ours) {
        if message.parent_message().is_some() {
            faults.push(format!("{}: nested messages are not supported", message.full_name()));
        }
        let fields =
            message.fields().filter_map(|f| read_field(&f, &option, &mut faults)).collect();
        messages.push(Message {
            full_name: message.full_name().to_owned(),
            package: message.package_name().to_owned(),
            name: message.name().to_owned(),
            fields,
        });
    }
    if faults.is_empty() { Ok(messages) } else { Err(faults.join("\n")) }
}

fn is_ours(message: &MessageDescriptor) -> bool {
    message.package_name().starts_with("hansa.")
}

fn read_field(
    field: &FieldDescriptor,
    option: &ExtensionDescriptor,
    faults: &mut Vec<String>,
) -> Option<Field> {
    let class = match field.options().get_extension(option).as_enum_number() {
        Some(1) => Class::Operational,
        Some(2) => Class::Personal,
        Some(3) => Class::Financial,
        _ => {
            faults.push(format!("{}: no {OPTION}", field.full_name()));
            return None;
        }
    };
    if field.is_map() {
        faults.push(format!("{}: maps are not supported", field.full_name()));
    }
    let shape = match field.kind() {
        Kind::Message(inner) if is_ours(&inner) && field.is_list() => Shape::Repeated,
        Kind::Message(inner) if is_ours(&inner) => Shape::Message,
        Kind::String if field.is_list() => Shape::Texts,
        Kind::String if field.supports_presence() && field.containing_oneof().is_none() => {
            faults.push(format!("{}: optional strings are not supported", field.full_name()));
            Shape::Plain
        }
        Kind::String => Shape::Text,
        _ => Shape::Plain,
    };
    let oneof = field.containing_oneof().filter(|o| !o.is_synthetic());
    Some(Field {
        name: field.name().to_owned(),
        class,
        shape,
        oneof: oneof.map(|o| o.name().to_owned()),
    })
}
