//! `GET /metrics` and `GET /status` on the admin listener: whoever watches asks, a survey is taken,
//! and everybody who has asked by then is answered with what it has found.
//!
//! ```text
//!   head ──► remembered ──► survey, a portion a turn ──► rendered ──► answered
//! ```
//!
//! Leaves to others: who may ask (`admin`), what is found (`survey`), how it is written down
//! (`metrics/prometheus.rs`, `metrics/status.rs`).
//!
//! Whoever watches is answered although all of `--memory` is used up, which is when it matters:
//! what is remembered of the request needs none, the answer is written into memory of the program's
//! own, and leaves through the pool's reserve. While that is in use one is answered in a turn.
//!
//! The surprise: no answer is given in the call that reads its request. What the system says of the
//! process has to be read first, and the shell does that between the two.

use super::respond::{Answer, NO_STORE};
use crate::conn::KnownPath;
use crate::id::ConnId;
use crate::metrics::prometheus::{self, Format};
use crate::metrics::{Process, Surroundings, status};
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::http::Request;

const JSON: &str = "application/json";

/// Bytes of an answer for which room is kept: that of a server with a hundred channels.
const ROOM_KEPT: usize = 64 * 1024;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum View {
    /// Metrics, in this format.
    Metrics(Format),
    /// The status.
    Status,
}

impl View {
    /// What a request for this path asks for; `None` if nobody watches there.
    pub(super) fn at(request: &Request<'_, '_>) -> Option<View> {
        match request.path {
            "/metrics" => Some(View::Metrics(Format::accepted(request.fields("accept")))),
            "/status" => Some(View::Status),
            _ => None,
        }
    }

    fn path(self) -> KnownPath {
        match self {
            View::Metrics(_) => KnownPath::Metrics,
            View::Status => KnownPath::Status,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            View::Metrics(format) => format.media_type(),
            View::Status => JSON,
        }
    }
}

/// A request that is answered when the survey is over.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    id: ConnId,
    ticket: u64,
    view: View,
}

/// Whoever waits for a survey, and what their answers need beside it.
#[derive(Debug)]
pub(in crate::server) struct Watchers {
    waiting: Vec<Watcher>,
    /// The number of the last request.
    asked: u64,
    process: Option<Process>,
    surroundings: Surroundings,
    /// Where answers are written, one after the other.
    scratch: Vec<u8>,
}

impl Watchers {
    /// Nobody yet; with room for so many.
    pub(in crate::server) fn new(connections_max: usize) -> Watchers {
        Watchers {
            waiting: Vec::with_capacity(connections_max),
            asked: 0,
            process: None,
            surroundings: Surroundings::default(),
            scratch: Vec::new(),
        }
    }

    /// Whether anybody waits.
    pub(in crate::server) fn are_there(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl<S: Socket> Server<S> {
    /// Tells what the server stands in and does not know by itself, once, at its beginning.
    pub fn describe(&mut self, surroundings: Surroundings) {
        self.watchers.surroundings = surroundings;
    }

    /// Whether somebody watches who should be told of the process.
    pub fn is_watched(&self) -> bool {
        self.watchers.are_there()
    }

    /// Tells what the system says of the process; to be called before [`Server::run`] while
    /// [`Server::is_watched`].
    pub fn tell_process(&mut self, process: Option<Process>) {
        self.watchers.process = process;
    }

    /// Has a request answered as soon as a survey is over.
    pub(super) fn answer_watcher(&mut self, slot: u32, request: &Request<'_, '_>, view: View) {
        let remembered = self.remember_known(slot, request, view.path());
        if !self.watchers.are_there() {
            self.survey.start_over();
        }
        self.watchers.asked += 1;
        let (id, ticket) = (self.connections.id(slot), self.watchers.asked);
        self.watchers.waiting.retain(|watcher| watcher.id != id);
        self.watchers.waiting.push(Watcher { id, ticket, view });
        self.connections.change(slot, |conn| conn.await_end(ticket, remembered));
    }

    /// Goes on with the survey, if anybody waits for it. When it is over, all are answered; or the
    /// first alone while `--memory` is used up, and the others after the next survey.
    pub(in crate::server) fn run_watchers(&mut self, now: Now) {
        if !self.watchers.are_there() {
            return;
        }
        let connections = &self.connections;
        self.watchers.waiting.retain(|Watcher { id, ticket, .. }| {
            connections.lives(*id) && connections.conn(id.slot).awaits(*ticket)
        });
        let process = self.watchers.process;
        let Some(snapshot) = self.survey(now) else { return };
        snapshot.process = process;
        let mut scratch = core::mem::take(&mut self.watchers.scratch);
        let mut answered = 0;
        while let Some(&Watcher { id, view, .. }) = self.watchers.waiting.get(answered) {
            // What is taken of the reserve goes out in this turn, before more is taken.
            if answered > 0 && self.pool.is_strained() {
                break;
            }
            answered += 1;
            scratch.clear();
            let surroundings = &self.watchers.surroundings;
            if let Some(snapshot) = self.survey.snapshot() {
                match view {
                    View::Metrics(format) => prometheus::render(snapshot, format, &mut scratch),
                    View::Status => status::render(snapshot, surroundings, &mut scratch),
                }
            }
            let answer = Answer::plain(200).of_type(Some(view.media_type())).with(&[NO_STORE]);
            self.respond_later(now, id.slot, answer.saying(&scratch));
        }
        self.watchers.waiting.drain(..answered);
        scratch.clear();
        scratch.shrink_to(ROOM_KEPT);
        self.watchers.scratch = scratch;
    }
}
