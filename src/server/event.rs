//! What the server tells the shell to write down, or to do, and the queue in which that waits until
//! the end of the turn.
//!
//! Who makes the server say much must not make it keep much. So whatever comes from outside is cut
//! before it is queued; the queue has a small room that is always there, takes more of the pool
//! only while a turn needs it, and gives it back when it is empty. What then finds no room is
//! dropped, and an event says how many were.
//!
//! The surprise: the one event on which the shell acts, the end of a drain, is no entry of the
//! queue. It cannot be dropped.

use core::net::SocketAddr;
use std::collections::VecDeque;

use crate::hub::backplane;
use crate::limits;
use crate::pool::Pool;
use crate::reason::CloseReason;
use crate::text::{SHOWN_BYTES_MAX, cut, cut_bytes};
use crate::time::Duration;
use crate::wire::token::Fault;

/// Something happened. The shell makes log lines of these; the core prints nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session began.
    Opened {
        /// The client's real address.
        client: SocketAddr,
        /// The channel it joined.
        channel: Box<str>,
        /// Who it is, by its token; empty if that is not known.
        subject: Box<str>,
    },
    /// A session ended.
    Closed {
        /// The client's real address.
        client: SocketAddr,
        /// The channel it was in.
        channel: Box<str>,
        /// Why.
        reason: CloseReason,
        /// How long it lasted.
        duration: Duration,
        /// Messages it published.
        messages_in: u64,
        /// Records it was sent whole.
        messages_out: u64,
    },
    /// A session ended that had never entered a channel, so that nothing else told of it.
    Unentered {
        /// The client's real address.
        client: SocketAddr,
        /// Why.
        reason: CloseReason,
        /// How long it lasted.
        duration: Duration,
    },
    /// The ring overtook a reader, which is closed for it.
    Lapped {
        /// The client's real address.
        client: SocketAddr,
        /// The channel it was in.
        channel: Box<str>,
        /// How far behind the newest message the reader was.
        lag_bytes: u64,
    },
    /// Messages of a channel were lost, whose order is decided elsewhere; its readers are told.
    Lost {
        /// The channel.
        channel: Box<str>,
    },
    /// A request was answered.
    Request(Box<Access>),
    /// A connection that was not, or no longer, a session ended.
    Ended {
        /// The client's real address, as far as it was known.
        client: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// An NLB named the VPC endpoint through which the client came.
    Endpoint {
        /// The client's real address.
        client: SocketAddr,
        /// The endpoint's id, as much of it as is shown.
        vpc_endpoint: Box<str>,
    },
    /// A message was published, and reporting that was asked for.
    Message {
        /// The publisher's real address.
        client: SocketAddr,
        /// The text, as much of it as is shown, or how many bytes the binary payload has.
        text: Box<str>,
    },
    /// A session was refused for want of room.
    Refused {
        /// The client's real address.
        client: SocketAddr,
        /// What there is not enough of, in words.
        why: &'static str,
    },
    /// A request for a WebSocket, an event stream or a session was refused by a rule.
    Denied {
        /// The client's real address.
        client: SocketAddr,
        /// The rule that keeps the client out.
        denial: Denial,
    },
    /// Redis, which decides the order of messages, cannot be used from now on.
    OrderAway,
    /// Redis can be used, for the first time or again.
    OrderBack {
        /// How long it could not be used.
        away: Duration,
    },
    /// Something about Redis that the operator should know.
    OrderTrouble(Box<backplane::Report>),
    /// There was no room for some of the events before this one.
    Dropped {
        /// How many.
        events: u64,
    },
    /// The drain is over: nobody is left.
    Drained,
}

/// Why a request for a WebSocket, an event stream or a session was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denial {
    /// Pages of this origin may not connect. The text is empty if what was named is no text, or is
    /// longer than what is shown of an outside value.
    Origin(Box<str>),
    /// Several origins were named.
    Origins,
    /// The page of another site had it fetched without an `Origin`: by an image, a link, a script.
    NoOrigin,
    /// The server does not go by this name: the host and port of the request, as much of them as is
    /// shown.
    Host(Box<str>),
    /// There is no token, or one that is not taken.
    Token(Fault),
    /// A rule of the protocol, in words.
    Rule(&'static str),
}

impl Denial {
    /// Pages of `origin`, the raw value of a field, may not connect.
    pub(super) fn origin(origin: &[u8]) -> Denial {
        let text = core::str::from_utf8(origin).ok().filter(|text| cut(text).len() == text.len());
        Denial::Origin(text.unwrap_or_default().into())
    }

