//! Floor 4: channels and what is published in them.
//!
//! Publishing encodes a message once, as the finished frame that every member's socket gets, and
//! appends it to the channel's feed. Nothing is queued for anybody: the flush pass, which the
//! server drives, visits the members and lets each send from its own place. The hub knows members
//! only by their number and never touches a connection.

mod channel;
mod message;
mod session;

use std::collections::{HashMap, VecDeque};

use siphasher::sip::SipHasher13;
use slab::Slab;

pub use channel::Channel;
pub use message::{Message, write_header};
pub use session::{
    Due, MORE_SPACES_BYTES, OWN_BYTES_MAX, PLACE_BYTES, SESSION_BYTES, SPACES_MAX, Session,
    Sessions, Space, Spaces, Transport, Unfinished, pieces,
};

use crate::feed::{Feed, Mark};
use crate::id::{ChannelId, ConnId, Dialect, Member};
use crate::limits::{CHANNEL_NAME_BYTES_MAX, Limits};
use crate::pool::Pool;
use crate::time::Instant;

/// The channel of those who name none; it always has its place.
pub const DEFAULT_CHANNEL: &str = "default";

/// A hasher's key from the system's random source, so that names cannot be chosen to collide.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub [u8; 16]);

impl core::hash::BuildHasher for HashKey {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// Why nobody can join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinError {
    /// `--max-channels` are in use.
    TooManyChannels,
    /// `--memory` has no room for another ring.
    NoMemory,
}

/// Why a message was published to nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// Its record would take more than half a ring in some dialect, in use or not: what a publisher
    /// may say does not depend on who is there.
    TooBig,
    /// The pool had no buffer to encode it in.
    NoMemory,
}

/// A place in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The channel.
    pub channel: ChannelId,
    /// Place in its list of members.
    pub position: u32,
    /// The feed's head: a newcomer gets what comes after it.
    pub mark: Mark,
}

/// A member that was moved to another place when one left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Who.
    pub member: Member,
    /// Its new place.
    pub position: u32,
}

/// All channels.
#[derive(Debug)]
pub struct Hub {
    channels: Slab<Channel>,
    names: HashMap<Box<str>, ChannelId, HashKey>,
    /// Channels with a sweep under way, in the order of their turns.
    active: VecDeque<ChannelId>,
    channels_max: usize,
    feed_bytes: u64,
    index_bytes: u64,
    /// When this turn began, in microseconds of the turns' clock.
    turn_us: u64,
}

