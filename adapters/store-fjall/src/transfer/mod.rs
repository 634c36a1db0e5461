//! Contents as lines of text: one JSON object for each record, named by Client Identifiers, filters and topics instead of
//! numbers. The format is described in `docs/storage.md`.
//!
//! Invariants: what is exported and imported again is the same; a line that is not understood is refused with its number
//! and the field that is wrong.
mod base64;
mod export;
mod fields;
mod import;

pub use export::Exported;
pub(crate) use export::export;
pub use import::ImportError;
pub(crate) use import::import;

/// The version of the line format.
pub(crate) const FORMAT: u64 = 1;
