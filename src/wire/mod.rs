//! Floor 1: bytes to values and back. One module per protocol.
//!
//! A codec here has no state beyond a half-read unit, knows no time, does no IO and never looks at
//! policy: who is trusted, what is served and what is logged is decided above. The same bytes give
//! the same result however they are cut.

pub mod admin;
pub mod base_path;
pub mod engine;
pub mod host;
pub mod http;
mod json;
pub mod key_file;
pub mod origin;
pub mod proxy;
mod query;
pub mod resp;
pub mod resume;
pub mod socketio;
mod split;
pub mod sse;
pub mod token;
pub mod ws;

/// What a parser has made of the bytes so far. Bytes that are bad are never a `Status` but an
/// `Err`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status<T> {
    /// A whole unit was read.
    Complete(T),
    /// Every byte so far can begin a valid unit, and more are needed.
    Partial,
}
