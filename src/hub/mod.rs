//! Floor 4: channels and what is published in them.
//!
//! Publishing encodes a message once, as the finished frame that every member's socket gets, and
//! appends it to the channel's feed. Nothing is queued for anybody: the flush pass, which the
//! server drives, visits the members and lets each send from its own place. The hub knows members
//! only by their number and never touches a connection.

mod channel;

use std::collections::{HashMap, VecDeque};

use siphasher::sip::SipHasher13;
use slab::Slab;

pub use channel::Channel;

use crate::feed::{Feed, Mark};
use crate::id::{ChannelId, ConnId};
use crate::limits::{CHANNEL_NAME_BYTES_MAX, Limits};
use crate::pool::Pool;
use crate::time::Instant;
use crate::wire::ws::{self, Kind};

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

/// The message's record would take more than half a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooBig;

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
    pub slot: u32,
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
        }
    }

    /// Makes `slot` a member of `name`, which is made if nobody was there.
    pub fn join(&mut self, pool: &mut Pool, name: &str, slot: u32) -> Result<Joined, JoinError> {
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => self.open(pool, name)?,
        };
        let channel = &mut self.channels[id.0 as usize];
        let position = channel.join(slot);
        Ok(Joined { channel: id, position, mark: channel.feed().mark() })
    }

    /// Whether [`Hub::join`] would find the channel or room for it.
    pub fn can_join(&self, pool: &Pool, name: &str) -> Result<(), JoinError> {
        if self.names.contains_key(name) {
            return Ok(());
        }
        let others = self.names.len() - usize::from(self.names.contains_key(DEFAULT_CHANNEL));
        if name != DEFAULT_CHANNEL && others + 1 >= self.channels_max {
            return Err(JoinError::TooManyChannels);
        }
        if pool.lent_bytes() + self.channel_bytes() > pool.limit_bytes() {
            return Err(JoinError::NoMemory);
        }
        Ok(())
    }

    /// Takes the member at `position` away; the channel goes with its last one.
    pub fn leave(&mut self, pool: &mut Pool, id: ChannelId, position: u32) -> Option<Moved> {
        let channel = &mut self.channels[id.0 as usize];
        let moved = channel.leave(position);
        if channel.is_empty() {
            let channel = self.channels.remove(id.0 as usize);
            self.names.remove(channel.name());
            self.active.retain(|active| *active != id);
            pool.release(self.channel_bytes());
        }
        moved
    }

    /// Appends a message: from now on every member will send it. Copies the payload once.
    pub fn publish(&mut self, id: ChannelId, kind: Kind, payload: &[u8]) -> Result<(), TooBig> {
        let channel = &mut self.channels[id.0 as usize];
        let mut header = [0; ws::HEADER_BYTES_MAX];
        let length = ws::header(kind, payload.len(), &mut header);
        if !channel.feed().fits(length + payload.len()) {
            return Err(TooBig);
        }
        if channel.append(&[&header[..length], payload]) {
            self.active.push_back(id);
        }
        Ok(())
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

    /// A channel's feed.
    pub fn feed(&self, id: ChannelId) -> &Feed {
        self.channels[id.0 as usize].feed()
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
        self.channels.len() as u64 * self.channel_bytes()
    }

    /// Asserts what must hold; for the server's check.
    pub fn check(&self) {
        assert_eq!(self.names.len(), self.channels.len());
        for (_, channel) in &self.channels {
            channel.check();
        }
    }

    fn open(&mut self, pool: &mut Pool, name: &str) -> Result<ChannelId, JoinError> {
        self.can_join(pool, name)?;
        if !pool.reserve(self.channel_bytes()) {
            return Err(JoinError::NoMemory);
        }
        let channel = Channel::new(name, self.feed_bytes as usize);
        let id = ChannelId(self.channels.insert(channel) as u32);
        self.names.insert(name.into(), id);
        Ok(id)
    }

    /// What one channel takes of the pool: its ring and its index.
    fn channel_bytes(&self) -> u64 {
        self.feed_bytes + Limits::feed_index_bytes(self.feed_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn the_default_channel_always_has_its_place() {
        let mut pool = Pool::new(1 << 20);
        let mut hub = Hub::new(&limits(), HashKey([7; 16]));
        let first = hub.join(&mut pool, "a", 0).unwrap();
        hub.join(&mut pool, "b", 1).unwrap();
        assert_eq!(hub.join(&mut pool, "c", 2), Err(JoinError::TooManyChannels));
        hub.join(&mut pool, DEFAULT_CHANNEL, 3).unwrap();
        assert_eq!(hub.join(&mut pool, "c", 4), Err(JoinError::TooManyChannels));
        hub.leave(&mut pool, first.channel, first.position);
        hub.join(&mut pool, "c", 5).unwrap();
        hub.check();
    }

    #[test]
    fn a_channel_goes_with_its_last_member_and_its_memory_too() {
        let mut pool = Pool::new(3000);
        let mut hub = Hub::new(&limits(), HashKey([7; 16]));
        let one = hub.join(&mut pool, "a", 0).unwrap();
        let two = hub.join(&mut pool, "a", 1).unwrap();
        assert_eq!(one.channel, two.channel);
        hub.publish(one.channel, Kind::Text, b"to be forgotten").unwrap();
        hub.join(&mut pool, "b", 2).unwrap();
        assert_eq!(hub.join(&mut pool, DEFAULT_CHANNEL, 3), Err(JoinError::NoMemory));
        assert_eq!(
            hub.leave(&mut pool, one.channel, one.position),
            Some(Moved { slot: 1, position: 0 })
        );
        assert_eq!(hub.leave(&mut pool, one.channel, 0), None);
        assert!(!hub.is_active());
        assert_eq!(pool.lent_bytes(), hub.reserved_bytes());
        hub.join(&mut pool, DEFAULT_CHANNEL, 3).unwrap();
    }

    #[test]
    fn a_record_over_half_a_ring_is_refused_whole() {
        let mut pool = Pool::new(1 << 20);
        let mut hub = Hub::new(&limits(), HashKey([7; 16]));
        let joined = hub.join(&mut pool, "a", 0).unwrap();
        assert_eq!(hub.publish(joined.channel, Kind::Binary, &[0; 509]), Err(TooBig));
        assert_eq!(hub.feed(joined.channel).mark(), joined.mark);
        hub.publish(joined.channel, Kind::Binary, &[0; 508]).unwrap();
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