    /// The server does not go by the name in `authority`.
    pub(super) fn host(authority: Option<&str>) -> Denial {
        Denial::Host(cut(authority.unwrap_or_default()).into())
    }
}

/// One request and its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The client's real address.
    pub client: SocketAddr,
    /// Method, path and version, or empty if the request was not understood. A `?` behind the path
    /// shows that there was a query, which may be a secret and is never written down. A long path
    /// is cut, so that all of it has at most [`SHOWN_BYTES_MAX`] bytes.
    pub line: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// `User-Agent`, as it was sent, at most [`AGENT_BYTES_MAX`] bytes of it.
    pub agent: Vec<u8>,
    /// Whether requests like this come all day: a health probe, metrics or status that were told.
    pub is_routine: bool,
}

/// Bytes of a `User-Agent` that are kept until a poll or a POST is answered, and for the log.
pub const AGENT_BYTES_MAX: usize = SHOWN_BYTES_MAX;

/// What an allocation takes beside its bytes, at most.
const ALLOCATION_BYTES: u64 = 32;

/// What an access entry takes, whatever it says: its texts never grow.
const ACCESS_BYTES: u64 =
    (size_of::<Access>() + SHOWN_BYTES_MAX + AGENT_BYTES_MAX) as u64 + 3 * ALLOCATION_BYTES;

/// What a trouble with Redis takes beside its entry.
const ORDER_TROUBLE_BYTES: u64 = size_of::<backplane::Report>() as u64 + ALLOCATION_BYTES;

/// What an entry of the queue takes beside its texts.
const EVENT_BYTES: u64 = size_of::<Event>() as u64;

impl Access {
    fn new(client: SocketAddr) -> Access {
        Access {
            client,
            line: String::with_capacity(SHOWN_BYTES_MAX),
            status: 0,
            body_bytes: 0,
            agent: Vec::with_capacity(AGENT_BYTES_MAX),
            is_routine: false,
        }
    }

    /// Writes down what was asked for: not the query, only whether there was one.
    pub(super) fn set_request(&mut self, method: &str, path: &str, has_query: bool, version: &str) {
        let mark = if has_query { "?" } else { "" };
        let others_bytes = [method, " ", mark, " ", version].iter().map(|part| part.len()).sum();
        let path_bytes_max = SHOWN_BYTES_MAX.saturating_sub(others_bytes);
        let path = &path[..path.floor_char_boundary(path_bytes_max)];
        self.line.clear();
        self.line.extend([method, " ", path, mark, " ", version]);
    }

    /// Writes down who asked, as far as that is kept.
    pub(super) fn set_agent(&mut self, agent: &[u8]) {
        self.agent.clear();
        self.agent.extend_from_slice(&agent[..agent.len().min(AGENT_BYTES_MAX)]);
    }
}

impl Event {
    /// An NLB named an endpoint.
    pub(super) fn endpoint(client: SocketAddr, vpc_endpoint: &str) -> Event {
        Event::Endpoint { client, vpc_endpoint: cut(vpc_endpoint).into() }
    }

    /// A message of this text, or of something that stands for it, was published.
    pub(super) fn message(client: SocketAddr, text: &[u8]) -> Event {
        Event::Message { client, text: String::from_utf8_lossy(cut_bytes(text)).into() }
    }

    /// What it keeps beside its entry in the queue.
    fn text_bytes(&self) -> u64 {
        let text = match self {
            Event::Request(_) => return ACCESS_BYTES,
            Event::Opened { channel, subject, .. } => {
                return (channel.len() + subject.len()) as u64 + 2 * ALLOCATION_BYTES;
            }
            Event::Closed { channel, .. }
            | Event::Lapped { channel, .. }
            | Event::Lost { channel } => channel,
            Event::Endpoint { vpc_endpoint, .. } => vpc_endpoint,
            Event::Message { text, .. }
            | Event::Denied { denial: Denial::Origin(text) | Denial::Host(text), .. } => text,
            Event::OrderTrouble(_) => return ORDER_TROUBLE_BYTES,
            Event::OrderAway
            | Event::OrderBack { .. }
            | Event::Unentered { .. }
            | Event::Ended { .. }
            | Event::Refused { .. }
            | Event::Denied {
                denial: Denial::Origins | Denial::NoOrigin | Denial::Token(_) | Denial::Rule(_),
                ..
            }
            | Event::Dropped { .. }
            | Event::Drained => return 0,
        };
        text.len() as u64 + ALLOCATION_BYTES
    }
}

