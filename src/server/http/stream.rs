//! Event streams (`wire/sse`): which channel a path names, and who may become a member of it.
//!
//! Leaves to others: what a request says of where to go on (`wire/resume`), places in channels
//! (`members`), the head of the response (`respond`).
//!
//! The surprise: whoever finds no room is answered with 200. A browser never comes back from an
//! error, so it gets a stream that says when to come back, and ends.

use super::cors::Lets;
use super::files::ALLOW_READ;
use super::respond::{Answer, Content, Field, NO_STORE, Opening};
use super::token::Admission;
use super::upgrade::{GONE, wish_of};
use crate::conn::Role;
use crate::hub::{DEFAULT_CHANNEL, Recovery, Start, is_channel_name};
use crate::id::Dialect;
use crate::metrics::Refusal;
use crate::reason::CloseReason;
use crate::server::admission::Turned;
use crate::server::{Event, Server, Socket};
use crate::time::Now;
use crate::wire::http::{Method, Request, Version};
use crate::wire::resume::{Malformed, NamedPosition, Resume};
use crate::wire::sse;

/// The media type of an event stream (WHATWG HTML, section 9.2).
const EVENT_STREAM: Option<&str> = Some("text/event-stream");

/// The fields of an event stream. The last has nginx pass each event on at once.
const FIELDS: [Field<'static>; 3] =
    [("Transfer-Encoding", "chunked"), NO_STORE, ("X-Accel-Buffering", "no")];

/// The channel that the event stream at `path`, which was decoded, is of.
pub(super) fn channel_at(path: &str) -> Option<&str> {
    match path {
        "/sse" => Some(DEFAULT_CHANNEL),
        _ => path.strip_prefix("/sse/").filter(|name| is_channel_name(name)),
    }
}

/// What a request says of where to go on. What a browser says when it comes back wins over the URL,
/// which is the one that its page has once named.
fn resume_of(request: &Request<'_, '_>) -> Result<Resume, Malformed> {
    let resume = Resume::parse(request.query)?;
    let mut values = request.fields("last-event-id");
    let last_event_id = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => NamedPosition::from_header(value),
        (Some(_), Some(_)) => return Err(Malformed::LastEventId),
    };
    Ok(Resume { since: last_event_id.or(resume.since), ..resume })
}

/// Appends the one event with which a stream begins. Its id is the position behind which the client
/// reads everything; if something is lost to the client, the same event says so. A client that was
/// cut off after the id alone would come back with that, and never be told.
fn write_beginning(start: &Start, out: &mut Vec<u8>) {
    let position = start.position.text();
    match start.recovery {
        None | Some(Recovery::Whole) => sse::opening(position.as_str(), out),
        Some(Recovery::Gone | Recovery::Unknown) => sse::reset(position.as_str(), out),
    }
}

/// A head of an event stream, with these chunks behind it.
fn streaming(chunks: &[u8]) -> Answer<'_> {
    let answer = Answer::plain(200).of_type(EVENT_STREAM).with(&FIELDS).letting(Lets::Read);
    Answer { content: Content::Chunks(chunks), ..answer }
}

impl<S: Socket> Server<S> {
    /// Answers a request for the event stream of `channel`.
    pub(super) fn answer_stream(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        channel: &str,
    ) {
        let refusal = match request.method {
            Method::Options => return self.answer_stream_options(now, slot, request),
            Method::Get | Method::Head if request.version == Version::Http11 => {
                match self.check_origin(request) {
                    Ok(()) => return self.open_stream(now, slot, request, channel),
                    Err(denial) => {
                        self.report_denial(slot, denial);
                        Answer::plain(403).saying(b"pages of this origin may not connect here")
                    }
                }
            }
            // An event stream is told in chunks, which 1.0 does not know.
            Method::Get | Method::Head => Answer::plain(505).letting(Lets::Read),
            Method::Post | Method::Put | Method::Delete | Method::Trace | Method::Patch => {
                Answer::plain(405).with(&[ALLOW_READ]).letting(Lets::Read)
            }
        };
        self.respond(now, slot, request, refusal);
    }

