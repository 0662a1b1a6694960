//! The WebSocket protocol (RFC 6455), server side, as bytes and values.
//!
//! ```text
//! handshake   an HTTP request's fields ─► Upgrade or Refusal; the accept key      (section 4.2)
//! frame       masked client bytes ─► messages, pings, closes                       (section 5)
//! render      kind, length ─► server frame headers; which close codes are valid    (section 5)
//! utf8        text that arrives in pieces, refused at the first wrong byte         (section 8.1)
//! ```
//!
//! Deals with: what a client may put on the wire, and how a server writes its own frames. Leaves to
//! others: the HTTP head (`wire::http`), who may connect ([`super::origin`]), buffers for messages
//! that arrive in pieces, when to ping and how to close. No extension is negotiated.
//!
//! The surprise: tungstenite reads and writes the header bits but checks almost none of them
//! (unmasked, reserved and oversized frames pass), so every rule of the RFC stands here.

mod frame;
mod handshake;
mod render;
mod utf8;

pub use frame::{Deframer, Error, Input};
pub use handshake::{ALLOW, ELBOW_V1, Offer, Refusal, Upgrade, accept, check};
pub use render::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, close_code_valid, header, header_bytes};
pub use utf8::{Invalid, Utf8};

/// What a message carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text, in UTF-8.
    Text,
    /// Any bytes.
    Binary,
}
