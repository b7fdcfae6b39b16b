//! Read views: what their engine keeps in files of its own, and every row that it gives back.

use std::io;
use std::sync::Arc;

use hansa_api::classes::DataClass;
use hansa_types::id::GroupKind;
use hansa_views::{Range, View};

use super::archive::carved;
use crate::fact::{Fact, Whose, only};
use crate::findings::{Findings, Stays};
use crate::format::{Cursor, Format, Opened, PIECE_BYTES, Piece, group_named};

/// `views/…`: the engine's own files. What lies in them is searched for copies of orders; what the
/// rows say is read through the engine ([`rows`]).
pub struct Engine;

/// How far two pieces overlap: longer than any view of an order that has a place in a view.
const OVERLAP: u64 = 256 << 10;

impl Format for Engine {
    fn name(&self) -> &'static str {
        "view engine"
    }

    fn claims(&self, path: &str) -> bool {
        path.starts_with("views/") || path.contains("/views/")
    }

    fn read(&self, file: &Opened<'_>, from: Cursor, to: &mut Findings) -> io::Result<Piece> {
        let start = from.at.saturating_sub(OVERLAP);
        let end = file.length.min(from.at + PIECE_BYTES);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let read = file.fs.open(file.path)?.read_at(&mut bytes, start)?;
        bytes.truncate(read);
        carved(&bytes, &file.place(Stays::Kept), to);
        to.tally(self.name()).unused += end - from.at;
        match end == file.length || read == 0 {
            true => Ok(Piece::whole(file.length)),
            false => Ok(Piece { bytes: 0, next: Some(Cursor { part: 0, at: end }) }),
        }
    }
}

/// A view whose rows can be read.
#[derive(Clone)]
pub struct Source {
    /// Its folder, below the node's.
    pub folder: String,
    pub view: Arc<dyn View>,
}

/// Rows of one turn.
const ROWS_MAX: usize = 256;

/// Reads rows of a view after `after`; answers the last one's key while there are more.
///
/// # Errors
/// What the view says.
pub fn rows(
    source: &Source,
    after: Option<Vec<u8>>,
    to: &mut Findings,
) -> Result<Option<Vec<u8>>, String> {
    let all = Range::prefix(&[]);
    let range = after.map_or(all.clone(), |after| all.after(&after));
    let rows = source.view.scan(&range, ROWS_MAX).map_err(|error| error.to_string())?;
    let kind = kind_of(&source.folder).ok_or("a view of no group")?;
    let place = crate::findings::Place { file: source.folder.as_str().into(), stays: Stays::Kept };
    for (key, value) in &rows {
        let told = match kind {
            GroupKind::Payments => hansa_ledger::entry_row(key, value),
            GroupKind::Directory | GroupKind::Inventory | GroupKind::Orders => None,
        };
        match told {
            Some(payments) => {
                for payment in payments {
                    let money = only(DataClass::Financial);
                    let fact = Fact::new(Whose::Payment(payment), money, "money of a payment");
                    to.fact(&place, fact, || "a row".to_owned());
                }
            }
            None => to.unexplained(&source.folder, 0, 0, "a row that does not read"),
        }
    }
    to.tally("view").records += rows.len() as u64;
    Ok(if rows.len() == ROWS_MAX { rows.into_iter().last().map(|(key, _)| key) } else { None })
}

/// `…/payments-0-entries`.
fn kind_of(folder: &str) -> Option<GroupKind> {
    let name = crate::format::last(folder);
    let name = name.strip_suffix("-entries").unwrap_or(name);
    group_named(name).map(|group| group.kind())
}
