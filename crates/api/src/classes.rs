//! Data classes of wire fields, and the one way to strip a message of what may not be stored.
//!
//! The impls are generated from the `hansa.options.v1.data_class` option of each field; a field
//! without the option fails the build, so nothing is let through by having been forgotten.

mod allowed;

use std::fmt;

pub use self::allowed::{Allowed, NotRaised, Raised};

/// What kind of facts a field carries (domain.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    Operational,
    Personal,
    Financial,
}

impl DataClass {
    pub const ALL: [Self; 3] = [Self::Operational, Self::Personal, Self::Financial];

    const fn bit(self) -> u8 {
        match self {
            Self::Operational => 1,
            Self::Personal => 2,
            Self::Financial => 4,
        }
    }
}

/// A set of classes; empty by default, so that what is not allowed is denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassSet(u8);

impl ClassSet {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(7);

    /// This set and one class more.
    #[must_use]
    pub const fn with(self, class: DataClass) -> Self {
        Self(self.0 | class.bit())
    }

    /// This set without one class.
    #[must_use]
    pub const fn without(self, class: DataClass) -> Self {
        Self(self.0 & !class.bit())
    }

    pub const fn has(self, class: DataClass) -> bool {
        self.0 & class.bit() != 0
    }
}

impl FromIterator<DataClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = DataClass>>(classes: I) -> Self {
        classes.into_iter().fold(Self::NONE, Self::with)
    }
}

/// A message that can be reduced to the classes that someone may store.
pub trait Lawful {
    /// Clears every field whose class is not in `allowed`, in this message and all within it. A
    /// field that a policy raises counts as the class that it is raised to.
    ///
    /// A field is kept only if its own class and those of all fields around it are allowed.
    fn retain_by(&mut self, allowed: &Allowed);

    /// The same, with a set of classes or what a policy made of them.
    fn retain(&mut self, allowed: impl Into<Allowed>)
    where
        Self: Sized,
    {
        self.retain_by(&allowed.into());
    }
}

/// Whether the text of the field with this name is bad.
pub type TextTest<'a> = dyn Fn(&'static str, &str) -> bool + 'a;

/// A message whose every string can be looked at, so that no field is forgotten in a check.
pub trait Texts {
    /// # Errors
    /// The path of the first string that is bad: `lines[3].sku`.
    fn find(&self, bad: &TextTest) -> Result<(), String>;
}

/// The class of a field, by the message's full name; `None` if there is no such field.
pub fn class_of(message: &str, field: &str) -> Option<DataClass> {
    Some(TABLE[row_of(message, field)?].2)
}

/// Where a field stands in the table; generated code knows the row of each of its fields.
fn row_of(message: &str, field: &str) -> Option<usize> {
    TABLE.binary_search_by(|(m, f, _)| (*m, *f).cmp(&(message, field))).ok()
}

/// Every field of every hansa message with its class, in order of names.
pub fn table() -> &'static [(&'static str, &'static str, DataClass)] {
    generated::TABLE
}

use generated::TABLE;

/// A value that is not printed, and is seen only where the code says so.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Private<T>(T);

impl<T> Private<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &T {
        &self.0
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Stands in for a value that must not be printed.
struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn find_text(name: &'static str, text: &str, bad: &TextTest) -> Result<(), String> {
    if bad(name, text) { Err(name.to_owned()) } else { Ok(()) }
}

fn find_texts(name: &'static str, texts: &[String], bad: &TextTest) -> Result<(), String> {
    match texts.iter().position(|text| bad(name, text)) {
        Some(n) => Err(format!("{name}[{n}]")),
        None => Ok(()),
    }
}

fn find_in<M: Texts>(name: &str, inner: &Option<M>, bad: &TextTest) -> Result<(), String> {
    inner.as_ref().map_or(Ok(()), |inner| find_in_one(name, inner, bad))
}

fn find_in_one<M: Texts>(name: &str, inner: &M, bad: &TextTest) -> Result<(), String> {
    inner.find(bad).map_err(|path| format!("{name}.{path}"))
}

fn find_in_each<M: Texts>(name: &str, inner: &[M], bad: &TextTest) -> Result<(), String> {
    let find = |(n, m): (usize, &M)| m.find(bad).map_err(|path| format!("{name}[{n}].{path}"));
    inner.iter().enumerate().try_for_each(find)
}

mod generated {
    #![allow(clippy::all)]
    use super::{Allowed, DataClass, Lawful, Redacted, TextTest, Texts};
    use super::{find_in, find_in_each, find_in_one, find_text, find_texts};

    include!(concat!(env!("OUT_DIR"), "/lawful.rs"));
}

#[cfg(test)]
mod tests;