/// Events that wait for the end of the turn, in their order.
///
/// In bytes: `capacity * EVENT_BYTES + texts <= EVENTS_BYTES + reserved`, also while it grows.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    /// What the entries keep beside their places.
    text_bytes: u64,
    /// Reserved in the pool; nothing while the queue is empty.
    reserved_bytes: u64,
    /// How many found no room since that was last told.
    dropped: u64,
    /// The drain is over, which is told behind everything else.
    drained: bool,
}

/// What is reserved in the pool at one time: some hundred entries.
const RESERVED_STEP_BYTES: u64 = 64 * 1024;

/// Places that an empty queue keeps, so that an ordinary turn does not allocate.
const PLACES_KEPT: usize = 1024;

const _: () = assert!(PLACES_KEPT as u64 * EVENT_BYTES < limits::EVENTS_BYTES / 2);

impl Queue {
    /// Puts an event behind the others, or counts it if there is no room for it.
    pub(super) fn push(&mut self, pool: &mut Pool, event: Event) {
        if matches!(event, Event::Drained) {
            self.drained = true;
        } else if self.make_room(pool, event.text_bytes()) {
            self.text_bytes += event.text_bytes();
            self.events.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    /// Makes room for one more entry.
    fn make_room(&mut self, pool: &mut Pool, text_bytes: u64) -> bool {
        let places = self.events.capacity();
        let grown = if self.events.len() < places { places } else { (2 * places).max(64) };
        // While the places are moved there are both.
        let moved = if grown > places { grown } else { 0 };
        let needed_bytes = (places + moved) as u64 * EVENT_BYTES + self.text_bytes + text_bytes;
        let room_bytes = limits::EVENTS_BYTES + self.reserved_bytes;
        if needed_bytes > room_bytes {
            let more_bytes = (needed_bytes - room_bytes).next_multiple_of(RESERVED_STEP_BYTES);
            let within_share = self.reserved_bytes + more_bytes <= pool.limit_bytes() / 16;
            if !within_share || !pool.reserve(more_bytes) {
                return false;
            }
            self.reserved_bytes += more_bytes;
        }
        self.events.reserve_exact(grown - self.events.len());
        true
    }

    /// The first event. Behind the last one, everything that was needed for more than an ordinary
    /// turn is given back.
    pub(super) fn pop(&mut self, pool: &mut Pool) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            self.text_bytes -= event.text_bytes();
            return Some(event);
        }
        if self.reserved_bytes > 0 || self.events.capacity() > PLACES_KEPT {
            self.events.shrink_to(PLACES_KEPT);
            pool.release(self.reserved_bytes);
            self.reserved_bytes = 0;
        }
        if self.dropped > 0 {
            return Some(Event::Dropped { events: core::mem::take(&mut self.dropped) });
        }
        core::mem::take(&mut self.drained).then_some(Event::Drained)
    }

    /// What the queue of events has of the pool.
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Asserts what must hold between calls.
    pub(super) fn check(&self) {
        let text_bytes: u64 = self.events.iter().map(Event::text_bytes).sum();
        assert_eq!(text_bytes, self.text_bytes);
        let held_bytes = self.events.capacity() as u64 * EVENT_BYTES + text_bytes;
        assert!(held_bytes <= limits::EVENTS_BYTES + self.reserved_bytes);
    }
}

/// Access entries that were written down and wait to be filled again, so that a server whose
/// clients poll does not allocate. As many as a turn of 64 sends and some POSTs brings; there are
/// never more than that, and all have the same size.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "an event carries the box, so it comes back as it went")]
pub(super) struct Spare(Vec<Box<Access>>);

const SPARE_MAX: usize = 128;

// Both are part of what is printed as the program's own memory.
const _: () =
    assert!(limits::EVENTS_BYTES + SPARE_MAX as u64 * ACCESS_BYTES < limits::BASE_BYTES / 16);

impl Spare {
    /// An entry with empty texts.
    pub(super) fn take(&mut self, client: SocketAddr, status: u16, body_bytes: u64) -> Box<Access> {
        let mut access = self.0.pop().unwrap_or_else(|| Box::new(Access::new(client)));
        access.line.clear();
        access.agent.clear();
        (access.client, access.status, access.body_bytes) = (client, status, body_bytes);
        access.is_routine = false;
        access
    }

    /// Keeps an entry, unless there are enough or somebody has made its texts grow.
    pub(super) fn give(&mut self, access: Box<Access>) {
        let bytes = access.line.capacity() + access.agent.capacity();
        if self.0.len() < SPARE_MAX && bytes <= SHOWN_BYTES_MAX + AGENT_BYTES_MAX {
            self.0.push(access);
        }
    }
}
