//! hansa-node
