//! hansa-region-router
