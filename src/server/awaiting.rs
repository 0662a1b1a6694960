//! Channels whose order is decided elsewhere, as they are opened and closed here: what whoever
//! decides the order asks, and is told.
//!
//! ```text
//!   poll_opening ──► elsewhere ──► replayed, oldest first ──► opened ──► who waits comes in
//!                                                        poll_closing ◄── nobody, nothing kept
//! ```
//!
//! Leaves to others: who has to wait (`admission`, `session/namespaces`), what is said in an open
//! channel (`publish`).
//!
//! The surprise: of a request that waits nothing is kept but its bytes. When the wait is over it is
//! read and answered anew, in its turn, so nothing that was decided before can have become wrong.

use super::publish::Unplaced;
use super::{Server, Socket};
use crate::hub::envelope::{self, Content};
use crate::hub::{Lacking, Message};
use crate::position::Position;
use crate::time::{Duration, Now};

impl<S: Socket> Server<S> {
    /// The name of the next channel that somebody wants to read here. It is to be opened by
    /// [`Server::opened`], with what is kept of it before that; until then newcomers wait, but not
    /// longer than [`OPENING_LIMIT`](crate::limits::OPENING_LIMIT).
    pub fn poll_opening(&mut self) -> Option<&str> {
        self.hub.poll_opening()
    }

    /// The name of the next channel that nobody reads here any more: nothing more of it need be
    /// brought. It may be asked for again.
    pub fn poll_closing(&mut self, now: Now) -> Option<Box<str>> {
        self.hub.poll_closing(&mut self.pool, now.mono)
    }

    /// A message that was said in the channel `name` some `age` ago, at `position`, and behind all
    /// that were brought before, is kept for those who will read it. Without an envelope, or with
    /// one that cannot be read or is too large, it is a gap: nothing of before is kept then.
    /// Nothing happens if the channel is not being opened.
    ///
    /// Work: what keeping the message takes.
    pub fn replayed(
        &mut self,
        now: Now,
        name: &str,
        (position, age): (Position, Duration),
        envelope: Option<&[u8]>,
    ) {
        let Some(channel) = self.hub.find_opening(name) else { return };
        let content = envelope.and_then(envelope::decode);
        let keep = |server: &mut Server<S>, message: Option<&Message<'_>>| {
            server.hub.replay(channel, (now.mono, age), position, message);
        };
        match content.filter(|(of, _)| *of == name).map(|(_, content)| content) {
            Some(Content::Text(text)) => keep(self, Some(&Message::Text(text))),
            Some(Content::Binary(bytes)) => keep(self, Some(&Message::Binary(bytes))),
            Some(Content::Event { event, attachments, count }) => {
                let attachments = &attachments[..count];
                let kept = self.in_plain_form(&event, attachments, |server, message| {
                    keep(server, Some(message));
                });
                if kept.is_none() {
                    keep(self, None);
                }
            }
            Some(Content::Greeting(_)) | None => keep(self, None),
        }
    }

    /// The channel `name` begins behind `position`; what is said from now on is brought by
    /// [`Server::place`]. Who waits for it comes in, in its turn. Nothing happens if the channel is
    /// not being opened.
    ///
    /// Work: a look at each newcomer that waits for any channel.
    pub fn opened(&mut self, now: Now, name: &str, position: Position) {
        let Some(channel) = self.hub.find_opening(name) else { return };
        self.tell_time(now);
        self.hub.begin(now.mono, channel, position);
        self.connections.answer_awaiting(channel, now.mono);
        self.sessions.answer_awaiting(channel);
    }

    /// Messages of the channel `name` are lost, which were said before `position`. Readers of
    /// `elbow.v1` and of event streams are told so where they stand. All others are sent nothing of
    /// what comes behind, and come back: WebSockets are closed with 1012, sessions lose their
    /// transport, spread over the time of a drain. Nothing of before can be had any more. In a
    /// channel that is being opened there is nobody to be told, and nothing of before is kept.
    ///
    /// # Errors
    /// [`Unplaced::Held`] if the channel takes nothing at the moment: the gap has to be told again,
    /// before anything that stands behind it is brought.
    pub fn lost(&mut self, now: Now, name: &str, position: Position) -> Result<(), Unplaced> {
        self.miss(now, name, position, Lacking::Everybody)
    }

    /// At `position` of the channel `name` stands a message that was said here before a gap, and is
    /// not said again. Readers who have come back from where they had been may have been elsewhere
    /// then: they are told of a loss, as [`Server::lost`] tells everybody, and so will be whoever
    /// comes back from there later. The others have heard the message, or came after it was said.
    ///
    /// # Errors
    /// As for [`Server::lost`].
    pub fn passed(&mut self, now: Now, name: &str, position: Position) -> Result<(), Unplaced> {
        self.miss(now, name, position, Lacking::Returned)
    }

    fn miss(
        &mut self,
        now: Now,
        name: &str,
        position: Position,
        lacking: Lacking,
    ) -> Result<(), Unplaced> {
        if let Some(channel) = self.hub.find_opening(name) {
            // Before anything was brought nothing is missed by it: it begins where it begins.
            if self.hub.channel(channel).has_been_brought() {
                self.hub.replay(channel, (now.mono, Duration::ZERO), position, None);
            }
            return Ok(());
        }
        let is_open = self.hub.is_open(name);
        let Some(channel) = self.hub.find(name).filter(|_| is_open) else { return Ok(()) };
        if self.holds_order(channel) {
            return Err(Unplaced::Held);
        }
        self.tell_time(now);
        self.lose(now, channel, position, lacking).map_err(|_| Unplaced::Held)
    }
}
