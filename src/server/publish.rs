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
//! Leaves to others: which channels are open (`awaiting`), what was lost of an order (`losing`),
//! that whoever decides it is out of reach (`away`). A message that is larger than may be read is
//! refused by whoever reads it, and never comes here.
//!
//! The surprise: by the time a message comes back, whoever said it may be gone, and the channel
//! too. The message is said all the same, to whoever is there. Greetings stand outside of the
//! order: they are told here at once, and elsewhere when they get there.

use std::collections::VecDeque;

use super::{Event, Server, Socket};
use crate::conn::Conn;
use crate::hub::envelope::{self, Content};
use crate::hub::{
    JoinError, Lacking, Message, PlainForm, PublishError, RepeatId, Said, StillParted, plain_form,
};
use crate::id::{ChannelId, ConnId, SessionId};
use crate::metrics::{By, Histogram, Unsaid};
use crate::pool::{BufferId, Pool};
use crate::position::Position;
use crate::time::{Instant, Now};
use crate::wire::socketio;
use crate::wire::ws::Kind;
use core::net::SocketAddr;

/// The most messages that wait for their place in the order at one time.
pub const DEFERRED_MAX: usize = 1024;

/// The part of `--memory` that messages which wait for their place may take before publishers are
/// held back: one in so many bytes.
const DEFERRED_SHARE: u64 = 8;

/// The most greetings that wait to be taken along. For one more there is none.
const GREETINGS_MAX: usize = 64;

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
    /// The message is said.
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
    /// before, or not been told of an earlier gap. What was brought has to be brought again, before
    /// anything else of this channel.
    Held,
    /// The envelope holds no message.
    Unreadable,
}

/// Where a message has its place, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The channel, if it is open here.
    channel: Option<ChannelId>,
    position: Position,
    /// The message's number, if it was said here.
    ticket: Option<Ticket>,
}

/// A message that waits for its place in the order.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    speaker: Speaker,
    /// The client's address, for the report.
    client: SocketAddr,
    /// The message; `None` once it has its place, and its ticket waits for older ones only.
    envelope: Option<BufferId>,
    /// In which turn it was said, by the clock that measures turns.
    said_us: u64,
}

/// Messages whose order is decided elsewhere, in the order of their tickets.
#[derive(Debug)]
pub(super) struct Elsewhere {
    waiting: VecDeque<Waiting>,
    /// The ticket of the first that waits.
    first: Ticket,
    /// How many of those that wait were handed out.
    handed_out: usize,
    /// Bytes of all envelopes of messages that wait.
    bytes: u64,
    /// Bytes of envelopes beyond which publishers are held back.
    bytes_max: u64,
    /// Envelopes of greetings that are to be taken along.
    greetings: VecDeque<BufferId>,
    /// The envelope of the greeting that was handed out last.
    handed_greeting: Option<BufferId>,
    /// Since when whoever decides the order has been out of reach.
    pub(super) away_since: Option<Instant>,
    /// Whether whoever decides the order has ever been within reach.
    pub(super) was_reached: bool,
    /// Whether whoever decides the order has been out of reach for too long, so that nothing more
    /// is taken.
    pub(super) is_refusing: bool,
    /// How long it was from saying a message to its place.
    round_trips: Box<Histogram>,
}

impl Elsewhere {
    /// All buffers of envelopes, for the server's account of the pool.
    pub(super) fn buffers(&self) -> impl Iterator<Item = BufferId> {
        let greetings = self.greetings.iter().copied().chain(self.handed_greeting);
        self.waiting.iter().filter_map(|waiting| waiting.envelope).chain(greetings)
    }

    /// Whether so many waiting messages are enough, if `parts` of them were as many as there may
    /// be.
    pub(super) fn has_filled(&self, parts: u64) -> bool {
        self.waiting.len() as u64 * parts >= DEFERRED_MAX as u64
            || self.bytes * parts >= self.bytes_max
    }

    /// How long it was from saying messages to their places, and how many bytes wait for theirs.
    pub(super) fn deferral(&self) -> (Histogram, u64) {
        ((*self.round_trips).clone(), self.bytes)
    }

