//! What requests are answered with: a probe's word, a file, a channel by WebSocket or as an event
//! stream, a refusal.
//!
//! `route` decides what a request asks for, `probe`, `files`, `upgrade` and `stream` answer it, and
//! Engine.IO does (`session`). What the admin listener is asked is decided in `admin`; `backend`
//! takes in what backends say, `receipt` tells them what has become of it, and `watch` answers
//! whoever watches. `cors` knows which pages may ask and read. All of them, and whoever answers a
//! request later, go out by `respond`.

mod admin;
mod backend;
pub(super) mod cors;
mod files;
mod probe;
mod receipt;
pub(super) mod respond;
mod route;
mod stream;
pub(super) mod token;
pub(super) mod upgrade;
pub(super) mod watch;
