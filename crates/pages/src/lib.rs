//! hansa-pages
