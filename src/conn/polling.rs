//! The phases of long polling: a request that is held, and one whose body brings packets.
//!
//! What they have in common is that the answer comes *later*, decided by the session; so what the
//! request said about its answer is kept: whether the connection goes on, and who may read it.

use super::{Conn, Cx, Next, Phase, Step};
use crate::id::SessionId;
use crate::limits;
use crate::pool::BufferId;
use crate::reason::CloseReason;
use crate::time::Instant;
use crate::wire::http::{Body, Chunk, Framing};

/// What is remembered of a request until it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// The connection goes on behind the answer.
    pub persistent: bool,
    /// It is HTTP/1.0, which wants to be told.
    pub is_1_0: bool,
    /// Which of `--allow-origin` the request came from, if from another origin.
    pub origin: Option<u16>,
    /// Its `User-Agent`, for the log; the connection gives it back.
    pub agent: Option<BufferId>,
}

impl Later {
    /// What follows the answer.
    pub fn next(&self) -> Next {
        if self.persistent { Next::Request } else { Next::Close }
    }
}

/// Reading a body.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) session: SessionId,
    pub(super) later: Later,
    body: Body,
    pub(super) buffer: Option<BufferId>,
    pub(super) by: Instant,
    /// `application/octet-stream`: the binary form of Engine.IO 3.
    binary: bool,
}

impl Post {
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.body.wanted_bytes()
    }
}

/// A body that is whole, and how much of it was taken in.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) session: SessionId,
    pub(super) later: Later,
    /// `None` while the body is being taken in.
    pub(super) buffer: Option<BufferId>,
    binary: bool,
    /// How much of it was taken in.
    at: u32,
}

/// A body that is being taken in.
#[derive(Clone, Copy, Debug)]
pub struct TakenBody {
    /// Where it lies, lent by the pool.
    pub buffer: BufferId,
    /// Whose packets they are.
    pub session: SessionId,
    /// It has the binary form of Engine.IO 3.
    pub binary: bool,
    /// How many of its bytes were taken in.
    pub at: usize,
}

impl Conn {
    /// The request waits until its session has something to say.
    pub fn hold(&mut self, session: SessionId, later: Later) {
        self.enter(Phase::Held { session, later });
    }

    /// The request's body brings packets for `session`.
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

    /// The body has no bytes: it is whole already.
    pub fn finish_empty_post(&mut self, cx: &mut Cx<'_>) -> Step<'static> {
        self.finish_post(cx, 0).1
    }

    /// Whether its request waits for something to be answered with.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held { .. })
    }

    /// What was remembered of the request that is to be answered now.
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

    /// Whether a body that is whole waits to be taken in, or the rest of it.
    pub fn has_posted(&self) -> bool {
        matches!(self.phase, Phase::Posted(Posted { buffer: Some(_), .. }))
    }

    /// Whether a body is being taken in at this moment: whoever does that answers the request.
    pub fn is_taken_in(&self) -> bool {
        matches!(self.phase, Phase::Posted(Posted { buffer: None, .. }))
    }

    /// Hands out a body that is whole, to be taken in. What is left of it comes back by
    /// [`Conn::put_back_posted`]; otherwise the request is answered and the buffer given back.
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
                // What is whole is taken in at once; what is not can be kept waiting by anyone.
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
