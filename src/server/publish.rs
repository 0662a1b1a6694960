//! The one door by which messages come into channels, whoever speaks.
//!
//! Everything that has to be done once for each message stands here: whether it is too big,
//! counting it for whoever said it, reporting it, acknowledging it. The door answers at once
//! ([`Outcome::Published`]), or later, if the order of messages is decided elsewhere
//! ([`Server::order_elsewhere`]): then the message goes out in an envelope ([`Outcome::Deferred`])
//! and is said when it has come back with its place ([`Server::place`]).
//!
//! ```text
//!   plain WebSocket ─┐             ┌─► feed, counted, reported, acknowledged ─► Published
//!   event            ├─► publish ──┤
//!   greeting         │             └─► envelope ─► elsewhere ─► place ─► feed, counted, …
//!   backend ─────────┘
//! ```
//!
//! The surprise: by the time a message comes back, whoever said it may be gone, and the channel
//! too. The message is said all the same, to whoever is there.

use std::collections::VecDeque;

use super::{Event, Server, Socket};
use crate::conn::Conn;
use crate::hub::envelope::{self, Content};
use crate::hub::{JoinError, Message, PlainForm, PublishError, RepeatId, Said, plain_form};
use crate::id::{ChannelId, ConnId, SessionId};
use crate::metrics::{By, Unsaid};
use crate::outbound::CloseFrame;
use crate::pool::{BufferId, Pool};
use crate::position::Position;
use crate::reason::{CloseReason, Farewell};
use crate::time::Now;
use crate::wire::socketio;
use crate::wire::ws::Kind;
use core::net::SocketAddr;

/// The most messages that wait for their place in the order at one time.
pub const DEFERRED_MAX: usize = 1024;

/// The number of a message whose place in the order is decided elsewhere; rises by one with each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// Who says a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaker {
    /// A plain WebSocket.
    Conn(ConnId),
    /// A Socket.IO session, whose client awaits an acknowledgement under the number, if it does.
    Session(SessionId, Option<u64>),
    /// A backend, by a request on this connection of the admin listener, which is known again if it
    /// comes a second time.
    Backend(ConnId, Option<RepeatId>),
    /// The server, which greets. Greetings stand outside of the order.
    Server,
}

/// What has become of a message at the door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The message is in the feed.
    Published {
        /// Where the message stands in its channel; `None` for a greeting.
        position: Option<Position>,
    },
    /// The message waits for its place in the order, under this ticket.
    Deferred(Ticket),
    /// The message is said to nobody, because whoever says it may only listen.
    MayNotSpeak,
    /// The message is said to nobody.
    Refused(PublishError),
}

/// Why a message that has its place in the order is not said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unplaced {
    /// The channel takes no message at the moment: its readers have not been sent what was said
    /// before.
    Held,
    /// The envelope holds no message.
    Unreadable,
}

/// A message that waits for its place in the order.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    speaker: Speaker,
    /// The client's address, for the report.
    client: SocketAddr,
    envelope: BufferId,
}

/// Messages whose order is decided elsewhere, in the order of their tickets.
#[derive(Debug)]
pub(super) struct Elsewhere {
    waiting: VecDeque<Waiting>,
    /// The ticket of the first that waits.
    first: Ticket,
    /// How many of those that wait were handed out.
    handed_out: usize,
}

impl Elsewhere {
    /// All buffers of envelopes, for the server's account of the pool.
    pub(super) fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.waiting.iter().map(|waiting| waiting.envelope)
    }

    /// Whether no other message may wait.
    fn is_full(&self) -> bool {
        self.waiting.len() >= DEFERRED_MAX
    }

    /// Whether a message waits to be handed out.
    fn has_more(&self) -> bool {
        self.handed_out < self.waiting.len()
    }

    /// Puts a message into an envelope and at the end of those that wait.
    fn defer(
        &mut self,
        pool: &mut Pool,
        name: &str,
        message: &Message<'_>,
        (speaker, client): (Speaker, SocketAddr),
    ) -> Outcome {
        let length = envelope::length(name, message).expect("greetings are not deferred");
        let taken = Some(length).filter(|_| !self.is_full()).and_then(|bytes| pool.take(bytes));
        let Some(mut envelope) = taken else {
            return Outcome::Refused(PublishError::NoMemory);
        };
        let write = |bytes: &mut Vec<u8>| envelope::encode(name, message, bytes);
        let written = pool.write(&mut envelope, length, write);
        assert!(written.is_some(), "a buffer has the room that was asked for");
        let ticket = Ticket(self.first.0 + self.waiting.len() as u64);
        self.waiting.push_back(Waiting { speaker, client, envelope });
        Outcome::Deferred(ticket)
    }
}

