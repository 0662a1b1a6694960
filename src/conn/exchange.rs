//! The phase of a request whose answer is decided by others: it is held, its body is collected, its
//! body is whole and taken in bit by bit, or it waits for what the server itself is about to know.
//!
//! The answer comes *later*, so what the request said about it is remembered: whether the
//! connection goes on, which origin may read the answer, who asks. What a body is for is a value
//! beside its collector (`collect`), so that the next use is one more variant of [`Purpose`].
//!
//! The surprise: a body that is being taken in is lent to whoever does that, and the phase is
//! without it for so long.

use super::collect::{CollectError, Collected, Collector};
use super::{Conn, Cx, Next, Phase, Step};
use crate::id::SessionId;
use crate::pool::{BufferId, Pool};
use crate::reason::CloseReason;
use crate::time::Instant;
use crate::wire::http::{Framing, Method, Version};

/// What is remembered of a request until its answer.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// What the request asked to be done.
    pub method: Method,
    /// The version as which the request is served: HTTP/1.0 must be told that the connection goes
    /// on.
    pub version: Version,
    /// Whether the connection goes on after the answer.
    pub is_persistent: bool,
    /// How many bytes of what is noted are the origin of the page that sent the request. 0 if no
    /// page of another origin may read the answer.
    pub origin_bytes: u16,
    /// How many bytes behind the origin's are the `User-Agent`.
    pub agent_bytes: u16,
    /// How many bytes behind the `User-Agent` are the path, for the log; 0 if the path is a known
    /// one.
    pub path_bytes: u16,
    /// Which path the request had, if none is noted.
    pub known_path: KnownPath,
    /// Whether the request had a query.
    pub has_query: bool,
    /// The buffer with what is noted of the request: its origin, its `User-Agent`, its path, and
    /// whatever words its purpose needs. The connection gives it back. `None` if there is nothing
    /// of that, or there was no memory.
    pub noted: Option<BufferId>,
}

/// A path that need not be noted, since it is the same for many requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownPath {
    /// The path of all sessions.
    Sessions,
    /// `/metrics` on the admin listener.
    Metrics,
    /// `/status` on the admin listener.
    Status,
}

impl KnownPath {
    /// Whether requests for this path come all day, from programs that watch the server.
    pub fn is_routine(self) -> bool {
        match self {
            KnownPath::Sessions => false,
            KnownPath::Metrics | KnownPath::Status => true,
        }
    }
}

/// What a request to publish says beside its body. Its words are noted: the channel's name, behind
/// it the event's, if there is one, and behind that the key by which repeats are known, if there is
/// one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draft {
    /// How many bytes of the words are the name of the channel.
    pub channel_bytes: u8,
    /// How many bytes behind the channel's name are the name of an event, of which the body has the
    /// arguments; 0 if the body is a message by itself.
    pub event_bytes: u16,
    /// Whether the body is bytes; otherwise it is text.
    pub is_binary: bool,
}

impl Remembered {
    /// The origin of the page of another origin that may read the answer; empty if none may.
    pub fn origin<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        self.noted(pool)[0]
    }

    /// The `User-Agent`, as much of it as was noted.
    pub fn agent<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        self.noted(pool)[1]
    }

    /// The path, as much of it as was noted; empty for a known one.
    pub fn path<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        self.noted(pool)[2]
    }

    /// The words that the request's purpose needs.
    pub fn words<'p>(&self, pool: &'p Pool) -> &'p [u8] {
        self.noted(pool)[3]
    }

    fn noted<'p>(&self, pool: &'p Pool) -> [&'p [u8]; 4] {
        let noted = self.noted.map_or(&[][..], |noted| pool.bytes(noted));
        let (origin, rest) = noted.split_at(usize::from(self.origin_bytes));
        let (agent, rest) = rest.split_at(usize::from(self.agent_bytes));
        let (path, words) = rest.split_at(usize::from(self.path_bytes));
        [origin, agent, path, words]
    }

    /// What comes after the answer, as far as the request decides that.
    pub fn next(&self) -> Next {
        if self.is_persistent { Next::Request } else { Next::Close }
    }
}

/// What a request body is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The body brings packets for a session.
    Packets {
        /// The session that the packets are for.
        session: SessionId,
        /// Whether the body has the binary form of Engine.IO 3: `application/octet-stream`.
        is_binary: bool,
    },
    /// The body is what a backend says.
    Message(Draft),
}

impl Purpose {
    fn session(self) -> Option<SessionId> {
        match self {
            Purpose::Packets { session, .. } => Some(session),
            Purpose::Message(_) => None,
        }
    }
}

