//! The server and its backplane: what was said here goes out to be ordered, and what comes back in
//! its order is said.
//!
//! ```text
//!   door ──► poll_deferred ──► Backplane::say ──► Redis ──► Placed ──► place ──► feeds
//! ```
//!
//! Deals with: carrying values from one to the other, in bounded portions. Leaves to others: what
//! is asked of Redis (`hub/backplane`), the two connections (the shell), what it means to members
//! that a channel is opened, loses something or is cut off (`awaiting`, `losing`, `away`).
//!
//! The surprise: a channel that takes nothing at the moment, because more than half of all members
//! here read it and are behind, holds everything up that came after. The messages of all channels
//! come on one connection, and what cannot be said yet lies where it was read. A channel of fewer
//! holds nobody up: its readers that are behind are lapped.

use super::publish::{Ticket, Unplaced};
use super::{Event, Server, Socket};
use crate::hub::HashKey;
use crate::hub::backplane::{self, Backplane, Chance};
use crate::hub::envelope;
use crate::limits::{self, Limits};
use crate::position::Position;
use crate::settings;
use crate::time::{Duration, Instant, Now};
use crate::wire::admin;
use crate::wire::socketio::ATTACHMENTS_MAX;

/// The most messages that are taken out of the order in a turn. The rest comes with the next.
const MESSAGES_PER_TURN: u32 = 1024;

/// Bytes of messages that are taken out of the order in a turn, and one message more.
const BYTES_PER_TURN: usize = limits::READ_BYTES_PER_TURN;

// In front of what a backend has said stands `["NAME",`, with up to six bytes for each of the name.
const _: () = assert!(
    limits::ENVELOPE_EXTRA_BYTES as usize
        >= 2 + limits::CHANNEL_NAME_BYTES_MAX
            + 4 * (1 + ATTACHMENTS_MAX)
            + 4
            + 6 * admin::EVENT_BYTES_MAX
);

/// The backplane's settings that follow from the operator's.
fn settings_of(shared: settings::Backplane, limits: &Limits) -> backplane::Settings {
    let message_bytes_max = limits.message_bytes_max + limits::ENVELOPE_EXTRA_BYTES;
    backplane::Settings {
        name: shared.name,
        user: shared.user,
        password: shared.password.map(|password| password.reveal().into()),
        database: u32::from(shared.database),
        channels_max: limits.channels_max,
        message_bytes_max: usize::try_from(message_bytes_max).expect("at most 256 MiB and a bit"),
        history: limits.history,
        history_bytes: limits.feed_bytes,
    }
}

impl<S: Socket> Server<S> {
    /// Has the order of messages be decided in Redis, from the first message on. `false` if there
    /// is no memory for messages that wait; then nothing changes.
    ///
    /// # Panics
    /// If there is a channel, or the limits do not count with a backplane.
    #[must_use]
    pub fn share_order(&mut self, now: Now, shared: settings::Backplane) -> bool {
        use chacha20::rand_core::Rng;
        assert!(self.settings.limits.shared, "the memory of a backplane is in the ceiling");
        if !self.order_elsewhere() {
            return false;
        }
        let mut hash_key = [0; 16];
        self.random.fill_bytes(&mut hash_key);
        let (producer, jitter) = (self.random.next_u64(), self.random.next_u64());
        let chance = Chance { producer, jitter, hash_key: HashKey(hash_key) };
        let settings = settings_of(shared, &self.settings.limits);
        self.backplane = Some(Box::new(Backplane::new(settings, chance, now.mono)));
        // A backplane has no connection yet, and does not say so.
        self.backplane_away(now);
        true
    }

    /// The backplane, for whoever carries its bytes to Redis and back; `None` where the order is
    /// decided here.
    pub fn backplane(&mut self) -> Option<&mut Backplane> {
        self.backplane.as_deref_mut()
    }

    /// When the backplane wants to be looked at.
    pub(super) fn next_of_backplane(&self) -> Option<Instant> {
        self.backplane.as_ref().map(|backplane| backplane.poll_timeout())
    }

