//! hansa-gateway