/// A request body that is whole, while it is being taken in.
#[derive(Clone, Copy, Debug)]
pub struct TakenBody {
    /// The buffer of the pool in which the body lies.
    pub buffer: BufferId,
    /// What the body is for.
    pub purpose: Purpose,
    /// How many bytes of the body were taken in.
    pub at: usize,
}

/// The phase of a connection whose request others answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: Remembered,
    stage: Stage,
}

/// How far the request is.
#[derive(Debug)]
enum Stage {
    /// The request is held until its session has something to answer it with.
    Held(SessionId),
    /// The request waits until the server itself has its answer, which that knows by a `ticket`. At
    /// `by` it is told that there is none yet.
    Awaiting { ticket: u64, by: Instant },
    /// The body is read.
    Collecting { purpose: Purpose, collector: Collector },
    /// The body is whole and is being taken in: `at` bytes were. `buffer` is `None` while somebody
    /// has it.
    Whole { purpose: Purpose, buffer: Option<BufferId>, at: u32 },
}

impl Exchange {
    pub(super) fn receive<'b>(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> (usize, Step<'b>) {
        match &mut self.stage {
            Stage::Held(_) | Stage::Awaiting { .. } | Stage::Whole { .. } => (0, Step::Hold),
            Stage::Collecting { collector, .. } => {
                let (used, collected) = collector.receive(cx.pool, bytes);
                (used, self.go_on(collected))
            }
        }
    }

    /// Acts on how far the body has come.
    fn go_on(&mut self, collected: Result<Collected, CollectError>) -> Step<'static> {
        match collected {
            Ok(Collected::Some) => Step::Continue,
            Ok(Collected::Partial) => Step::NeedMore,
            Ok(Collected::Whole(buffer)) => {
                if let Stage::Collecting { purpose, .. } = self.stage {
                    self.stage = Stage::Whole { purpose, buffer: Some(buffer), at: 0 };
                }
                Step::Collected
            }
            Err(error) => Step::Uncollected(error),
        }
    }

    pub(super) fn receive_end(&self) -> Step<'static> {
        match self.stage {
            // A peer that holds a poll and goes has ended the session with it.
            Stage::Held(_) | Stage::Collecting { .. } => Step::End(CloseReason::PeerGone),
            // The peer may have shut down only its writing side.
            Stage::Awaiting { .. } | Stage::Whole { .. } => Step::Hold,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match &self.stage {
            Stage::Collecting { collector, .. } => collector.deadline(),
            Stage::Awaiting { by, .. } => *by,
            // Whoever decides the answer has a deadline of its own.
            Stage::Held(_) | Stage::Whole { .. } => Instant::NEVER,
        }
    }

    pub(super) fn handle_timeout(&self, now: Instant) -> Step<'static> {
        match &self.stage {
            Stage::Collecting { .. } => Step::Uncollected(CollectError::Late),
            Stage::Awaiting { by, .. } if *by <= now => Step::Unanswered,
            Stage::Awaiting { .. } => Step::Continue,
            Stage::Held(_) | Stage::Whole { .. } => Step::Continue,
        }
    }

    pub(super) fn speaks_later(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Collecting { collector, .. } => collector.put_off(now),
            Stage::Held(_) | Stage::Awaiting { .. } | Stage::Whole { .. } => {}
        }
    }

    pub(super) fn wants_input(&self, has_input: bool) -> bool {
        match &self.stage {
            // Reading serves only to notice the peer's end; a pipelined request waits.
            Stage::Held(_) => !has_input,
            Stage::Collecting { .. } => true,
            Stage::Awaiting { .. } | Stage::Whole { .. } => false,
        }
    }

    pub(super) fn wanted_bytes(&self) -> u64 {
        match &self.stage {
            Stage::Collecting { collector, .. } => collector.wanted_bytes(),
            Stage::Held(_) | Stage::Awaiting { .. } | Stage::Whole { .. } => 0,
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        match &self.stage {
            Stage::Held(session) => Some(*session),
            Stage::Awaiting { .. } => None,
            Stage::Collecting { purpose, .. } | Stage::Whole { purpose, .. } => purpose.session(),
        }
    }

    /// Whether a body is read, or taken in.
    pub(super) fn has_body(&self) -> bool {
        match &self.stage {
            Stage::Held(_) | Stage::Awaiting { .. } => false,
            Stage::Collecting { .. } | Stage::Whole { .. } => true,
        }
    }

    pub(super) fn buffers(&self) -> [Option<BufferId>; 2] {
        let body = match &self.stage {
            Stage::Held(_) | Stage::Awaiting { .. } => None,
            Stage::Collecting { collector, .. } => collector.buffer(),
            Stage::Whole { buffer, .. } => *buffer,
        };
        [body, self.request.noted]
    }
}

impl Conn {
    /// Holds the request under way until `session` has something to answer it with.
    pub fn hold(&mut self, session: SessionId, request: Remembered) {
        self.enter(Phase::Exchange(Exchange { request, stage: Stage::Held(session) }));
    }

