//! hansa-testkit
