//! A membership: whoever is in a channel, a plain WebSocket, an event stream or a session, by what
//! all of them have of it.
//!
//! How far a member has read is not part of it: the connection that sends from the feed knows that,
//! or the session's space.
//!
//! The surprise: two counts are of 32 bits, since each idle connection has a membership. That of
//! messages said saturates; that of messages sent is a difference modulo 2^32.

use crate::feed::Mark;
use crate::id::ChannelId;

/// A member's place in a channel, and how much was said and heard there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The channel.
    pub channel: ChannelId,
    /// The index in the channel's list of members; the hub tells when it changes.
    pub index: u32,
    /// How many messages the member has published, at most `u32::MAX`.
    messages_in: u32,
    /// The feed's count of records when the membership began, modulo 2^32.
    joined: u32,
}

// An idle WebSocket has one.
const _: () = assert!(size_of::<Membership>() == 16);

impl Membership {
    /// A membership that begins at `mark` of the feed that the member reads: what is appended from
    /// there on is for it.
    pub fn new(channel: ChannelId, index: u32, mark: Mark) -> Membership {
        Membership { channel, index, messages_in: 0, joined: mark.seq.0 as u32 }
    }

    /// Counts a message that the member has published.
    pub fn count_published(&mut self) {
        self.messages_in = self.messages_in.saturating_add(1);
    }

    /// How many messages the member has published, at most `u32::MAX`.
    pub fn messages_in(self) -> u64 {
        u64::from(self.messages_in)
    }

    /// How many messages the member was sent by the time it has come to `cursor`, modulo 2^32.
    pub fn messages_out(self, cursor: Mark) -> u64 {
        u64::from((cursor.seq.0 as u32).wrapping_sub(self.joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Offset, Seq};

    fn mark(seq: u64) -> Mark {
        Mark { offset: Offset(9), seq: Seq(seq) }
    }

    #[test]
    fn what_was_said_and_heard_is_counted_across_the_wrap() {
        let from = u64::from(u32::MAX) - 1;
        let mut membership = Membership::new(ChannelId(3), 7, mark(from));
        assert_eq!((membership.messages_in(), membership.messages_out(mark(from))), (0, 0));
        membership.count_published();
        assert_eq!((membership.messages_in(), membership.messages_out(mark(from + 5))), (1, 5));
        membership.messages_in = u32::MAX;
        membership.count_published();
        assert_eq!(membership.messages_in(), u64::from(u32::MAX));
    }
}
