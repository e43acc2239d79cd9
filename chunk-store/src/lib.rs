//! chunk-store.
