//! Wanted against live, by schema.
