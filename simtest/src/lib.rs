//! simtest.
