//! hansa-consensus