    /// Where the message of a ticket stands among those that wait.
    ///
    /// # Panics
    /// If it does not wait, or was not handed out.
    fn index(&self, ticket: Ticket) -> usize {
        let index = ticket.0.checked_sub(self.first.0).map(usize::try_from);
        let index = index.and_then(Result::ok).filter(|index| *index < self.handed_out);
        index.expect("a ticket is that of one that waits and was handed out")
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
        said_us: u64,
    ) -> Outcome {
        let is_full = self.waiting.len() >= DEFERRED_MAX;
        let sealed = if is_full { None } else { seal(pool, name, message) };
        let Some(envelope) = sealed else {
            return Outcome::Refused(PublishError::NoMemory);
        };
        self.bytes += pool.capacity(envelope) as u64;
        let ticket = Ticket(self.first.0 + self.waiting.len() as u64);
        let envelope = Some(envelope);
        self.waiting.push_back(Waiting { speaker, client, envelope, said_us });
        Outcome::Deferred(ticket)
    }
}

/// A message in an envelope for the channel called `name`; `None` if there is no memory.
fn seal(pool: &mut Pool, name: &str, message: &Message<'_>) -> Option<BufferId> {
    let length = envelope::length(name, message);
    let mut envelope = pool.take(length)?;
    let write = |bytes: &mut Vec<u8>| envelope::encode(name, message, bytes);
    let written = pool.write(&mut envelope, length, write);
    assert!(written.is_some(), "a buffer has the room that was asked for");
    Some(envelope)
}

impl<S: Socket> Server<S> {
    /// Lets the order of messages be decided elsewhere from now on. `false` if there is no memory
    /// for those that wait; then nothing changes.
    ///
    /// # Panics
    /// If there is a channel.
    #[must_use]
    pub fn order_elsewhere(&mut self) -> bool {
        if self.elsewhere.is_none() {
            let waiting_bytes = DEFERRED_MAX * size_of::<Waiting>();
            let greetings_bytes = GREETINGS_MAX * size_of::<BufferId>();
            if !self.pool.spend((waiting_bytes + greetings_bytes) as u64) {
                return false;
            }
            self.hub.order_elsewhere();
            self.elsewhere = Some(Elsewhere {
                waiting: VecDeque::with_capacity(DEFERRED_MAX),
                first: Ticket(0),
                handed_out: 0,
                bytes: 0,
                bytes_max: self.pool.limit_bytes() / DEFERRED_SHARE,
                greetings: VecDeque::with_capacity(GREETINGS_MAX),
                handed_greeting: None,
                away_since: None,
                was_reached: false,
                is_refusing: false,
                round_trips: Box::default(),
            });
        }
        true
    }

    /// The next message whose place in the order is to be decided: its ticket and its envelope.
    pub fn poll_deferred(&mut self) -> Option<(Ticket, &[u8])> {
        let elsewhere = self.elsewhere.as_mut().filter(|elsewhere| elsewhere.has_more())?;
        let number = elsewhere.handed_out;
        elsewhere.handed_out += 1;
        let ticket = Ticket(elsewhere.first.0 + number as u64);
        let envelope = elsewhere.waiting[number].envelope.expect("it has no place yet");
        Some((ticket, self.pool.bytes(envelope)))
    }

    /// What [`Server::poll_deferred`] would hand out next: its envelope, and the hash of the key
    /// that makes its repeats one message.
    pub(super) fn next_deferred(&self) -> Option<(&[u8], Option<u64>)> {
        let elsewhere = self.elsewhere.as_ref()?;
        let waiting = elsewhere.waiting.get(elsewhere.handed_out)?;
        let key = match waiting.speaker {
            Speaker::Backend(_, repeat) => repeat.map(|repeat| repeat.shared),
            Speaker::Conn(_) | Speaker::Session(..) | Speaker::Server => None,
        };
        Some((self.pool.bytes(waiting.envelope?), key))
    }