/// Whether `name` can be a channel's: 1 to 64 of `A-Z a-z 0-9 . _ -`.
pub fn is_channel_name(name: &str) -> bool {
    (1..=CHANNEL_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl Hub {
    /// No channels yet.
    pub fn new(limits: &Limits, key: HashKey) -> Hub {
        Hub {
            channels: Slab::with_capacity(limits.channels_max),
            names: HashMap::with_capacity_and_hasher(limits.channels_max, key),
            active: VecDeque::with_capacity(limits.channels_max),
            channels_max: limits.channels_max,
            feed_bytes: limits.feed_bytes,
            index_bytes: Limits::feed_index_bytes(limits.feed_bytes),
            turn_us: 0,
        }
    }

    /// A turn begins: what is published from now on was read in it.
    pub fn begin_turn(&mut self, now_us: u64) {
        self.turn_us = now_us;
    }

    /// When this turn began.
    pub fn turn_us(&self) -> u64 {
        self.turn_us
    }

    /// Makes `member` a member of `name`, which is made if nobody was there. Publishers that need
    /// not wait for so large a room any more go to `resume`.
    pub fn join(
        &mut self,
        pool: &mut Pool,
        name: &str,
        member: Member,
        dialect: Dialect,
        mut resume: impl FnMut(ConnId),
    ) -> Result<Joined, JoinError> {
        self.can_join(pool, name, dialect)?;
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => {
                let id = ChannelId(self.channels.insert(Channel::new(name)) as u32);
                self.names.insert(name.into(), id);
                id
            }
        };
        let channel = &mut self.channels[id.0 as usize];
        if channel.feed(dialect).is_none() {
            let reserved = pool.reserve(self.feed_bytes + self.index_bytes);
            assert!(reserved, "can_join has seen that there is room");
        }
        let position = channel.join(member, dialect, self.feed_bytes as usize);
        channel.review(&mut resume);
        let mark = channel.feed(dialect).map_or(Mark::default(), Feed::mark);
        Ok(Joined { channel: id, position, mark })
    }

    /// Whether [`Hub::join`] would find the channel and its feed, or room for them.
    pub fn can_join(&self, pool: &Pool, name: &str, dialect: Dialect) -> Result<(), JoinError> {
        let channel = self.names.get(name).map(|id| &self.channels[id.0 as usize]);
        if channel.is_some_and(|channel| channel.feed(dialect).is_some()) {
            return Ok(());
        }
        let others = self.names.len() - usize::from(self.names.contains_key(DEFAULT_CHANNEL));
        if channel.is_none() && name != DEFAULT_CHANNEL && others + 1 >= self.channels_max {
            return Err(JoinError::TooManyChannels);
        }
        if self.feed_bytes + self.index_bytes > pool.free_bytes() {
            return Err(JoinError::NoMemory);
        }
        Ok(())
    }

    /// Takes the member at `position` away; a feed goes with its last reader, the channel with its
    /// last member. Publishers that were held back there go to `resume` with it.
    pub fn leave(
        &mut self,
        pool: &mut Pool,
        id: ChannelId,
        position: u32,
        dialect: Dialect,
        mut resume: impl FnMut(ConnId),
    ) -> Option<Moved> {
        let channel = &mut self.channels[id.0 as usize];
        let (last_reader, moved) = channel.leave(position, dialect);
        if last_reader {
            pool.release(self.feed_bytes + self.index_bytes);
        }
        if channel.is_empty() {
            let mut channel = self.channels.remove(id.0 as usize);
            self.names.remove(channel.name());
            self.active.retain(|active| *active != id);
            channel.resume_all(&mut resume);
        } else {
            channel.review(&mut resume);
        }
        moved
    }

    /// Appends a message to every feed in which it has a form: from now on every member will send
    /// it. Nothing is appended anywhere on an error.
    pub fn publish(
        &mut self,
        pool: &mut Pool,
        id: ChannelId,
        message: &Message<'_>,
    ) -> Result<(), PublishError> {
        let channel = &mut self.channels[id.0 as usize];
        if !message.fits(channel.namespace(), Limits::record_bytes_max(self.feed_bytes) as usize) {
            return Err(PublishError::TooBig);
        }
        if channel.publish(pool, self.turn_us, message)? {
            self.active.push_back(id);
        }
        Ok(())
    }

    /// The channel called `name`, if it has members.
    pub fn find(&self, name: &str) -> Option<ChannelId> {
        self.names.get(name).copied()
    }

    /// The channel whose turn in the flush pass it is, taken off the list.
    pub fn next_active(&mut self) -> Option<ChannelId> {
        self.active.pop_front()
    }

    /// Puts a channel whose sweep goes on at the list's end.
    pub fn stay_active(&mut self, id: ChannelId) {
        self.active.push_back(id);
    }

    /// Whether any sweep is under way.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// A channel with members.
    pub fn channel(&self, id: ChannelId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    /// The same, to change.
    pub fn channel_mut(&mut self, id: ChannelId) -> &mut Channel {
        &mut self.channels[id.0 as usize]
    }

    /// Whether a channel has lost its last member.
    pub fn is_gone(&self, id: ChannelId) -> bool {
        !self.channels.contains(id.0 as usize)
    }

    /// The feed of a dialect that a channel has readers of.
    ///
    /// # Panics
    /// Without a reader of it.
    pub fn feed(&self, id: ChannelId, dialect: Dialect) -> &Feed {
        self.channels[id.0 as usize].feed(dialect).expect("a feed lives as long as its readers")
    }

    /// Publishers whose channel's grace is over.
    pub fn expire_graces(&mut self, now: Instant, mut resume: impl FnMut(ConnId)) {
        for (_, channel) in &mut self.channels {
            if channel.grace_until().is_some_and(|until| until <= now) {
                channel.end_grace(&mut resume);
            }
        }
    }

    /// When the next grace is over.
    pub fn next_grace(&self) -> Option<Instant> {
        self.channels.iter().filter_map(|(_, channel)| channel.grace_until()).min()
    }

    /// Channels with members.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Bytes of the pool that the channels have reserved.
    pub fn reserved_bytes(&self) -> u64 {
        let feeds: usize = self.channels.iter().map(|(_, channel)| channel.feeds()).sum();
        feeds as u64 * (self.feed_bytes + self.index_bytes)
    }

    /// Asserts what must hold; for the server's check.
    pub fn check(&self) {
        assert_eq!(self.names.len(), self.channels.len());
        for (_, channel) in &self.channels {
            channel.check();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Reader;
    use crate::time::Duration;

    fn limits() -> Limits {
        Limits {
            connections_max: 100,
            connections_per_ip_max: None,
            channels_max: 3,
            message_bytes_max: 256,
            feed_bytes: 1024,
            memory_bytes: 1 << 20,
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        }
    }

    const PLAIN: Dialect = Dialect::Plain;

    fn conn(slot: u32) -> Member {
        Member::new(Reader::Conn(slot))
    }

    #[test]
    fn the_default_channel_always_has_its_place() {
        let mut pool = Pool::new(1 << 20);
        let mut hub = Hub::new(&limits(), HashKey([7; 16]));
        let first = hub.join(&mut pool, "a", conn(0), PLAIN, |_| {}).unwrap();
        hub.join(&mut pool, "b", conn(1), PLAIN, |_| {}).unwrap();
        let full = Err(JoinError::TooManyChannels);
        assert_eq!(hub.join(&mut pool, "c", conn(2), PLAIN, |_| {}), full);
        hub.join(&mut pool, DEFAULT_CHANNEL, conn(3), PLAIN, |_| {}).unwrap();
        assert_eq!(hub.join(&mut pool, "c", conn(4), PLAIN, |_| {}), full);
        hub.leave(&mut pool, first.channel, first.position, PLAIN, |_| {});
        hub.join(&mut pool, "c", conn(5), PLAIN, |_| {}).unwrap();
        hub.check();
    }

    #[test]
    fn a_channel_goes_with_its_last_member_and_its_memory_too() {
        let mut pool = Pool::new(3000);
        let mut hub = Hub::new(&limits(), HashKey([7; 16]));
        let one = hub.join(&mut pool, "a", conn(0), PLAIN, |_| {}).unwrap();
        let two = hub.join(&mut pool, "a", conn(1), PLAIN, |_| {}).unwrap();
        assert_eq!(one.channel, two.channel);
        hub.publish(&mut pool, one.channel, &Message::Text(b"to be forgotten")).unwrap();
        hub.join(&mut pool, "b", conn(2), PLAIN, |_| {}).unwrap();
        let refused = hub.join(&mut pool, DEFAULT_CHANNEL, conn(3), PLAIN, |_| {});
        assert_eq!(refused, Err(JoinError::NoMemory));
        let moved = hub.leave(&mut pool, one.channel, one.position, PLAIN, |_| {});
        assert_eq!(moved, Some(Moved { member: conn(1), position: 0 }));
        assert_eq!(hub.leave(&mut pool, one.channel, 0, PLAIN, |_| {}), None);
        assert!(!hub.is_active());
        assert_eq!(pool.lent_bytes(), hub.reserved_bytes());
        hub.join(&mut pool, DEFAULT_CHANNEL, conn(3), PLAIN, |_| {}).unwrap();
    }

    #[test]
    fn a_record_over_half_a_ring_in_any_dialect_is_refused_whole_whoever_reads() {
        let half = [b'x'; 512];
        // As Socket.IO clients get it: a frame's header, `42/a,["chat message","…"]`.
        let just_fits = Message::Text(&half[..512 - 4 - 24]);
        let (too_big, control) = (Message::Text(&half[..512 - 4 - 23]), [1; 81]);
        let escaped = |length| Message::Text(&control[..length]);
        for dialects in [
            &[PLAIN][..],
            &[Dialect::SocketIo3],
            &[Dialect::SocketIo4],
            &[PLAIN, Dialect::SocketIo4],
            &[PLAIN, Dialect::SocketIo3, Dialect::SocketIo4],
        ] {
            let mut pool = Pool::new(1 << 20);
            let mut hub = Hub::new(&limits(), HashKey([7; 16]));
            let mut id = None;
            for (number, dialect) in dialects.iter().enumerate() {
                let member = conn(number as u32);
                id = Some(hub.join(&mut pool, "a", member, *dialect, |_| {}).unwrap().channel);
            }
            let id = id.unwrap();
            let mut publish = |message: Message<'_>| hub.publish(&mut pool, id, &message);
            for refused in [too_big, escaped(81), Message::Binary(&half[..453])] {
                assert_eq!(publish(refused), Err(PublishError::TooBig), "{dialects:?}");
            }
            assert_eq!(publish(just_fits), Ok(()), "{dialects:?}");
            assert_eq!(publish(escaped(80)), Ok(()), "{dialects:?}");
            for dialect in dialects {
                assert_eq!(hub.feed(id, *dialect).mark().seq.0, 2);
            }
        }
    }

    #[test]
    fn channel_names() {
        for name in ["a", "default", "A-z_0.9", &"x".repeat(64)] {
            assert!(is_channel_name(name), "{name}");
        }
        for name in ["", "a b", "ä", "a/b", "a%20", &"x".repeat(65)] {
            assert!(!is_channel_name(name), "{name}");
        }
    }
}