    /// Takes in what has come back in its order. Whether there is more that could be taken in.
    ///
    /// Work: [`MESSAGES_PER_TURN`] messages and [`BYTES_PER_TURN`] bytes of them.
    pub(super) fn take_in_order(&mut self, now: Now) -> bool {
        let Some(mut backplane) = self.backplane.take() else { return false };
        let (mut messages, mut bytes) = (0, 0);
        let mut is_left = false;
        while let Some(event) = backplane.poll_event(now.mono) {
            if messages >= MESSAGES_PER_TURN || bytes >= BYTES_PER_TURN {
                is_left = true;
            }
            messages += 1;
            bytes += match event {
                backplane::Event::Placed { bytes, .. }
                | backplane::Event::Replayed { bytes, .. }
                | backplane::Event::Greeted { bytes, .. } => bytes.len(),
                backplane::Event::Opened { .. }
                | backplane::Event::Repeated { .. }
                | backplane::Event::Passed { .. }
                | backplane::Event::Lost { .. }
                | backplane::Event::Away
                | backplane::Event::Back
                | backplane::Event::Report(_) => 0,
            };
            if is_left || self.take_order_event(now, event).is_err() {
                backplane.hold();
                break;
            }
        }
        self.backplane = Some(backplane);
        is_left
    }

    /// Whether what was held, since its channel took nothing, can be taken in now: nothing else
    /// wakes the loop up for readers that have caught up in this turn, or were given up.
    pub(super) fn is_order_released(&self) -> bool {
        let Some((name, is_loss)) = self.backplane.as_ref().and_then(|it| it.held()) else {
            return false;
        };
        self.hub.find(name).is_none_or(|channel| {
            let is_parted = is_loss && self.hub.channel(channel).is_parted();
            !self.holds_order(channel) && !is_parted
        })
    }

    /// Hands over what was said in this turn, which channels are wanted, and which are not any
    /// more; then the backplane writes its requests. Whether that has let go of what was held, so
    /// that what stands behind it can be taken in.
    ///
    /// Work: what waits, which is bounded.
    pub(super) fn hand_to_backplane(&mut self, now: Now) -> bool {
        let Some(mut backplane) = self.backplane.take() else { return false };
        let was_held = backplane.held().is_some();
        // While nothing can be asked, nobody is: a channel that was asked for stays for long.
        while !backplane.is_away()
            && backplane.may_open()
            && let Some(name) = self.poll_opening()
        {
            let is_opened = backplane.open(now.mono, name);
            assert!(is_opened, "there is room for one more");
        }
        while let Some((envelope, key)) = self.next_deferred()
            && let Some(name) = envelope::channel_of(envelope)
            && backplane.may_say(name, envelope.len())
            && let Some((Ticket(number), envelope)) = self.poll_deferred()
        {
            let name = envelope::channel_of(envelope).expect("the server has written it");
            let said = backplane.say(now.mono, name, backplane::Ticket(number), envelope, key);
            assert_eq!(said, Ok(()), "there is room for the message");
        }
        while let Some(greeting) = self.poll_greeting() {
            let name = envelope::channel_of(greeting).expect("the server has written it");
            backplane.greet(name, greeting);
        }
        // Also if something that was said there waits here: it waits for room, and the channel may
        // be in its way.
        while let Some(name) = self.poll_closing(now) {
            backplane.close(&name);
        }
        backplane.end_turn(now.mono);
        let is_let_go = was_held && backplane.held().is_none();
        self.backplane = Some(backplane);
        is_let_go
    }

