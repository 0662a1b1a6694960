//! Polls: how a session without a WebSocket hears (Engine.IO 3 and 4).
//!
//! A poll is answered as soon as there is something to say, with as many whole records of the
//! session's feeds as fit, own packets first; until then its connection holds the request
//! (`request`).
//!
//! The surprise: nothing is queued for a session between two polls. It lags, as a reader does whose
//! socket is full.

use crate::feed::Mark;
use crate::hub::{SPACES_MAX, Transport};
use crate::id::{ChannelId, ConnId, SessionId};
use crate::reason::{CloseReason, Farewell};
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::engine::{self, Body, BodyLength, Frame};
use crate::work;

/// The packet by which a session's client is told that it is over.
const CLOSE: Frame<'static> = Frame::text("1");

/// Records are put into a poll's answer up to this length; one always is.
const POLL_BYTES_MAX: usize = 64 * 1024;

impl<S: Socket> Server<S> {
    /// Answers the held poll of a session, if there is one and something to say. What went into the
    /// answer.
    pub(in crate::server) fn answer_poll(&mut self, now: Now, session_id: SessionId) -> Answered {
        let mut answered = Answered::default();
        let Transport::Polling { held: Some(id), .. } = self.sessions.get(session_id).transport
        else {
            return answered;
        };
        let plan = match self.plan_poll(session_id) {
            Ok(plan) => plan,
            Err(overtaken) => {
                self.recover_session(session_id);
                self.close_lapped(now, session_id, overtaken);
                return answered;
            }
        };
        let session = self.sessions.get(session_id);
        if plan.bytes > 0 {
            answered = Answered { bytes: plan.bytes, records: plan.records };
            work::count(|work| {
                work.answered_bytes += plan.bytes as u64;
                work.records += plan.records as u64;
            });
            self.answer_with_plan(now, session_id, id, &plan);
        } else if session.upgrade.is_some_and(|upgrade| upgrade.probed) {
            let noop = engine::noop_body(session.version);
            self.send_poll(now, session_id, id, noop);
        } else if self.drain.as_ref().is_some_and(|drain| drain.has_passed(id.slot)) {
            // It was between two polls when its turn came.
            self.close_session(now, session_id, CloseReason::GoingAway, Farewell::Close);
        }
        answered
    }

    /// Answers the held request with what was planned.
    fn answer_with_plan(&mut self, now: Now, session_id: SessionId, id: ConnId, plan: &Plan) {
        let Some(buffer) = self.pool.take_briefly(plan.bytes) else {
            return self.close_session(now, session_id, CloseReason::NoMemory, Farewell::Close);
        };
        let mut body = self.pool.borrow_out(buffer);
        self.write_poll(session_id, plan, &mut body);
        debug_assert_eq!(body.len(), plan.bytes, "a plan is kept");
        self.recover_session(session_id);
        let is_sent = self.send_poll(now, session_id, id, &body);
        self.pool.put_back(buffer, body);
        self.pool.give(buffer);
        if is_sent && plan.is_last {
            self.close_session(now, session_id, CloseReason::GoingAway, Farewell::None);
        } else if !is_sent {
            // No memory for the answer, and what was in it is not kept.
            self.close_session(now, session_id, CloseReason::NoMemory, Farewell::Close);
        }
    }

    /// What a poll is answered with: own packets and then as many records as fit. Behind the last
    /// record stands the end of a session that has lasted for as long as it may. An error is the
    /// channel whose ring has overtaken the session.
    fn plan_poll(&self, session_id: SessionId) -> Result<Plan, ChannelId> {
        let session = self.sessions.get(session_id);
        let mut length = BodyLength::new(session.version);
        if let Some(own) = session.own {
            engine::frames(self.pool.bytes(own), &[]).for_each(|frame| length.add(frame));
        }
        let until = [Mark::default(); SPACES_MAX];
        let mut plan = Plan { bytes: 0, records: 0, until, is_last: false };
        let mut full = false;
        for (space, until) in session.spaces.iter().zip(&mut plan.until) {
            let feed = self.hub.feed(space.channel(), session.dialect());
            if feed.has_overtaken(space.cursor.offset) && !full {
                return Err(space.channel());
            }
            *until = space.cursor;
            while !full && let Some(next) = feed.next(*until) {
                let (first, second) = feed.slices(until.offset, next.offset);
                let mut longer = length;
                engine::frames(first, second).for_each(|frame| longer.add(frame));
                full = length.bytes() > 0 && longer.bytes() > POLL_BYTES_MAX;
                if !full {
                    (length, *until) = (longer, next);
                    plan.records += 1;
                }
            }
        }
        plan.is_last = session.has_stayed() && !full;
        if plan.is_last {
            length.add(CLOSE);
        }
        plan.bytes = length.bytes();
        Ok(plan)
    }

    /// Writes what was planned, gives own packets back and advances the cursors.
    fn write_poll(&mut self, session_id: SessionId, plan: &Plan, out: &mut Vec<u8>) {
        let mut session = self.sessions.edit(session_id);
        let dialect = session.dialect();
        let mut body = Body::new(session.version, out);
        if let Some(own) = session.own {
            engine::frames(self.pool.bytes(own), &[]).for_each(|frame| body.push(frame));
            session.own = self.pool.emptied(own);
        }
        for (space, until) in session.spaces.iter_mut().zip(plan.until) {
            if space.cursor != until {
                let feed = self.hub.feed(space.channel(), dialect);
                let (first, second) = feed.slices(space.cursor.offset, until.offset);
                engine::frames(first, second).for_each(|frame| body.push(frame));
                self.metrics.messages_delivered += until.seq.0 - space.cursor.seq.0;
                space.cursor = until;
            }
        }
        if plan.is_last {
            body.push(CLOSE);
        }
    }
}

/// What a poll will be answered with. It is measured first, because a Content-Length stands in
/// front, and so that the buffer it is written to is taken whole.
struct Plan {
    bytes: usize,
    /// Records of all spaces that go into it.
    records: usize,
    /// Up to where each space is sent, in their order.
    until: [Mark; SPACES_MAX],
    /// Whether the session ends behind it.
    is_last: bool,
}

/// What went into the answer of a poll, which is its price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::server) struct Answered {
    pub(in crate::server) bytes: usize,
    pub(in crate::server) records: usize,
}