    /// The envelope of the next greeting that is to be told elsewhere, outside of the order. One
    /// that is told nobody is no loss.
    pub fn poll_greeting(&mut self) -> Option<&[u8]> {
        let elsewhere = self.elsewhere.as_mut()?;
        if let Some(told) = elsewhere.handed_greeting.take() {
            self.pool.give(told);
        }
        let greeting = elsewhere.greetings.pop_front()?;
        elsewhere.handed_greeting = Some(greeting);
        Some(self.pool.bytes(greeting))
    }

    /// Somebody has come to a channel elsewhere: members who read Socket.IO are told, unless there
    /// are to be no greetings here. Greetings of this server must not come back.
    ///
    /// # Errors
    /// If the envelope holds no greeting. One for which there is no room is dropped.
    pub fn greeted(&mut self, now: Now, envelope: &[u8]) -> Result<(), Unplaced> {
        let Some((name, Content::Greeting(args))) = envelope::decode(envelope) else {
            return Err(Unplaced::Unreadable);
        };
        let channel = self.hub.find(name).filter(|_| self.settings.greeting.is_some());
        let Some(channel) = channel.filter(|id| !self.hub.channel(*id).is_empty()) else {
            return Ok(());
        };
        self.tell_time(now);
        if self.hub.channel(channel).holds_messages() {
            self.metrics.greetings_dropped += 1;
        } else {
            self.greet(now, channel, &Message::Greeting(args));
        }
        Ok(())
    }

    /// Whether nothing may be said now in a channel whose order is decided elsewhere.
    pub(super) fn holds_order(&self, channel: ChannelId) -> bool {
        self.hub.holds_order(channel, self.connections.readers() + self.sessions.len())
    }

    /// A message has its place in the order, at `position`: behind everything that was said so far.
    /// `ticket` is the message's own if it was said here; those of one channel come back in their
    /// order. What stands where something was said already is not said again. A message for which
    /// there is no room here is a gap for those who read the channel.
    ///
    /// # Errors
    /// Why the message is not said. If its channel takes no message at the moment, it has to be
    /// brought again, before any other of this channel. One that cannot be read is a gap, which is
    /// to be told by [`Server::lost`].
    ///
    /// # Panics
    /// If the ticket is not that of a message that waits and was handed out.
    pub fn place(
        &mut self,
        now: Now,
        ticket: Option<Ticket>,
        position: Position,
        envelope: &[u8],
    ) -> Result<(), Unplaced> {
        let (name, content) = envelope::decode(envelope).ok_or(Unplaced::Unreadable)?;
        let is_open = self.hub.is_open(name);
        let channel = self.hub.find(name).filter(|_| is_open);
        if channel.is_some_and(|channel| self.holds_order(channel)) {
            return Err(Unplaced::Held);
        }
        self.tell_time(now);
        let place = Place { channel, position, ticket };
        let was_said = channel.is_some_and(|id| position <= self.hub.channel(id).position());
        if was_said {
            self.settle_ticket(now, place);
            return Ok(());
        }
        let say =
            |server: &mut Server<S>, message: &Message<'_>| server.say_placed(now, place, message);
        let said = match content {
            Content::Text(text) => say(self, &Message::Text(text)),
            Content::Binary(bytes) => say(self, &Message::Binary(bytes)),
            Content::Event { event, attachments, count } => {
                let attachments = &attachments[..count];
                let said = self.in_plain_form(&event, attachments, say);
                said.unwrap_or_else(|| {
                    let message = Message::Event { args: event.args, attachments, plain: None };
                    self.fall_short(now, place, &message)
                })
            }
            Content::Greeting(_) => Err(Unplaced::Unreadable),
        };
        self.reap(now);
        said
    }

    /// The message of a ticket was said before, at `position`, and is not said again: whoever said
    /// it again is answered as if it were.
    ///
    /// # Panics
    /// If the ticket is not that of a message that waits and was handed out.
    pub fn repeated(&mut self, now: Now, ticket: Ticket, position: Position) {
        self.tell_time(now);
        let elsewhere = self.elsewhere.as_ref().expect("only then there are tickets");
        let waiting = &elsewhere.waiting[elsewhere.index(ticket)];
        let name = waiting.envelope.and_then(|kept| envelope::channel_of(self.pool.bytes(kept)));
        let channel = name.and_then(|name| self.hub.find(name));
        self.settle_ticket(now, Place { channel, position, ticket: Some(ticket) });
        self.reap(now);
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
        speaker: (ConnId, Option<RepeatId>),
        name: &str,
        message: &Message<'_>,
    ) -> Outcome {
        let outcome = self.take_from_backend(now, speaker, name, message);
        if let Outcome::Refused(error) = outcome {
            return self.refuse_word(error);
        }
        outcome
    }

