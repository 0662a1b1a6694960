//! Namespaces of a session: how its client enters one, which is a channel, comes back to it, and
//! leaves it.
//!
//! ```text
//!   40                              40{"sid":"A","pid":"A"}   42["elbow:position","k3f9.16"]
//!   40{"pid":"A","offset":"…"}      40{"sid":"A","pid":"A"}   42[…,"k3f9.17"]   …
//!        something is not kept:     40{"sid":"B","pid":"B"}   42["elbow:position","k3f9.99"]
//! ```
//!
//! Nothing is remembered of a session that is gone: the offset says where its client goes on, and
//! the private id is the public one, which the client brings back. That id grants nothing.
//!
//! Leaves to others: the packets that ask for it (`packets`), whether there is room and who is told
//! (`admission`), how a membership ends (`members`).
//!
//! The surprise: a client that has left a namespace may still be in it for a moment, since what its
//! connection is in the middle of is finished first.

use crate::hub::{
    DEFAULT_CHANNEL, JoinError, Newcomer, Recovery, SPACES_MAX, Since, Space, Transport, Wish,
    is_channel_name,
};
use crate::id::{Member, Reader, SessionId};
use crate::metrics::Refusal;
use crate::reason::CloseReason;
use crate::server::admission::why;
use crate::server::http::token::{Admission, Said};
use crate::server::{Denial, Event, Server, Socket};
use crate::time::Now;
use crate::wire::engine::{PacketType, SID_RANDOM_BYTES, Sid, Version};
use crate::wire::socketio;
use crate::wire::token::Fault;
use crate::{limits, work};
use chacha20::rand_core::Rng;

/// The channel that a namespace is. `/default` would be a second name for `/`.
fn channel_of(namespace: &str) -> Option<&str> {
    match namespace.strip_prefix('/')? {
        "" => Some(DEFAULT_CHANNEL),
        DEFAULT_CHANNEL => None,
        name => is_channel_name(name).then_some(name),
    }
}

/// Where a client wants to begin that comes back: behind its offset, if it names one.
fn wish_of(returning: Option<socketio::Returning<'_>>) -> Wish {
    let offset = returning.and_then(|it| it.offset);
    Wish { since: offset.map(|text| Since::of(text.as_bytes())), last: 0 }
}

impl<S: Socket> Server<S> {
    /// The number of the session's space in a namespace that it is in.
    pub(in crate::server) fn space_of(&self, session: SessionId, namespace: &str) -> Option<usize> {
        let space = self.space_left_or_not(session, namespace)?;
        (!self.sessions.get(session).spaces[space].leaving).then_some(space)
    }

    /// The number of the session's space in a namespace, also of one that the client has left while
    /// the connection is in the middle of one of its records.
    fn space_left_or_not(&self, session: SessionId, namespace: &str) -> Option<usize> {
        let channel = self.hub.find(channel_of(namespace)?)?;
        self.sessions.get(session).spaces.find(channel)
    }

    /// Enters a namespace, or says why not. A client that comes back, by what its CONNECT carries,
    /// goes on where it was, if everything that it missed can be had.
    pub(in crate::server) fn enter(
        &mut self,
        now: Now,
        session: SessionId,
        namespace: &str,
        said: Said<'_>,
    ) {
        if !self.sessions.contains(session) {
            return;
        }
        let mut recovered = None;
        if let Some(space) = self.space_left_or_not(session, namespace) {
            // Twice is once; the client that asks again is told again, and stays if it was leaving.
            self.sessions.edit(session).spaces[space].leaving = false;
        } else {
            let admission = match self.admit_to(now, session, namespace, said) {
                Ok(admission) => admission,
                Err(why) => return self.refuse_namespace(now, session, namespace, why),
            };
            let returning = self.returning(session, said.payload);
            match self.join_space(now, session, namespace, wish_of(returning), admission) {
                Ok(Some(Recovery::Whole)) => recovered = returning.map(|it| it.pid),
                Ok(Some(Recovery::Gone | Recovery::Unknown) | None) => {}
                Err(why) => return self.refuse_namespace(now, session, namespace, why),
            }
        }
        self.reading.budget.spend_units(limits::JOIN_UNITS);
        work::count(|work| work.joins += 1);
        match recovered {
            Some(pid) => {
                self.confirm(now, session, namespace, &pid, true);
                self.send_among_returning(session);
            }
            None => {
                let mut random = [0; SID_RANDOM_BYTES];
                self.random.fill_bytes(&mut random);
                self.confirm(now, session, namespace, &Sid::new(random), false);
            }
        }
    }

