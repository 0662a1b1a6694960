//! What requests are answered with: a probe's word, a file, a channel by WebSocket or as an event
//! stream, a refusal.
//!
//! `route` decides what a request asks for, `probe`, `files`, `upgrade` and `stream` answer it, and
//! Engine.IO does (`session`). What the admin listener is asked is decided in `admin`; `backend`
//! takes in what backends say, `receipt` tells them what has become of it, and `watch` answers
//! whoever watches. `cors` knows which pages may ask and read. All of them, and whoever answers a
//! request later, go out by `respond`. Which paths are a probe's is known here, because it is asked
//! at both ends: by `route`, and by `respond` for the log.

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

use crate::wire::base_path::BasePath;

/// What a probe asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Probe {
    /// `/healthz`: is the process alive?
    Alive,
    /// `/readyz`: should it get new connections?
    Ready,
}

impl Probe {
    /// What a request for `path`, as it was sent, asks, below `base` or without it; `None` if that
    /// is no probe's.
    fn at(base: &BasePath, path: &str) -> Option<Probe> {
        let named = |path: &str| match path {
            "/healthz" => Some(Probe::Alive),
            "/readyz" => Some(Probe::Ready),
            _ => None,
        };
        base.below(path).and_then(named).or_else(|| named(path))
    }
}
