//! The compact type tree that comparison works on, compiled from the
//! cluster's OpenAPI v3 documents for the kinds that Git tracks.
