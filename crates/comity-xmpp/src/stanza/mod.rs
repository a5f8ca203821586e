//! Typed stanzas (PROTOCOL §7, §8, §12 to §15).

mod error;

pub use error::{Problem, StanzaError};
