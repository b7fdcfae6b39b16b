//! What an archive holds besides what its end names.

use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableHandle as _,
};

use super::{Archive, ArchiveError, ENTRIES, META, RECORDS, VERSIONS};

/// Named at most: one is too many.
const STRAYS_MAX: usize = 16;

impl Archive {
    /// Tables, chunks and keys that nobody would ever read.
    ///
    /// # Errors
    /// Damage.
    pub fn strays(&self) -> Result<Vec<String>, ArchiveError> {
        let (end, (entries, records)) = (self.end(), self.chunks());
        self.store(|store| {
            let read = store.begin_read()?;
            let mut found = Vec::new();
            let known = [META.name(), ENTRIES.name(), RECORDS.name(), VERSIONS.name()];
            let mut there = Vec::new();
            for table in read.list_tables()? {
                match known.contains(&table.name()) {
                    true => there.push(table.name().to_owned()),
                    false => found.push(format!("table {}", table.name())),
                }
            }
            for table in read.list_multimap_tables()? {
                found.push(format!("table {}", redb::MultimapTableHandle::name(&table)));
            }
            if there.len() < known.len() {
                // Nothing was ever archived.
                return Ok(found);
            }
            for (table, chunks) in [(ENTRIES, entries), (RECORDS, records)] {
                for beyond in read.open_table(table)?.range(chunks..)?.take(STRAYS_MAX) {
                    let (chunk, _) = beyond?;
                    found.push(format!("chunk {} of {}", chunk.value(), table.name()));
                }
            }
            for row in read.open_table(META)?.iter()? {
                let (key, value) = row?;
                let fits = match key.value() {
                    "format" => value.value().len() == 4,
                    "end" => value.value().len() == 48,
                    _ => false,
                };
                if !fits {
                    found.push(format!("key {} of meta", key.value()));
                }
            }
            let versions = read.open_table(VERSIONS)?.len()?;
            if versions != end.records {
                found.push(format!("{versions} keys of {} records", end.records));
            }
            Ok(found)
        })
    }
}