impl<S: Socket> Server<S> {
    /// Lets the order of messages be decided elsewhere from now on. `false` if there is no memory
    /// for those that wait; then nothing changes.
    #[must_use]
    pub fn order_elsewhere(&mut self) -> bool {
        if self.elsewhere.is_none() {
            if !self.pool.spend((DEFERRED_MAX * size_of::<Waiting>()) as u64) {
                return false;
            }
            let (waiting, first) = (VecDeque::with_capacity(DEFERRED_MAX), Ticket(0));
            self.elsewhere = Some(Elsewhere { waiting, first, handed_out: 0 });
        }
        true
    }

    /// The next message whose place in the order is to be decided: its ticket and its envelope.
    pub fn poll_deferred(&mut self) -> Option<(Ticket, &[u8])> {
        let elsewhere = self.elsewhere.as_mut().filter(|elsewhere| elsewhere.has_more())?;
        let number = elsewhere.handed_out;
        elsewhere.handed_out += 1;
        let ticket = Ticket(elsewhere.first.0 + number as u64);
        Some((ticket, self.pool.bytes(elsewhere.waiting[number].envelope)))
    }

    /// A message has its place in the order: behind everything that was said so far. `ticket` is
    /// the message's own if it was said here; these come back in their order.
    ///
    /// # Errors
    /// Why the message is not said. If its channel takes no message at the moment, it has to be
    /// brought again, before any other.
    ///
    /// # Panics
    /// If the ticket is not that of the first message that waits.
    pub fn place(
        &mut self,
        now: Now,
        ticket: Option<Ticket>,
        envelope: &[u8],
    ) -> Result<(), Unplaced> {
        let (name, content) = envelope::decode(envelope).ok_or(Unplaced::Unreadable)?;
        let channel = self.hub.find(name);
        if channel.is_some_and(|channel| self.hub.channel(channel).holds_messages()) {
            return Err(Unplaced::Held);
        }
        self.tell_time(now);
        let speaker = ticket.map(|ticket| self.take_back(ticket));
        let channel = match speaker {
            Some((Speaker::Backend(..), _)) => {
                self.open_channel(now, name).map_err(|_| PublishError::NoMemory)
            }
            Some((Speaker::Conn(_) | Speaker::Session(..) | Speaker::Server, _)) | None => {
                Ok(channel)
            }
        };
        let say = |server: &mut Server<S>, message: &Message<'_>| {
            server.say_placed(now, channel?, speaker, message)
        };
        let said = match content {
            Content::Text(text) => say(self, &Message::Text(text)),
            Content::Binary(bytes) => say(self, &Message::Binary(bytes)),
            Content::Event { event, attachments, count } => self
                .in_plain_form(&event, &attachments[..count], say)
                .unwrap_or(Err(PublishError::NoMemory)),
        };
        if let Err(error) = said {
            self.refuse_word(error);
            self.refuse_late_word(now, speaker, error.reason());
        }
        if let Some((ticket, (Speaker::Backend(_, repeat), _))) = ticket.zip(speaker) {
            self.settle(now, ticket, repeat, said);
        }
        self.reap(now);
        Ok(())
    }

    /// The channel `name`, for a backend that is about to say something there. Where history is
    /// kept it is made if it is not there; `None` where nobody is there and nothing is kept.
    ///
    /// # Errors
    /// Why a channel cannot be made now.
    fn open_channel(&mut self, now: Now, name: &str) -> Result<Option<ChannelId>, JoinError> {
        let connections = &mut self.connections;
        self.hub.open(&mut self.pool, now.mono, name, |id| connections.resume(id))
    }

    /// Says what a backend has said in the channel `name`, be anybody there or not, or lets it have
    /// its place elsewhere first. What has become of it is remembered for the request's repeats,
    /// for which there must be room.
    pub(super) fn publish_to(
        &mut self,
        now: Now,
        (id, repeat): (ConnId, Option<RepeatId>),
        name: &str,
        message: &Message<'_>,
    ) -> Outcome {
        let (speaker, client) = (Speaker::Backend(id, repeat), self.client(id.slot));
        self.reading.spoke = true;
        // What is too big is so for nobody, too.
        if !self.hub.fits_in(name, message) {
            return Outcome::Refused(PublishError::TooBig);
        }
        let outcome = if let Some(elsewhere) = &mut self.elsewhere {
            let outcome = elsewhere.defer(&mut self.pool, name, message, (speaker, client));
            self.close_if_full();
            outcome
        } else {
            let Ok(channel) = self.open_channel(now, name) else {
                return Outcome::Refused(PublishError::NoMemory);
            };
            match self.say_placed(now, channel, Some((speaker, client)), message) {
                Ok(position) => Outcome::Published { position },
                Err(error) => Outcome::Refused(error),
            }
        };
        let said = match outcome {
            Outcome::Published { position } => Some(Said::At(position)),
            Outcome::Deferred(ticket) => Some(Said::UnderWay(ticket.0)),
            Outcome::Refused(_) | Outcome::MayNotSpeak => None,
        };
        if let Some((id, said)) = repeat.zip(said) {
            self.repeats.remember(now.mono, id, said);
        }
        outcome
    }

    /// Has a request on a connection of the admin listener wait for the message of this ticket.
    pub(super) fn await_place(&mut self, ticket: Ticket, id: ConnId) {
        if self.awaiting.len() >= self.settings.limits.admin_connections_max {
            let connections = &self.connections;
            self.awaiting.retain(|(ticket, id)| {
                connections.lives(*id) && connections.conn(id.slot).awaits(ticket.0)
            });
        }
        self.awaiting.push((ticket, id));
    }

    /// A message of a backend has its place in the order, or is not said after all: whoever asked
    /// for it is told, and so is whoever asked again.
    fn settle(
        &mut self,
        now: Now,
        ticket: Ticket,
        repeat: Option<RepeatId>,
        said: Result<Option<Position>, PublishError>,
    ) {
        match (repeat, said) {
            (Some(id), Ok(position)) => self.repeats.remember(now.mono, id, Said::At(position)),
            (Some(id), Err(_)) => self.repeats.forget(id),
            (None, _) => {}
        }
        while let Some(number) = self.awaiting.iter().position(|(other, _)| *other == ticket) {
            let (_, id) = self.awaiting.swap_remove(number);
            if self.connections.lives(id) && self.connections.conn(id.slot).awaits(ticket.0) {
                self.answer_published_later(now, id, said);
            }
        }
    }

    /// Says `message` in `channel`, or lets it have its place elsewhere first. What has to be done
    /// for it is done; only what a refusal means to whoever speaks is up to the caller.
    pub(super) fn publish(
        &mut self,
        now: Now,
        speaker: Speaker,
        channel: ChannelId,
        message: &Message<'_>,
    ) -> Outcome {
        let client = match speaker {
            Speaker::Conn(id) => self.client(id.slot),
            Speaker::Session(session, _) => self.sessions.get(session).client.address(),
            Speaker::Backend(id, _) => self.client(id.slot),
            Speaker::Server => return self.greet(now, channel, message),
        };
        if !self.may_speak(speaker, channel) {
            self.metrics.count_unsaid(Unsaid::MayNotSpeak);
            return Outcome::MayNotSpeak;
        }
        self.reading.spoke = true;
        if let Some(elsewhere) = &mut self.elsewhere {
            if !self.hub.fits(channel, message) {
                return self.refuse_word(PublishError::TooBig);
            }
            let name = self.hub.channel(channel).name();
            let outcome = elsewhere.defer(&mut self.pool, name, message, (speaker, client));
            self.close_if_full();
            if let Outcome::Refused(error) = outcome {
                return self.refuse_word(error);
            }
            return outcome;
        }
        match self.hub.publish(&mut self.pool, now.mono, channel, message) {
            Ok(position) => {
                self.said(now, Some(channel), Some((speaker, client)), message);
                Outcome::Published { position }
            }
            Err(error) => self.refuse_word(error),
        }
    }

    /// Whether somebody may speak in a channel that it is in.
    fn may_speak(&self, speaker: Speaker, channel: ChannelId) -> bool {
        match speaker {
            Speaker::Conn(id) => self.connections.conn(id.slot).may_speak(),
            Speaker::Session(session, _) => self.sessions.get(session).may_speak(channel),
            Speaker::Backend(..) | Speaker::Server => true,
        }
    }

    /// Counts a message that is said to nobody.
    fn refuse_word(&mut self, error: PublishError) -> Outcome {
        self.metrics.count_unsaid(match error {
            PublishError::TooBig => Unsaid::TooBig,
            PublishError::NoMemory => Unsaid::NoMemory,
        });
        Outcome::Refused(error)
    }

    /// Says an event in `channel`, with the form that it has for plain WebSockets.
    pub(super) fn publish_event(
        &mut self,
        now: Now,
        speaker: Speaker,
        channel: ChannelId,
        event: &socketio::Event<'_>,
        attachments: &[&[u8]],
    ) -> Outcome {
        let outcome = self.in_plain_form(event, attachments, |server, message| {
            server.publish(now, speaker, channel, message)
        });
        outcome.unwrap_or_else(|| self.refuse_word(PublishError::NoMemory))
    }

    /// A channel that has no memory for a greeting does without.
    fn greet(&mut self, now: Now, channel: ChannelId, message: &Message<'_>) -> Outcome {
        match self.hub.publish(&mut self.pool, now.mono, channel, message) {
            Ok(position) => {
                // The newcomer is a member already, and begins behind its own greeting.
                let others = self.hub.channel(channel).greeted().saturating_sub(1);
                self.metrics.greetings_sent += others;
                Outcome::Published { position }
            }
            Err(error) => {
                self.metrics.greetings_dropped += 1;
                Outcome::Refused(error)
            }
        }
    }

    /// Holds the publishers of all channels back if no other message may wait for its place.
    fn close_if_full(&mut self) {
        if self.elsewhere.as_ref().is_some_and(Elsewhere::is_full) {
            let connections = &mut self.connections;
            self.hub.close(true, |id| connections.resume(id));
        }
    }

    /// Says a message that has its place in the order; where nobody is, to nobody. Returns where
    /// it stands.
    fn say_placed(
        &mut self,
        now: Now,
        channel: Option<ChannelId>,
        speaker: Option<(Speaker, SocketAddr)>,
        message: &Message<'_>,
    ) -> Result<Option<Position>, PublishError> {
        let published = match channel {
            Some(channel) => self.hub.publish(&mut self.pool, now.mono, channel, message),
            None => Ok(None),
        };
        if published.is_ok() {
            self.said(now, channel, speaker, message);
        }
        // A channel without members ends when its newest message is too old, which this may be.
        if let Some(channel) = channel.filter(|channel| self.hub.channel(*channel).is_empty()) {
            self.hub.end_if_over(&mut self.pool, now.mono, channel);
        }
        published
    }

    /// A message that was let in finds no memory when its turn has come: whoever said it is closed
    /// as if it had been refused at once.
    fn refuse_late_word(
        &mut self,
        now: Now,
        speaker: Option<(Speaker, SocketAddr)>,
        reason: CloseReason,
    ) {
        match speaker {
            Some((Speaker::Conn(id), _)) if self.connections.lives(id) => {
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
            Some((Speaker::Session(session, _), _)) => {
                self.close_session(now, session, reason, Farewell::Close);
            }
            // A backend is told by the answer to its request.
            Some((Speaker::Conn(_) | Speaker::Backend(..) | Speaker::Server, _)) | None => {}
        }
    }

    /// A message is in the feed: it is counted, reported and acknowledged. `None` for a channel
    /// means that nobody is there, and for a speaker that somebody speaks elsewhere.
    fn said(
        &mut self,
        now: Now,
        channel: Option<ChannelId>,
        speaker: Option<(Speaker, SocketAddr)>,
        message: &Message<'_>,
    ) {
        self.metrics.count_published(match speaker {
            Some((Speaker::Conn(_), _)) => By::WebSocket,
            Some((Speaker::Session(..), _)) => By::SocketIo,
            Some((Speaker::Backend(..), _)) => By::Admin,
            Some((Speaker::Server, _)) | None => By::Backplane,
        });
        let Some((speaker, client)) = speaker else { return };
        self.report(client, message);
        let Some(channel) = channel else { return };
        match speaker {
            Speaker::Conn(id) if self.connections.lives(id) => {
                self.connections.change(id.slot, Conn::count_published);
            }
            Speaker::Session(session, ack) if self.sessions.contains(session) => {
                let is_member = self.sessions.edit(session).count_published(channel);
                if let Some(number) = ack.filter(|_| is_member) {
                    self.acknowledge(now, session, channel, number);
                }
            }
            // Who has gone meanwhile is told nothing; a backend gets an answer.
            Speaker::Conn(_) | Speaker::Session(..) | Speaker::Backend(..) | Speaker::Server => {}
        }
    }

    /// Tells the operator what was said, if that was asked for.
    fn report(&mut self, client: SocketAddr, message: &Message<'_>) {
        if !self.settings.report_messages {
            return;
        }
        let event = match message {
            Message::Text(text) => Event::message(client, text),
            Message::Binary(bytes) => {
                Event::message(client, format!("({} bytes)", bytes.len()).as_bytes())
            }
            Message::Event { args, .. } => Event::message(client, args.as_bytes()),
            Message::Greeting(args) => Event::message(client, args.as_bytes()),
        };
        self.events.push(&mut self.pool, event);
    }

    /// Says a backend's event in the channel `name`; see [`Server::publish_to`].
    pub(super) fn publish_event_to(
        &mut self,
        now: Now,
        speaker: (ConnId, Option<RepeatId>),
        name: &str,
        event: &socketio::Event<'_>,
    ) -> Outcome {
        self.in_plain_form(event, &[], |server, message| {
            server.publish_to(now, speaker, name, message)
        })
        .unwrap_or(Outcome::Refused(PublishError::NoMemory))
    }

    /// Hands `then` an event with the form that it has for plain WebSockets: a `chat message` with
    /// one text or one attachment has one. `None` if there is no memory to undo the escapes of a
    /// text.
    fn in_plain_form<R>(
        &mut self,
        event: &socketio::Event<'_>,
        attachments: &[&[u8]],
        then: impl FnOnce(&mut Server<S>, &Message<'_>) -> R,
    ) -> Option<R> {
        let args = event.args;
        let plain = match plain_form(event) {
            Some(PlainForm::Text(text)) => match text.plain() {
                Some(text) => Some((Kind::Text, text.as_bytes())),
                None => {
                    let buffer = self.pool.take_briefly(text.bytes_max())?;
                    let mut bytes = self.pool.borrow_out(buffer);
                    text.append_to(&mut bytes);
                    let plain = Some((Kind::Text, &bytes[..]));
                    let done = then(self, &Message::Event { args, attachments, plain });
                    self.pool.put_back(buffer, bytes);
                    self.pool.give(buffer);
                    return Some(done);
                }
            },
            Some(PlainForm::Attachment(number)) => {
                attachments.get(number).map(|bytes| (Kind::Binary, *bytes))
            }
            None => None,
        };
        Some(then(self, &Message::Event { args, attachments, plain }))
    }

    /// Takes the first message that waits out of those that do.
    fn take_back(&mut self, ticket: Ticket) -> (Speaker, SocketAddr) {
        let elsewhere = self.elsewhere.as_mut().expect("only then there are tickets");
        assert_eq!(ticket, elsewhere.first, "messages come back in their order");
        let waiting = elsewhere.waiting.pop_front().expect("a ticket is that of one that waits");
        elsewhere.first = Ticket(ticket.0 + 1);
        elsewhere.handed_out -= 1;
        self.pool.give(waiting.envelope);
        // Those that waited for this come back together, not one for each message.
        if self.hub.is_closed() && elsewhere.waiting.len() <= DEFERRED_MAX / 2 {
            let connections = &mut self.connections;
            self.hub.close(false, |id| connections.resume(id));
        }
        (waiting.speaker, waiting.client)
    }
}
