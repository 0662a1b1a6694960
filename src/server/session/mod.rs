//! Engine.IO sessions and what Socket.IO clients do in them: how one begins, what carries it, how
//! it hears and speaks by polls, which channels it is in.

pub(super) mod handshake;
mod namespaces;
pub(super) mod packets;
pub(super) mod polling;
mod reply;
mod request;
mod say;
mod spaces;
pub(super) mod transport;
