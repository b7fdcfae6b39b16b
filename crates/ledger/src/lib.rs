//! hansa-ledger
