//! What moves bytes: the only code that touches a [`Socket`](super::Socket), and who has a turn.
//!
//! Reads are handed to connections and to whoever a message is for; sends come from the rings. What
//! a request or a packet means is decided in the other wings (`http`, `session`).

pub(super) mod batch;
pub(super) mod budget;
pub(super) mod flush;
pub(super) mod read;
pub(super) mod turns;