    /// Has the request under way wait for an answer that the server knows by `ticket`, until `by`
    /// at the latest.
    pub fn await_answer(&mut self, ticket: u64, by: Instant, request: Remembered) {
        self.enter(Phase::Exchange(Exchange { request, stage: Stage::Awaiting { ticket, by } }));
    }

    /// Has the request under way wait for an answer that the server knows by `ticket`, and that is
    /// sure to come.
    pub fn await_end(&mut self, ticket: u64, request: Remembered) {
        self.await_answer(ticket, Instant::NEVER, request);
    }

    /// Whether the request under way waits for the answer of this ticket.
    pub fn awaits(&self, ticket: u64) -> bool {
        let is_it =
            |stage: &Stage| matches!(stage, Stage::Awaiting { ticket: own, .. } if *own == ticket);
        self.exchange().is_some_and(|exchange| is_it(&exchange.stage))
    }

    /// Begins to read the body of the request under way, which has at most `--max-message` bytes.
    /// Whether it is still to come; an empty one is whole at once, and waits to be taken in.
    ///
    /// # Errors
    /// Why it cannot be collected: it announces too much, or there is no memory.
    pub fn collect(
        &mut self,
        cx: &mut Cx<'_>,
        purpose: Purpose,
        framing: Framing,
        request: Remembered,
    ) -> Result<bool, CollectError> {
        if self.is_over() {
            return Ok(false);
        }
        let bytes_max = cx.settings.limits.message_bytes_max;
        let mut collector = Collector::new(framing, bytes_max, cx.now.mono);
        let begun = collector.begin(cx.pool);
        let stage = Stage::Collecting { purpose, collector };
        let mut exchange = Exchange { request, stage };
        let step = exchange.go_on(begun);
        self.enter(Phase::Exchange(exchange));
        if let Step::Uncollected(error) = step {
            return Err(error);
        }
        Ok(!matches!(step, Step::Collected))
    }

    fn exchange(&self) -> Option<&Exchange> {
        match &self.phase {
            Phase::Exchange(exchange) => Some(exchange),
            Phase::Proxy(_)
            | Phase::Http(_)
            | Phase::WebSocket(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => None,
        }
    }

    /// What was remembered of the request under way, if others decide its answer.
    pub fn remembered(&self) -> Option<Remembered> {
        self.exchange().map(|exchange| exchange.request)
    }

    /// What the body of the request under way is for, if it is wanted.
    pub fn purpose(&self) -> Option<Purpose> {
        match &self.exchange()?.stage {
            Stage::Collecting { purpose, .. } | Stage::Whole { purpose, .. } => Some(*purpose),
            Stage::Held(_) | Stage::Awaiting { .. } => None,
        }
    }

    /// Whether a request is held until its session has something to answer it with.
    pub fn is_held(&self) -> bool {
        self.exchange().is_some_and(|exchange| matches!(exchange.stage, Stage::Held(_)))
    }

    /// Whether a request body is whole, and all or some of it waits to be taken in.
    pub fn has_body_left(&self) -> bool {
        let has_left = |stage: &Stage| matches!(stage, Stage::Whole { buffer: Some(_), .. });
        self.exchange().is_some_and(|exchange| has_left(&exchange.stage))
    }

    /// Whether a request body is being taken in right now: whoever does that answers the request.
    pub fn is_taken_in(&self) -> bool {
        let is_lent = |stage: &Stage| matches!(stage, Stage::Whole { buffer: None, .. });
        self.exchange().is_some_and(|exchange| is_lent(&exchange.stage))
    }

    /// Hands out a request body that is whole, to be taken in; `None` if there is none. What is
    /// left of it comes back by [`Conn::put_back_body`]; if nothing is left, the request is
    /// answered and the buffer given back.
    pub fn take_body(&mut self) -> Option<TakenBody> {
        let Phase::Exchange(exchange) = &mut self.phase else { return None };
        let Stage::Whole { purpose, buffer, at } = &mut exchange.stage else { return None };
        Some(TakenBody { buffer: buffer.take()?, purpose: *purpose, at: *at as usize })
    }

    /// Keeps the rest of a body for later. `false` if the connection has ended meanwhile, or its
    /// request was answered; then the body stays the caller's.
    #[must_use]
    pub fn put_back_body(&mut self, body: &TakenBody) -> bool {
        let Phase::Exchange(exchange) = &mut self.phase else { return false };
        let Stage::Whole { buffer, at, .. } = &mut exchange.stage else { return false };
        *buffer = Some(body.buffer);
        // No body is longer than the largest `--max-message`, 256 MiB.
        *at = body.at as u32;
        true
    }
}
