//! hansa-orders