    /// Does what an event of the backplane asks for.
    ///
    /// # Errors
    /// If that cannot be done now: the event has to be brought again, before any other.
    fn take_order_event(&mut self, now: Now, event: backplane::Event<'_>) -> Result<(), Unplaced> {
        use backplane::Event as Came;
        match event {
            Came::Placed { channel, place, ticket, bytes } => {
                self.take_placed(now, channel, (place, ticket), bytes)?;
            }
            Came::Replayed { channel, place, age_ms, ticket, bytes } => {
                let said = (position(place), Duration::from_millis(age_ms));
                self.replayed(now, channel, said, Some(bytes));
                if let Some(backplane::Ticket(number)) = ticket {
                    self.repeated(now, Ticket(number), position(place));
                }
            }
            Came::Opened { channel, place } => self.opened(now, channel, position(place)),
            Came::Repeated { ticket: backplane::Ticket(number), place, .. } => {
                self.repeated(now, Ticket(number), position(place));
            }
            Came::Passed { channel, place } => self.passed(now, channel, position(place))?,
            Came::Lost { channel, place, .. } => self.lost(now, channel, position(place))?,
            Came::Greeted { channel, bytes } => {
                // What others have written is not trusted, and a greeting that cannot be read is no
                // loss.
                if envelope::channel_of(bytes) == Some(channel) {
                    let _unreadable = self.greeted(now, bytes);
                }
            }
            Came::Away => {
                self.backplane_away(now);
                self.events.push(&mut self.pool, Event::OrderAway);
            }
            Came::Back => {
                let away = self.backplane_back(now);
                self.events.push(&mut self.pool, Event::OrderBack { away });
            }
            Came::Report(report) => {
                let event = Event::OrderTrouble(Box::new(report));
                self.events.push(&mut self.pool, event);
            }
        }
        Ok(())
    }

    /// Says a message that has come in its order. One that cannot be read, or is said to be another
    /// channel's, is a gap.
    fn take_placed(
        &mut self,
        now: Now,
        channel: &str,
        (place, ticket): (backplane::Place, Option<backplane::Ticket>),
        envelope: &[u8],
    ) -> Result<(), Unplaced> {
        let ticket = ticket.map(|backplane::Ticket(number)| Ticket(number));
        let placed = match envelope::channel_of(envelope) {
            Some(name) if name == channel => self.place(now, ticket, position(place), envelope),
            Some(_) | None => Err(Unplaced::Unreadable),
        };
        match placed {
            Ok(()) => Ok(()),
            Err(Unplaced::Held) => Err(Unplaced::Held),
            Err(Unplaced::Unreadable) => {
                self.lost(now, channel, position(place))?;
                if let Some(ticket) = ticket {
                    self.repeated(now, ticket, position(place));
                }
                Ok(())
            }
        }
    }
}

/// A place in a stream as clients are told it.
fn position(place: backplane::Place) -> Position {
    let backplane::Place { entry: backplane::EntryId { ms, seq }, index } = place;
    Position::Stream { ms, seq, index }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the shell adds: the stack of the thread that resolves names, and encryption.
    const OF_THE_SHELL_BYTES: u64 = (256 + 512) * 1024;

    fn limits(message_bytes_max: u64, channels_max: usize) -> Limits {
        Limits {
            connections_max: 1,
            connections_per_ip_max: None,
            admin_connections_max: 0,
            channels_max,
            message_bytes_max,
            feed_bytes: 4 * message_bytes_max.next_power_of_two(),
            memory_bytes: 0,
            send_buffer_bytes: 0,
            receive_buffer_bytes: 0,
            ping_interval: Duration::ZERO,
            ping_timeout: Duration::ZERO,
            drain: Duration::ZERO,
            history: None,
            shared: true,
            message_rate: None,
            lifetime: None,
        }
    }

    #[test]
    fn the_ceiling_holds_what_a_backplane_takes() {
        let shared = settings::Backplane {
            name: "x".repeat(backplane::NAME_BYTES_MAX).into(),
            user: None,
            password: None,
            database: 0,
        };
        for message_bytes_max in [1, 1 << 10, 64 << 10, 1 << 20, 256 << 20] {
            for channels_max in [1, 32, limits::CHANNELS_SHARED_MAX] {
                let limits = limits(message_bytes_max, channels_max);
                let taken = settings_of(shared.clone(), &limits).cost_bytes();
                let counted = limits.backplane_bytes();
                let beside = taken + OF_THE_SHELL_BYTES;
                assert!(beside <= counted, "{message_bytes_max} {channels_max}: {taken} {counted}");
            }
        }
        assert_eq!(limits::CHANNELS_SHARED_MAX, backplane::CHANNELS_MAX);
    }
}
