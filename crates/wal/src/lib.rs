//! hansa-wal