    /// Whether a session may enter a namespace, and what it may do there.
    fn admit_to(
        &mut self,
        now: Now,
        session: SessionId,
        namespace: &str,
        said: Said<'_>,
    ) -> Result<Admission, &'static str> {
        let channel = channel_of(namespace).ok_or("Invalid namespace")?;
        let entry = self.sessions.get(session);
        let (client, shown) = (entry.client.address(), entry.shown());
        self.admit_to_namespace(now, said, shown, channel).map_err(|fault| {
            // Saying no to many costs as much as letting them in.
            self.reading.budget.spend_units(limits::JOIN_UNITS);
            self.metrics.count_token(fault);
            self.metrics.count_refused(Refusal::Token);
            self.events
                .push(&mut self.pool, Event::Denied { client, denial: Denial::Token(fault) });
            if fault == Fault::Channel { "forbidden" } else { "unauthorized" }
        })
    }

    /// What a client says of the session that it had, if it may go on with that.
    fn returning<'b>(
        &self,
        session: SessionId,
        payload: Option<&'b str>,
    ) -> Option<socketio::Returning<'b>> {
        let entry = self.sessions.get(session);
        // What was on its way to a client when it left would come twice: as what it was, and again.
        let may_return = match entry.version {
            Version::V4 => self.settings.recovers() && !entry.has_left,
            Version::V3 => false,
        };
        payload.filter(|_| may_return).and_then(|payload| socketio::recovery_of(Some(payload)))
    }

    /// A crowd that comes back has a share of the pass, and keeps nobody else waiting.
    fn send_among_returning(&mut self, session: SessionId) {
        if self.sessions.contains(session)
            && let Transport::WebSocket(id) = self.sessions.get(session).transport
        {
            self.connections.send_returning(id.slot);
        }
    }

    fn refuse_namespace(&mut self, now: Now, session: SessionId, namespace: &str, why: &str) {
        let version = self.sessions.get(session).version;
        let bytes_max = 1 + namespace.len() + socketio::ANSWER_BYTES_MAX;
        self.say_written(now, session, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::refused(version, namespace, why, packet);
        });
    }

    /// Tells a client that it is in a namespace, as `id`. Where offsets are told, that is also the
    /// id by which it may come back; one that has not gone on with `id` is told at once where it
    /// begins, since the next event may be long in coming.
    ///
    /// The packets are own bytes, so they go in front of every record that has not begun.
    fn confirm(
        &mut self,
        now: Now,
        session: SessionId,
        namespace: &str,
        id: &Sid,
        is_recovered: bool,
    ) {
        let Some(space) = self.space_left_or_not(session, namespace) else { return };
        let version = self.sessions.get(session).version;
        let channel = self.hub.channel(self.sessions.get(session).spaces[space].channel());
        let tells_offsets = version == Version::V4 && channel.tells_offsets();
        let pid = tells_offsets.then(|| id.as_str());
        let begin = pid.filter(|_| !is_recovered).and_then(|_| self.has_read_to(session, space));
        let bytes_max = 1 + namespace.len() + socketio::ANSWER_BYTES_MAX;
        self.say_written(now, session, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::connected(version, namespace, id.as_str(), pid, packet);
        });
        let Some(begin) = begin.filter(|_| self.sessions.contains(session)) else { return };
        let offset = begin.text();
        let bytes_max = 1 + socketio::position_event_bytes(namespace, offset.as_str());
        self.say_written(now, session, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::position_event(namespace, offset.as_str(), packet);
        });
    }

    /// Makes the session a member of the channel that a namespace is. What has become of the
    /// position with which its client came back.
    fn join_space(
        &mut self,
        now: Now,
        session: SessionId,
        namespace: &str,
        wish: Wish,
        admission: Admission,
    ) -> Result<Option<Recovery>, &'static str> {
        let name = channel_of(namespace).ok_or("Invalid namespace")?;
        if self.sessions.get(session).spaces.len() >= SPACES_MAX {
            return Err("Too many namespaces");
        }
        if !self.sessions.edit(session).spaces.make_room(&mut self.pool) {
            return Err("Out of memory");
        }
        let entry = self.sessions.get(session);
        let (dialect, holder, client) = (entry.dialect(), entry.holder, entry.client.address());
        let member = Member::new(Reader::Session(session.slot));
        let newcomer = Newcomer { member, dialect, holder, wish };
        let (membership, start) = self.begin_membership(now, name, newcomer).map_err(|error| {
            self.sessions.edit(session).spaces.settle(&mut self.pool);
            self.report_refusal(client, why(error));
            match error {
                JoinError::TooManyChannels => "Too many channels",
                JoinError::NoMemory => "Out of memory",
                JoinError::TooManyOfAddress => "Too many channels from this address",
                JoinError::NoMemoryOfAddress => "Too much memory for channels of this address",
            }
        })?;
        self.sessions.entered(session);
        let mut entry = self.sessions.edit(session);
        let Admission { may_speak, visa, subject } = admission;
        entry.limit_stay(visa);
        entry.spaces.push(Space {
            membership,
            cursor: start.mark,
            opened_at: now.mono,
            may_speak,
            subject: visa.subject(),
            choked: false,
            leaving: false,
            finished: false,
        });
        if let (Transport::WebSocket(id), 1) = (entry.transport, entry.spaces.len()) {
            self.connections
                .change(id.slot, |conn| conn.follow(membership.channel, dialect, start.mark));
        }
        self.events.push(&mut self.pool, Event::Opened { client, channel: name.into(), subject });
        Ok(start.recovery)
    }

    /// The client leaves a namespace. What its connection is in the middle of is finished first.
    pub(in crate::server) fn leave_space(&mut self, now: Now, session: SessionId, space: usize) {
        self.sessions.edit(session).has_left = true;
        let entry = self.sessions.get(session);
        if let Transport::WebSocket(id) = entry.transport
            && entry.spaces.current() == space
        {
            let conn = self.connections.conn(id.slot);
            if conn.out.is_inside_record() {
                self.sessions.edit(session).spaces[space].leaving = true;
                return;
            }
        }
        self.end_space(now, session, space, CloseReason::ClosedByClient);
    }
}
