//! hansa-api
