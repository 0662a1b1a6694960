//! Who comes in and who goes: sessions are counted, plain WebSockets get their place in a channel.
//!
//! Leaves to others: what a refusal says (`answer`), the places of Socket.IO sessions, of which
//! each may have several (`socketio`).

use super::waiting::resume_paused;
use super::{Event, Server, Socket};
use crate::conn::{Client, Place};
use crate::hub::{JoinError, Moved};
use crate::id::{ChannelId, Dialect, Member, Reader};
use crate::limits::Limits;
use crate::reason::CloseReason;
use crate::time::Now;

impl<S: Socket> Server<S> {
    /// What there is not enough of for one more session, if anything.
    pub(super) fn lacks_room(&self, slot: u32) -> Option<&'static str> {
        let limits = &self.settings.limits;
        let ip = self.entries[slot as usize].conn.client().ip();
        let of_address = self.per_ip.get(&ip).copied().unwrap_or(0);
        if self.drain.is_some() {
            Some("draining")
        } else if self.sessions >= limits.connections_max {
            Some("--max-connections are in use")
        } else if !has_room(limits, of_address) {
            Some("--max-connections-per-ip of this address are in use")
        } else {
            None
        }
    }

    /// Makes a plain WebSocket a member of `channel` and counts it.
    pub(super) fn join(&mut self, slot: u32, channel: &str) -> Result<Place, JoinError> {
        let member = Member::new(Reader::Conn(slot));
        let (entries, resume) = (&mut self.entries, &mut self.resume);
        let resume = |id| resume_paused(entries, resume, id);
        let joined = self.hub.join(&mut self.pool, channel, member, Dialect::Plain, resume)?;
        let entry = &mut self.entries[slot as usize];
        entry.session = true;
        entry.conn.follow(joined.channel, Dialect::Plain, joined.mark);
        let client = entry.conn.client();
        self.count_session(client);
        Ok(Place {
            channel: joined.channel,
            position: joined.position,
            messages_in: 0,
            joined: joined.mark.seq.0 as u32,
        })
    }

    /// Gives a place in a channel up, and tells the member that fills the gap.
    pub(super) fn leave(&mut self, channel: ChannelId, position: u32, dialect: Dialect) {
        let (entries, resume) = (&mut self.entries, &mut self.resume);
        let resume = |id| resume_paused(entries, resume, id);
        let moved = self.hub.leave(&mut self.pool, channel, position, dialect, resume);
        let Some(Moved { member, position }) = moved else { return };
        match member.reader() {
            Reader::Conn(slot) => self.entries[slot as usize].conn.set_position(position),
            Reader::Session(session) => {
                let session = self.engine.get_mut(session);
                if let Some(space) = session.space(channel) {
                    session.spaces[space].position = position;
                }
            }
        }
    }

    /// Takes a plain WebSocket out of its channel and says that it ended.
    pub(super) fn end_member(&mut self, now: Now, slot: u32, place: Place, reason: CloseReason) {
        let entry = &mut self.entries[slot as usize];
        let client = entry.conn.client();
        let duration = now.mono.since(entry.conn.opened_at());
        let cursor = entry.conn.out.cursor();
        entry.session = false;
        entry.told = true;
        self.uncount_choked(slot);
        // Nothing holds it back any more: what it still sends is to be read and discarded.
        let id = self.id(slot);
        if self.hub.channel_mut(place.channel).forget(id) {
            self.entries[slot as usize].resuming = false;
        }
        let channel = self.hub.channel(place.channel).name().into();
        self.leave(place.channel, place.position, Dialect::Plain);
        // The role ends with the place, so that nobody takes it for a member any more.
        self.entries[slot as usize].conn.orphan();
        self.uncount_session(client);
        let messages_out =
            cursor.map_or(0, |cursor| (cursor.seq.0 as u32).wrapping_sub(place.joined));
        let messages_out = u64::from(messages_out);
        self.metrics.messages_delivered += messages_out;
        self.metrics.count_closed(reason);
        self.events.push(
            &mut self.pool,
            Event::Closed {
                client: client.address(),
                channel,
                reason,
                duration,
                messages_in: u64::from(place.messages_in),
                messages_out,
            },
        );
    }

    pub(super) fn count_session(&mut self, client: Client) {
        self.sessions += 1;
        self.metrics.sessions_opened += 1;
        if self.settings.limits.connections_per_ip_max.is_some() {
            *self.per_ip.entry(client.ip()).or_insert(0) += 1;
        }
    }

    pub(super) fn uncount_session(&mut self, client: Client) {
        self.sessions -= 1;
        if let Some(count) = self.per_ip.get_mut(&client.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&client.ip());
            }
        }
    }
}

/// Whether `limits` leave room for one more session of this address.
fn has_room(limits: &Limits, of_address: u32) -> bool {
    limits.connections_per_ip_max.is_none_or(|max| (of_address as usize) < max)
}
