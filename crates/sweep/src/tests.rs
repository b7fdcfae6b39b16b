//! Planted leaks, one per format, and none found where none is.
