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
//! Where the order of messages is decided elsewhere, a channel that is new here has to be opened
//! first. The session waits for that, and what its client says meanwhile waits behind it.
//!
//! The surprise: a client that has left a namespace may still be in it for a moment, since what its
//! connection is in the middle of is finished first.

use crate::hub::{
    DEFAULT_CHANNEL, Entering, JoinError, Newcomer, Recovery, SPACES_MAX, Since, Space, Transport,
    Wish, is_channel_name,
};
use crate::id::{Member, Offset, Reader, SessionId};
use crate::metrics::Refusal;
use crate::reason::CloseReason;
use crate::server::admission::why;
use crate::server::http::token::{Admission, Said};
use crate::server::{Denial, Event, Server, Socket};
use crate::time::{Instant, Now};
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

/// Sessions that enter in a turn whatever publishers have taken of it.
const ENTER_MIN: u32 = 4;

/// What a refusal to join says to the client.
fn refusal(error: JoinError) -> &'static str {
    match error {
        JoinError::TooManyChannels => "Too many channels",
        JoinError::NoMemory => "Out of memory",
        JoinError::TooManyOfAddress => "Too many channels from this address",
        JoinError::NoMemoryOfAddress => "Too much memory for channels of this address",
    }
}

/// How many bytes it takes to remember what a CONNECT has asked for.
fn asked_bytes(namespace: &str, said: Said<'_>) -> usize {
    let bytes = |text: Option<&str>| PART_BYTES + text.map_or(0, str::len);
    PART_BYTES + namespace.len() + bytes(said.query) + bytes(said.payload)
}

/// Bytes in front of each part that is remembered: its length.
const PART_BYTES: usize = size_of::<u32>();

/// Appends what a CONNECT has asked for: the namespace, the query behind it and the payload, each
/// behind its length, which is `u32::MAX` if there is none.
fn write_asked(namespace: &str, said: Said<'_>, out: &mut Vec<u8>) {
    for part in [Some(namespace), said.query, said.payload] {
        let length = part.map_or(u32::MAX, |text| {
            u32::try_from(text.len()).expect("a message has at most a part of a ring's bytes")
        });
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part.unwrap_or_default().as_bytes());
    }
}

/// Reads what [`write_asked`] has written.
fn asked(bytes: &[u8]) -> Option<(&str, Said<'_>)> {
    let (namespace, rest) = asked_part(bytes)?;
    let (query, rest) = asked_part(rest)?;
    let (payload, _) = asked_part(rest)?;
    Some((namespace?, Said { payload, query }))
}

/// Reads a part that [`write_asked`] has written. Returns it, and what is behind it.
fn asked_part(bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<PART_BYTES>()?;
    let length = u32::from_le_bytes(*length);
    if length == u32::MAX {
        return Some((None, rest));
    }
    let (part, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(core::str::from_utf8(part).ok()?), rest))
}

/// Where a client wants to begin that comes back: behind its offset, if it names one.
fn wish_of(returning: Option<socketio::Returning<'_>>) -> Wish {
    let offset = returning.and_then(|it| it.offset);
    Wish { since: offset.map(|text| Since::of(text.as_bytes())), last: 0 }
}

impl<S: Socket> Server<S> {
    /// The number of the session's space in a namespace that it is in.
    pub(in crate::server) fn space_of(
        &self,
        session_id: SessionId,
        namespace: &str,
    ) -> Option<usize> {
        let space = self.space_left_or_not(session_id, namespace)?;
        (!self.sessions.get(session_id).spaces[space].leaving).then_some(space)
    }

    /// The number of the session's space in a namespace, also of one that the client has left while
    /// the connection is in the middle of one of its records.
    fn space_left_or_not(&self, session_id: SessionId, namespace: &str) -> Option<usize> {
        let channel = self.hub.find(channel_of(namespace)?)?;
        self.sessions.get(session_id).spaces.find(channel)
    }

