//! The phases of long polling: a request that is held, and one whose body brings packets.
//!
//! In both phases the answer comes *later*, decided by the session. So what the request said about
//! its answer is kept: whether the connection goes on, and which origin may read the answer.

use super::{Conn, Cx, Next, Phase, Step};
use crate::id::SessionId;
use crate::limits;
use crate::pool::BufferId;
use crate::reason::CloseReason;
use crate::time::Instant;
use crate::wire::http::{Body, Chunk, Framing};

/// What is remembered of a request until its answer.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// Whether the connection goes on after the answer.
    pub persistent: bool,
    /// Whether the request is HTTP/1.0, whose answer must say that the connection goes on.
    pub is_1_0: bool,
    /// The position in `--allow-origin` of the origin that the request came from; `None` if it came
    /// from the page's own, or without one.
    pub origin: Option<u16>,
    /// The buffer with the request's `User-Agent`, for the log; the connection gives it back.
    pub agent: Option<BufferId>,
}

impl Later {
    /// What comes after the answer.
    pub fn next(&self) -> Next {
        if self.persistent { Next::Request } else { Next::Close }
    }
}

/// The phase of a connection whose request body brings packets and is not whole yet.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) session: SessionId,
    pub(super) later: Later,
    body: Body,
    pub(super) buffer: Option<BufferId>,
    pub(super) by: Instant,
    /// Whether the body has the binary form of Engine.IO 3: `application/octet-stream`.
    binary: bool,
}

impl Post {
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.body.wanted_bytes()
    }
}

/// The phase of a connection whose request body is whole and is being taken in.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) session: SessionId,
    pub(super) later: Later,
    /// The body; `None` while it is being taken in.
    pub(super) buffer: Option<BufferId>,
    binary: bool,
    /// How many bytes of the body were taken in.
    at: u32,
}

/// The body of a POST while it is being taken in.
#[derive(Clone, Copy, Debug)]
pub struct TakenBody {
    /// The buffer of the pool in which the body lies.
    pub buffer: BufferId,
    /// The session whose packets the body brings.
    pub session: SessionId,
    /// Whether the body has the binary form of Engine.IO 3.
    pub binary: bool,
    /// How many bytes of the body were taken in.
    pub at: usize,
}

impl Conn {
    /// Holds the request under way until `session` has something to answer it with.
    pub fn hold(&mut self, session: SessionId, later: Later) {
        self.enter(Phase::Held { session, later });
    }

    /// Begins to read the body of the request under way, which brings packets for `session`.
    pub fn begin_post(
        &mut self,
        cx: &Cx<'_>,
        session: SessionId,
        framing: Framing,
        binary: bool,
        later: Later,
    ) {
        let by = cx.now.mono.plus(limits::BODY_LIMIT);
        let body = Body::new(framing);
        self.enter(Phase::Post(Post { session, later, body, buffer: None, by, binary }));
    }

    /// Ends a body that has no bytes and is whole from the beginning.
    pub fn finish_empty_post(&mut self, cx: &mut Cx<'_>) -> Step<'static> {
        self.finish_post(cx, 0).1
    }

    /// Whether a request is held until its session has something to answer it with.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held { .. })
    }

    /// What was remembered of the request under way, if a session decides its answer.
    pub fn later(&self) -> Option<Later> {
        match &self.phase {
            Phase::Held { later, .. } => Some(*later),
            Phase::Post(post) => Some(post.later),
            Phase::Posted(posted) => Some(posted.later),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::WebSocket(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => None,
        }
    }

    /// Whether the body of a POST is whole, and all or some of it waits to be taken in.
    pub fn has_posted(&self) -> bool {
        matches!(self.phase, Phase::Posted(Posted { buffer: Some(_), .. }))
    }

    /// Whether the body of a POST is being taken in right now: whoever does that answers the
    /// request.
    pub fn is_taken_in(&self) -> bool {
        matches!(self.phase, Phase::Posted(Posted { buffer: None, .. }))
    }

    /// Hands out the body of a POST that is whole, to be taken in; `None` if there is none. What is
    /// left of it comes back by [`Conn::put_back_posted`]; if nothing is left, the request is
    /// answered and the buffer given back.
    pub fn take_posted(&mut self) -> Option<TakenBody> {
        let Phase::Posted(posted) = &mut self.phase else { return None };
        let Posted { session, binary, at, .. } = *posted;
        let buffer = posted.buffer.take()?;
        Some(TakenBody { buffer, session, binary, at: at as usize })
    }

    /// Keeps the rest of a body for later. `false` if the connection has ended meanwhile.
    #[must_use]
    pub fn put_back_posted(&mut self, body: &TakenBody) -> bool {
        let Phase::Posted(posted) = &mut self.phase else { return false };
        posted.buffer = Some(body.buffer);
        // No body is longer than the largest `--max-message`, 256 MiB.
        posted.at = body.at as u32;
        true
    }

    pub(super) fn receive_post<'b>(
        &mut self,
        cx: &mut Cx<'_>,
        bytes: &'b mut [u8],
    ) -> (usize, Step<'b>) {
        let Phase::Post(post) = &mut self.phase else { return (0, Step::Continue) };
        match post.body.decode(bytes) {
            Ok((used, Chunk::Data(data))) => {
                let max = cx.settings.limits.message_bytes_max as usize;
                let so_far = post.buffer.map_or(0, |buffer| cx.pool.bytes(buffer).len());
                if so_far + data.len() > max {
                    return (bytes.len(), Step::PostTooBig);
                }
                // A whole body is taken in at once, so the reserve may pay for it; anybody can keep
                // an unfinished one waiting.
                let taken = match post.buffer {
                    Some(buffer) => Some(buffer),
                    None if post.body.is_over() => cx.pool.take_briefly(data.len()),
                    None => cx.pool.take(data.len()),
                };
                let Some(mut buffer) = taken else {
                    return (bytes.len(), Step::End(CloseReason::NoMemory));
                };
                let collected = cx.pool.append(&mut buffer, data);
                post.buffer = Some(buffer);
                if !collected {
                    (used, Step::End(CloseReason::NoMemory))
                } else if post.body.is_over() {
                    self.finish_post(cx, used)
                } else {
                    (used, Step::Continue)
                }
            }
            Ok((used, Chunk::Partial)) => (used, Step::NeedMore),
            Ok((used, Chunk::End)) => self.finish_post(cx, used),
            Err(_) => (bytes.len(), Step::PostMalformed),
        }
    }

    fn finish_post<'b>(&mut self, cx: &mut Cx<'_>, used: usize) -> (usize, Step<'b>) {
        let Phase::Post(post) = &self.phase else { return (used, Step::Continue) };
        let Some(buffer) = post.buffer.or_else(|| cx.pool.take_briefly(0)) else {
            return (used, Step::End(CloseReason::NoMemory));
        };
        let Post { session, later, binary, .. } = *post;
        let buffer = Some(buffer);
        self.enter(Phase::Posted(Posted { session, later, buffer, binary, at: 0 }));
        (used, Step::Posted)
    }
}