    /// Says which methods there are, and what the page of a listed origin may send: a browser asks
    /// before a script names the event that it has heard last.
    fn answer_stream_options(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        // What asks for no method is no preflight (Fetch, section 4.8).
        if request.fields("access-control-request-method").next().is_none() {
            return self.answer_options(now, slot, request, ALLOW_READ);
        }
        // The browser sends nothing after a refusal, so whose page it was is said now or never.
        if let Err(denial) = self.check_origin(request) {
            self.report_denial(slot, denial);
        }
        let answer = Answer::plain(204).with(&[ALLOW_READ]).letting(Lets::Send);
        self.respond(now, slot, request, answer);
    }

    /// Lets a reader into `channel`, or says why not. A HEAD counts for nothing, and is told what a
    /// GET would be, as far as that is known: where a ring is still to be filled, only filling it
    /// shows that it holds less than what is kept.
    fn open_stream(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, channel: &str) {
        let admission = match self.admit(now, slot, request, false, channel) {
            Ok(admission) => admission,
            Err(stop) => return self.stop(now, slot, request, stop),
        };
        let resume = match resume_of(request) {
            Ok(resume) => resume,
            Err(malformed) => {
                self.metrics.count_refused(Refusal::Protocol);
                let text = malformed.to_string();
                let answer = Answer::plain(400).saying(text.as_bytes()).letting(Lets::Read);
                return self.respond(now, slot, request, answer);
            }
        };
        let (dialect, wish) = (Dialect::EventStream, wish_of(&resume));
        let gone = Answer::plain(410).saying(GONE).letting(Lets::Read);
        if request.method == Method::Head {
            let prospect = self.hub.prospect(&mut self.pool, now.mono, channel, dialect, wish);
            // Of a channel that is not open here nothing is known; a GET waits until it is.
            let is_whole = !self.hub.is_open(channel)
                || matches!(prospect.recovery, None | Some(Recovery::Whole));
            let answer = if resume.strict && !is_whole { gone } else { streaming(b"") };
            return self.respond(now, slot, request, answer);
        }
        let entered = self.let_in(now, slot, channel, (dialect, wish), resume.strict);
        let (membership, start) = match entered {
            Ok(entered) => entered,
            Err(Turned::Later) => return,
            Err(Turned::NoRoom(why)) => return self.put_off(now, slot, request, why),
            Err(Turned::Gone) => {
                self.metrics.count_refused(Refusal::Gone);
                return self.respond(now, slot, request, gone);
            }
            Err(Turned::OverShare) => return self.put_off(now, slot, request, Refusal::Replays),
        };
        let mut beginning = Vec::with_capacity(sse::NOTICE_BYTES_MAX);
        write_beginning(&start, &mut beginning);
        let first_comment = self.first_ping();
        let client = self.client(slot);
        let Admission { may_speak, visa, subject } = admission;
        let opened = Event::Opened { client, channel: channel.into(), subject };
        self.events.push(&mut self.pool, opened);
        let opening = Opening {
            role: Role::Member { membership, dialect, may_speak },
            visa,
            first_ping: Some(first_comment),
            own: &beginning,
            lags: start.missed > 0,
        };
        if !self.begin_stream(now, slot, request, &streaming(b""), opening) {
            self.remove(now, slot, CloseReason::NoMemory, false);
        }
    }

    /// Refuses a stream for now, and says when to come back and in the log why.
    fn put_off(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, why: Refusal) {
        self.report_refusal(self.client(slot), why);
        let retry_ms = self.retry_ms();
        let mut chunks = Vec::with_capacity(sse::retry_and_end_bytes(retry_ms));
        sse::retry_and_end(retry_ms, &mut chunks);
        self.respond(now, slot, request, streaming(&chunks).and_close());
    }
}