    /// Enters a namespace, or says why not. A client that comes back, by what its CONNECT carries,
    /// goes on where it was, if everything that it missed can be had.
    pub(in crate::server) fn enter(
        &mut self,
        now: Now,
        session_id: SessionId,
        namespace: &str,
        said: Said<'_>,
    ) {
        if !self.sessions.contains(session_id) {
            return;
        }
        match channel_of(namespace).filter(|name| !self.hub.is_open(name)) {
            None => self.enter_open(now, session_id, namespace, said),
            Some(name) => {
                // Nobody has a channel opened who may not enter it.
                if let Err(why) = self.admit_to(now, session_id, namespace, said) {
                    return self.refuse_namespace(now, session_id, namespace, why);
                }
                let by = now.mono.plus(limits::OPENING_LIMIT);
                self.await_namespace(now, session_id, (namespace, name), said, by);
            }
        }
    }

    /// The wait of a session for a channel is over: it enters, or is told why not. What its client
    /// has said meanwhile is taken in from now on.
    pub(in crate::server) fn enter_at_last(&mut self, now: Now, session_id: SessionId) {
        let Some(entering) = self.sessions.stop_awaiting(session_id) else { return };
        let bytes = self.pool.borrow_out(entering.asked);
        if !self.sessions.get(session_id).is_closing()
            && let Some((namespace, said)) = asked(&bytes)
        {
            work::count(|work| work.entered_late += 1);
            match channel_of(namespace).filter(|name| !self.hub.is_open(name)) {
                None => self.enter_open(now, session_id, namespace, said),
                Some(_) if entering.by <= now.mono => {
                    let client = self.sessions.get(session_id).client.address();
                    self.report_refusal(client, Refusal::NotOpened);
                    self.refuse_namespace(
                        now,
                        session_id,
                        namespace,
                        "The channel is not open yet",
                    );
                }
                Some(name) => {
                    let by = entering.by;
                    self.await_namespace(now, session_id, (namespace, name), said, by);
                }
            }
        }
        self.pool.put_back(entering.asked, bytes);
        self.pool.give(entering.asked);
        if self.sessions.contains(session_id) {
            for id in self.sessions.get(session_id).publishers().into_iter().flatten() {
                self.connections.read_soon(id.slot);
            }
        }
    }

    /// Has sessions enter whose channel is open by now, as far as the turn's share goes.
    pub(in crate::server) fn run_entering(&mut self, now: Now) {
        let mut sure = ENTER_MIN;
        while (sure > 0 || !self.reading.budget.is_spent())
            && let Some(session_id) = self.sessions.next_to_enter()
        {
            sure = sure.saturating_sub(1);
            self.reading.budget.spend_units(1);
            self.enter_at_last(now, session_id);
        }
    }

    /// Has a session wait for the channel of a namespace to be opened, until `by` at the latest, or
    /// says why it cannot.
    fn await_namespace(
        &mut self,
        now: Now,
        session_id: SessionId,
        (namespace, name): (&str, &str),
        said: Said<'_>,
        by: Instant,
    ) {
        let session = self.sessions.get(session_id);
        let (dialect, holder, client) =
            (session.dialect(), session.holder, session.client.address());
        let opened = self.hub.begin_opening(&mut self.pool, name, (dialect, holder), by);
        let asked = opened.and_then(|channel| {
            let asked = self.pool.take(asked_bytes(namespace, said));
            Ok((channel, asked.ok_or(JoinError::NoMemory)?))
        });
        match asked {
            Ok((channel, mut asked)) => {
                let bytes_max = asked_bytes(namespace, said);
                let write = |out: &mut Vec<u8>| write_asked(namespace, said, out);
                let written = self.pool.write(&mut asked, bytes_max, write);
                assert!(written.is_some(), "a buffer has the room that was asked for");
                let entering = Entering { asked, channel, by, is_due: false };
                self.sessions.await_channel(session_id, entering);
            }
            Err(error) => {
                self.report_refusal(client, why(error));
                self.refuse_namespace(now, session_id, namespace, refusal(error));
            }
        }
    }

