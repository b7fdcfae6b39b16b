//! `hansactl member …`

mod add;
mod list;
mod promote;
mod remove;
mod replace;
pub mod wait;

use clap::Subcommand;
use hansa_types::id::{GroupId, GroupKind};

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists a region's groups with their members: as wanted, and as they are.
    List,
    /// Adds a node to groups; it becomes a voter by itself once it has caught up.
    Add(add::Args),
    /// Lets a learner that is held back become a voter.
    Promote(promote::Args),
    /// Removes a node from groups.
    Remove(remove::Args),
    /// Puts one node in another's place; the new one joins before the old one leaves.
    Replace(replace::Args),
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::List => list::run(session).await,
        Verb::Add(args) => add::run(session, args).await,
        Verb::Promote(args) => promote::run(session, args).await,
        Verb::Remove(args) => remove::run(session, args).await,
        Verb::Replace(args) => replace::run(session, args).await,
    }
}

/// `orders-0` as `group list` shows it.
pub fn group(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a group such as orders-0");
    let (kind, index) = text.split_once('-').ok_or_else(wrong)?;
    let kind = GroupKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let index = index.parse().map_err(|_| wrong())?;
    Ok(GroupId::new(kind.ok_or_else(wrong)?, index).number())
}

/// A group as people write it.
pub fn group_name(number: u32) -> String {
    GroupId::from_number(number).map_or_else(|| number.to_string(), |group| group.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_as_they_are_shown() {
        for text in ["orders-0", "directory-0", "inventory-12"] {
            assert_eq!(group_name(group(text).expect(text)), text);
        }
        for wrong in ["orders", "orders-", "orders-x", "kings-0", "0"] {
            assert!(group(wrong).is_err(), "{wrong}");
        }
    }
}
