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
//!   greeting ────────┘             └─► envelope ─► elsewhere ─► place ─► feed, counted, …
//! ```
//!
//! Leaves to others: which channels are open (`awaiting`), what was lost of an order (`losing`),
//! that whoever decides it is out of reach (`away`).
//!
//! The surprise: by the time a message comes back, whoever said it may be gone, and the channel
//! too. The message is said all the same, to whoever is there. Greetings stand outside of the
//! order: they are told here at once, and elsewhere when they get there.

use std::collections::VecDeque;

use super::{Event, Server, Socket};
use crate::conn::Conn;
use crate::hub::envelope::{self, Content};
use crate::hub::{Message, PlainForm, PublishError, StillParted, plain_form};
use crate::id::{ChannelId, ConnId, SessionId};
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
    /// Whether that has been so for too long, so that nothing more is taken.
    pub(super) is_refusing: bool,
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
    ) -> Outcome {
        let is_full = self.waiting.len() >= DEFERRED_MAX;
        let sealed = if is_full { None } else { seal(pool, name, message) };
        let Some(envelope) = sealed else {
            return Outcome::Refused(PublishError::NoMemory);
        };
        self.bytes += pool.capacity(envelope) as u64;
        let ticket = Ticket(self.first.0 + self.waiting.len() as u64);
        self.waiting.push_back(Waiting { speaker, client, envelope: Some(envelope) });
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
                is_refusing: false,
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

    /// Bytes of the envelope that [`Server::poll_deferred`] would hand out next.
    pub(super) fn deferred_bytes(&self) -> Option<usize> {
        let elsewhere = self.elsewhere.as_ref()?;
        let envelope = elsewhere.waiting.get(elsewhere.handed_out)?.envelope?;
        Some(self.pool.bytes(envelope).len())
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
        if channel.is_some_and(|channel| self.hub.channel(channel).holds_messages()) {
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
            Speaker::Server => return self.greet_all(now, channel, message),
        };
        self.reading.spoke = true;
        if let Some(elsewhere) = &mut self.elsewhere {
            if elsewhere.is_refusing {
                return Outcome::Refused(PublishError::Away);
            }
            if !self.hub.fits(channel, message) {
                return Outcome::Refused(PublishError::TooBig);
            }
            let name = self.hub.channel(channel).name();
            let outcome = elsewhere.defer(&mut self.pool, name, message, (speaker, client));
            if elsewhere.has_filled(1) {
                let connections = &mut self.connections;
                self.hub.close(true, |id| connections.resume(id));
            }
            return outcome;
        }
        match self.hub.publish(&mut self.pool, now.mono, channel, message) {
            Ok(position) => {
                self.said(now, Some(channel), Some((speaker, client)), message);
                Outcome::Published { position }
            }
            Err(error) => Outcome::Refused(error),
        }
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
        self.in_plain_form(event, attachments, |server, message| {
            server.publish(now, speaker, channel, message)
        })
        .unwrap_or(Outcome::Refused(PublishError::NoMemory))
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
            Ok(position) => Outcome::Published { position },
            Err(error) => {
                self.metrics.greetings_dropped += 1;
                Outcome::Refused(error)
            }
        }
    }

    /// Says a message that has come back with its place in the order; where nobody is, to nobody.
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
                self.settle(now, place, message);
                Ok(())
            }
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
            self.lose(now, channel, place.position).map_err(|StillParted| Unplaced::Held)?;
        }
        self.settle(now, place, message);
        Ok(())
    }

    /// A message has its place: that is counted and reported, and whoever said it is answered.
    fn settle(&mut self, now: Now, place: Place, message: &Message<'_>) {
        let speaker = place.ticket.map(|ticket| self.take_back(ticket));
        self.said(now, place.channel, speaker, message);
    }

    /// Answers whoever said a message that is said to nobody here.
    fn settle_ticket(&mut self, now: Now, place: Place) {
        if let Some(ticket) = place.ticket {
            let (speaker, _) = self.take_back(ticket);
            self.acknowledge_speaker(now, place.channel, speaker);
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
        self.metrics.messages_published += 1;
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
            Speaker::Session(session, ack) if self.sessions.contains(session) => {
                let is_member = self.sessions.edit(session).count_published(channel);
                if let Some(number) = ack.filter(|_| is_member) {
                    self.acknowledge(now, session, channel, number);
                }
            }
            // Who has gone meanwhile is told nothing.
            Speaker::Conn(_) | Speaker::Session(..) | Speaker::Server => {}
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