    /// Enters a namespace whose channel is open, or says why not.
    fn enter_open(&mut self, now: Now, session_id: SessionId, namespace: &str, said: Said<'_>) {
        let mut recovered = None;
        if let Some(space) = self.space_left_or_not(session_id, namespace) {
            // Twice is once; the client that asks again is told again, and stays if it was leaving.
            self.sessions.edit(session_id).spaces[space].leaving = false;
        } else {
            let admission = match self.admit_to(now, session_id, namespace, said) {
                Ok(admission) => admission,
                Err(why) => return self.refuse_namespace(now, session_id, namespace, why),
            };
            let returning = self.returning(session_id, said.payload);
            match self.join_space(now, session_id, namespace, wish_of(returning), admission) {
                Ok(Some(Recovery::Whole)) => recovered = returning.map(|it| it.pid),
                Ok(Some(Recovery::Gone | Recovery::Unknown) | None) => {}
                Err(why) => return self.refuse_namespace(now, session_id, namespace, why),
            }
        }
        self.reading.budget.spend_units(limits::JOIN_UNITS);
        work::count(|work| work.joins += 1);
        match recovered {
            Some(pid) => {
                self.confirm(now, session_id, namespace, &pid, true);
                self.send_among_returning(session_id);
            }
            None => {
                let mut random = [0; SID_RANDOM_BYTES];
                self.random.fill_bytes(&mut random);
                self.confirm(now, session_id, namespace, &Sid::new(random), false);
            }
        }
    }

