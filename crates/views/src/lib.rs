//! hansa-views