    /// Publishes a backend's message, as [`Server::publish_to`] says, which counts what is refused
    /// itself.
    fn take_from_backend(
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
        let turn_us = self.hub.turn_us();
        let outcome = if let Some(elsewhere) = &mut self.elsewhere {
            if elsewhere.is_refusing {
                return Outcome::Refused(PublishError::Away);
            }
            let outcome =
                elsewhere.defer(&mut self.pool, name, message, (speaker, client), turn_us);
            self.close_if_full();
            outcome
        } else {
            let Ok(channel) = self.open_channel(now, name) else {
                return Outcome::Refused(PublishError::NoMemory);
            };
            match self.say_to(now, channel, Some((speaker, client)), message) {
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
            Speaker::Session(session_id, _) => self.sessions.get(session_id).client.address(),
            Speaker::Backend(id, _) => self.client(id.slot),
            Speaker::Server => return self.greet_all(now, channel, message),
        };
        if !self.may_speak(speaker, channel) {
            self.metrics.count_unsaid(Unsaid::MayNotSpeak);
            return Outcome::MayNotSpeak;
        }
        self.reading.spoke = true;
        let turn_us = self.hub.turn_us();
        if let Some(elsewhere) = &mut self.elsewhere {
            if elsewhere.is_refusing {
                return self.refuse_word(PublishError::Away);
            }
            if !self.hub.fits(channel, message) {
                return self.refuse_word(PublishError::TooBig);
            }
            let name = self.hub.channel(channel).name();
            let outcome =
                elsewhere.defer(&mut self.pool, name, message, (speaker, client), turn_us);
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
            Speaker::Session(session_id, _) => self.sessions.get(session_id).may_speak(channel),
            Speaker::Backend(..) | Speaker::Server => true,
        }
    }

    /// Counts a message that is said to nobody.
    pub(super) fn refuse_word(&mut self, error: PublishError) -> Outcome {
        self.metrics.count_unsaid(match error {
            PublishError::TooBig => Unsaid::TooBig,
            PublishError::NoMemory => Unsaid::NoMemory,
            PublishError::Away => Unsaid::Away,
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

    /// Tells a newcomer's greeting, here and elsewhere.
    fn greet_all(&mut self, now: Now, channel: ChannelId, message: &Message<'_>) -> Outcome {
        if let Some(elsewhere) = &mut self.elsewhere {
            let has_room = elsewhere.greetings.len() < GREETINGS_MAX;
            let name = self.hub.channel(channel).name();
            let sealed = if has_room { seal(&mut self.pool, name, message) } else { None };
            match sealed {
                Some(greeting) => elsewhere.greetings.push_back(greeting),
                None => self.metrics.greetings_dropped += 1,
            }
        }
        self.greet(now, channel, message)
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
        if self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.has_filled(1)) {
            let connections = &mut self.connections;
            self.hub.close(true, |id| connections.resume(id));
        }
    }

    /// Says a message that has its place in the order; where nobody is, to nobody.
    fn say_placed(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
    ) -> Result<(), Unplaced> {
        let published = place.channel.map(|channel| {
            let at = (channel, place.position);
            self.hub.publish_at(&mut self.pool, now.mono, at, message)
        });
        match published {
            Some(Err(_)) => self.fall_short(now, place, message),
            Some(Ok(())) | None => {
                self.let_end(now, place.channel);
                self.take_up(now, place, message);
                Ok(())
            }
        }
    }

    /// Says a backend's message, where the order is decided here; where nobody is, to nobody.
    fn say_to(
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
        self.let_end(now, channel);
        published
    }

    /// A channel without members ends when its newest message is too old, which one may be that was
    /// just said.
    fn let_end(&mut self, now: Now, channel: Option<ChannelId>) {
        if let Some(channel) = channel.filter(|channel| self.hub.channel(*channel).is_empty()) {
            self.hub.end_if_over(&mut self.pool, now.mono, channel);
        }
    }

    /// There is no room here for a message that others have heard: a gap for those who are here.
    /// To whoever said it the message is said.
    fn fall_short(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
    ) -> Result<(), Unplaced> {
        if let Some(channel) = place.channel {
            let all = Lacking::Everybody;
            self.lose(now, channel, place.position, all).map_err(|StillParted| Unplaced::Held)?;
        }
        self.take_up(now, place, message);
        Ok(())
    }

    /// A message has its place: that is counted and reported, and whoever said it is answered.
    fn take_up(&mut self, now: Now, place: Place, message: &Message<'_>) {
        let speaker = place.ticket.map(|ticket| self.take_back(ticket));
        self.said(now, place.channel, speaker, message);
        self.answer_backend(now, place, speaker);
    }

    /// Answers whoever said a message that is said to nobody here.
    fn settle_ticket(&mut self, now: Now, place: Place) {
        let speaker = place.ticket.map(|ticket| self.take_back(ticket));
        if let Some((speaker, _)) = speaker {
            self.acknowledge_speaker(now, place.channel, speaker);
        }
        self.answer_backend(now, place, speaker);
    }

    /// Answers a backend whose message has its place.
    fn answer_backend(&mut self, now: Now, place: Place, speaker: Option<(Speaker, SocketAddr)>) {
        if let Some((ticket, (Speaker::Backend(_, repeat), _))) = place.ticket.zip(speaker) {
            self.settle(now, ticket, repeat, Ok(Some(place.position)));
        }
    }

    /// A message is said, be anybody there who is sent it or not: it is counted, reported and
    /// acknowledged. `None` for a channel means that nobody is there, and for a speaker that
    /// somebody speaks elsewhere.
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
        self.acknowledge_speaker(now, channel, speaker);
    }

    /// A message has its place: it is counted for whoever said it, and acknowledged.
    fn acknowledge_speaker(&mut self, now: Now, channel: Option<ChannelId>, speaker: Speaker) {
        let Some(channel) = channel else { return };
        match speaker {
            Speaker::Conn(id) if self.connections.lives(id) => {
                self.connections.change(id.slot, Conn::count_published);
            }
            Speaker::Session(session_id, ack) if self.sessions.contains(session_id) => {
                let is_member = self.sessions.edit(session_id).count_published(channel);
                if let Some(number) = ack.filter(|_| is_member) {
                    self.acknowledge(now, session_id, channel, number);
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
        let outcome = self.in_plain_form(event, &[], |server, message| {
            server.publish_to(now, speaker, name, message)
        });
        outcome.unwrap_or_else(|| self.refuse_word(PublishError::NoMemory))
    }

    /// Hands `then` an event with the form that it has for plain WebSockets: a `chat message` with
    /// one text or one attachment has one. `None` if there is no memory to undo the escapes of a
    /// text.
    pub(super) fn in_plain_form<R>(
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
        let index = elsewhere.index(ticket);
        let waiting = &mut elsewhere.waiting[index];
        let (speaker, client) = (waiting.speaker, waiting.client);
        elsewhere.round_trips.record(self.hub.turn_us().saturating_sub(waiting.said_us));
        let envelope = waiting.envelope.take().expect("a ticket comes back once");
        elsewhere.bytes -= self.pool.capacity(envelope) as u64;
        self.pool.give(envelope);
        while elsewhere.waiting.front().is_some_and(|waiting| waiting.envelope.is_none()) {
            elsewhere.waiting.pop_front();
            elsewhere.first = Ticket(elsewhere.first.0 + 1);
            elsewhere.handed_out -= 1;
        }
        // Those that waited for this come back together, not one for each message.
        if self.hub.is_closed() && !elsewhere.has_filled(2) {
            let connections = &mut self.connections;
            self.hub.close(false, |id| connections.resume(id));
        }
        (speaker, client)
    }
}