    /// Whether a session may enter a namespace, and what it may do there.
    fn admit_to(
        &mut self,
        now: Now,
        session_id: SessionId,
        namespace: &str,
        said: Said<'_>,
    ) -> Result<Admission, &'static str> {
        let channel = channel_of(namespace).ok_or("Invalid namespace")?;
        let session = self.sessions.get(session_id);
        let (client, shown) = (session.client.address(), session.shown());
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
        session_id: SessionId,
        payload: Option<&'b str>,
    ) -> Option<socketio::Returning<'b>> {
        let session = self.sessions.get(session_id);
        // What was on its way to a client when it left would come twice: as what it was, and again.
        let may_return = match session.version {
            Version::V4 => self.settings.recovers() && !session.has_left,
            Version::V3 => false,
        };
        payload.filter(|_| may_return).and_then(|payload| socketio::recovery_of(Some(payload)))
    }

    /// A crowd that comes back has a share of the pass, and keeps nobody else waiting.
    fn send_among_returning(&mut self, session_id: SessionId) {
        if self.sessions.contains(session_id)
            && let Transport::WebSocket(id) = self.sessions.get(session_id).transport
        {
            self.connections.send_returning(id.slot);
        }
    }

    fn refuse_namespace(&mut self, now: Now, session_id: SessionId, namespace: &str, why: &str) {
        let version = self.sessions.get(session_id).version;
        let bytes_max = 1 + namespace.len() + socketio::ANSWER_BYTES_MAX;
        self.say_written(now, session_id, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::refused(version, namespace, why, packet);
        });
    }

    /// Tells a client that it is in a namespace, as `id`. Where offsets are told, that is also the
    /// id by which it may come back; one that has not gone on with `id` is told at once where it
    /// begins, since the next event may be long in coming. One that was here already and has read
    /// to where nothing is kept any more of a stream has nowhere to come back to, and is not told.
    ///
    /// The packets are own bytes, so they go in front of every record that has not begun.
    fn confirm(
        &mut self,
        now: Now,
        session_id: SessionId,
        namespace: &str,
        id: &Sid,
        is_recovered: bool,
    ) {
        let Some(space) = self.space_left_or_not(session_id, namespace) else { return };
        let version = self.sessions.get(session_id).version;
        let channel = self.hub.channel(self.sessions.get(session_id).spaces[space].channel());
        let tells_offsets = version == Version::V4 && channel.tells_offsets();
        let pid = tells_offsets.then(|| id.as_str());
        let begin = pid.filter(|_| !is_recovered).and_then(|_| self.has_read_to(session_id, space));
        let bytes_max = 1 + namespace.len() + socketio::ANSWER_BYTES_MAX;
        self.say_written(now, session_id, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::connected(version, namespace, id.as_str(), pid, packet);
        });
        let Some(begin) = begin.filter(|_| self.sessions.contains(session_id)) else { return };
        let offset = begin.text();
        let bytes_max = 1 + socketio::position_event_bytes(namespace, offset.as_str());
        self.say_written(now, session_id, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::position_event(namespace, offset.as_str(), packet);
        });
    }

    /// Makes the session a member of the channel that a namespace is. What has become of the
    /// position with which its client came back.
    fn join_space(
        &mut self,
        now: Now,
        session_id: SessionId,
        namespace: &str,
        wish: Wish,
        admission: Admission,
    ) -> Result<Option<Recovery>, &'static str> {
        let name = channel_of(namespace).ok_or("Invalid namespace")?;
        if self.sessions.get(session_id).spaces.len() >= SPACES_MAX {
            return Err("Too many namespaces");
        }
        if !self.sessions.edit(session_id).spaces.make_room(&mut self.pool) {
            return Err("Out of memory");
        }
        let session = self.sessions.get(session_id);
        let (dialect, holder, client) =
            (session.dialect(), session.holder, session.client.address());
        let member = Member::new(Reader::Session(session_id.slot));
        let newcomer = Newcomer { member, dialect, holder, wish };
        let (membership, start) = self.begin_membership(now, name, newcomer).map_err(|error| {
            self.sessions.edit(session_id).spaces.settle(&mut self.pool);
            self.report_refusal(client, why(error));
            refusal(error)
        })?;
        self.sessions.entered(session_id);
        let mut session = self.sessions.edit(session_id);
        let Admission { may_speak, visa, subject } = admission;
        session.limit_stay(visa);
        session.spaces.push(Space {
            membership,
            cursor: start.mark,
            opened_at: now.mono,
            may_speak,
            subject: visa.subject(),
            choked: false,
            leaving: false,
            finished: false,
            closes_at: Offset::default(),
        });
        if let (Transport::WebSocket(id), 1) = (session.transport, session.spaces.len()) {
            self.connections
                .change(id.slot, |conn| conn.follow(membership.channel, dialect, start.mark));
        }
        self.events.push(&mut self.pool, Event::Opened { client, channel: name.into(), subject });
        Ok(start.recovery)
    }

    /// The client leaves a namespace. What its connection is in the middle of is finished first.
    pub(in crate::server) fn leave_space(&mut self, now: Now, session_id: SessionId, space: usize) {
        self.sessions.edit(session_id).has_left = true;
        let session = self.sessions.get(session_id);
        if let Transport::WebSocket(id) = session.transport
            && session.spaces.current() == space
        {
            let conn = self.connections.conn(id.slot);
            if conn.out.is_inside_record() {
                self.sessions.edit(session_id).spaces[space].leaving = true;
                return;
            }
        }
        self.end_space(now, session_id, space, CloseReason::ClosedByClient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connect_has_asked_for_is_remembered_whole() {
        let texts = [None, Some(""), Some("token=x&é=1"), Some("{\"token\":\"y\"}")];
        for (payload, query) in texts.iter().flat_map(|one| texts.map(|other| (*one, other))) {
            let (said, mut bytes) = (Said { payload, query }, Vec::new());
            write_asked("/room/é", said, &mut bytes);
            assert_eq!(bytes.len(), asked_bytes("/room/é", said));
            let (namespace, read) = asked(&bytes).expect("it was written so");
            assert_eq!((namespace, read.payload, read.query), ("/room/é", payload, query));
        }
    }
}
