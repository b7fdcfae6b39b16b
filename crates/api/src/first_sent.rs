//! When a request was first sent, as its caller says: a header of every call that changes
//! something.
//!
//! A region that came back from a backup takes a request that it does not know only if it was
//! surely never sent before the restore; all others it answers `REQUEST_IN_DOUBT`. A repeat, also
//! one by another process, carries the time of the first try.

use tonic::metadata::{MetadataMap, MetadataValue};

/// Unix milliseconds, in decimal. Not one of the headers that gateways strip.
pub const HEADER: &str = "first-sent-ms";

/// What the caller says; nothing when it says nothing that is a time.
pub fn read(metadata: &MetadataMap) -> Option<u64> {
    metadata.get(HEADER)?.to_str().ok()?.parse().ok()
}

/// Says it, unless it was said already.
pub fn put(metadata: &mut MetadataMap, at_ms: u64) {
    if !metadata.contains_key(HEADER) {
        metadata.insert(HEADER, MetadataValue::from(at_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts() {
        let mut metadata = MetadataMap::new();
        assert_eq!(read(&metadata), None);
        put(&mut metadata, 7);
        put(&mut metadata, 9);
        assert_eq!(read(&metadata), Some(7));
        metadata.insert(HEADER, MetadataValue::from_static("soon"));
        assert_eq!(read(&metadata), None);
    }
}
