//! hansa-tests
