//! A session's places in channels: its *spaces*, their rotation, and which of them lag.
//!
//! A session is a member of up to eight channels, and has a cursor in each of their feeds. A
//! session that polls keeps all cursors itself. A session on a WebSocket has lent the cursor of one
//! space, the *current*, to that connection's outbound half; the cursors that it keeps stand
//! between two records. When the WebSocket has sent everything of the current space, the next that
//! has something is sent.
//!
//! What a sweep finds is judged here, for plain WebSockets too ([`Visit`]); whoever drives the
//! sweep acts on it.
//!
//! The surprise: a reader is *choked* only while its socket is full, or while it is between two
//! polls. One that lags because another space is sent is not waited for.

use core::ops::{Deref, DerefMut};

use super::{Hub, Session, Transport};
use crate::feed::{Feed, Mark};
use crate::id::{ChannelId, ConnId, Dialect, Offset, Subject};
use crate::membership::Membership;
use crate::pool::Pool;
use crate::time::Instant;

/// The most namespaces that a session may be in.
pub const SPACES_MAX: usize = 8;

/// Bytes that the allocator takes beside those that were asked for.
pub(super) const OVERHEAD_BYTES: u64 = 16;

/// Bytes of a place in a channel's list of members, which doubles when it grows.
pub(super) const MEMBER_BYTES: u64 = 2 * size_of::<crate::id::Member>() as u64;

/// Bytes of the pool that a session reserves for all its spaces when it enters a second.
pub const MORE_SPACES_BYTES: u64 =
    SPACES_MAX as u64 * (size_of::<Space>() as u64 + MEMBER_BYTES) + OVERHEAD_BYTES;

/// A session's membership in a channel, and what else the session has there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// The channel, and the session's place in it.
    pub membership: Membership,
    /// The next byte to send in the channel's feed. For the current space of a WebSocket the
    /// connection knows it instead.
    pub cursor: Mark,
    /// When the session joined.
    pub opened_at: Instant,
    /// Whether what the client says there is published.
    pub may_speak: bool,
    /// Who the client is by the token that it has shown for this channel.
    pub subject: Option<Subject>,
    /// Whether the session is counted among the channel's choked members.
    pub choked: bool,
    /// Whether the client has left the namespace while a record is half sent.
    pub leaving: bool,
    /// Whether everything that a close waits for in this space was sent.
    pub finished: bool,
    /// What a close waits for in this space: everything before this offset of the feed.
    pub closes_at: Offset,
}

impl Space {
    /// The channel that the session is a member of.
    pub fn channel(&self) -> ChannelId {
        self.membership.channel
    }
}

/// The spaces of a session: a slice of at most [`SPACES_MAX`].
///
/// Most sessions have one, which is kept inline. With the second all of them move to memory of
/// their own, which is reserved in the pool; when only one is left, it moves back.
#[derive(Debug, Default)]
pub struct Spaces {
    storage: Storage,
    /// The number of the space whose cursor the session's WebSocket has, 0 while there is none.
    current: usize,
}

#[derive(Debug, Default)]
enum Storage {
    #[default]
    None,
    One(Space),
    /// Two spaces or more, with room for [`SPACES_MAX`].
    Many(Vec<Space>),
}

impl Spaces {
    /// Makes sure that [`Spaces::push`] will find room. `false` when there are [`SPACES_MAX`]
    /// already, or the pool is empty.
    #[must_use]
    pub fn make_room(&mut self, pool: &mut Pool) -> bool {
        match &self.storage {
            Storage::None => true,
            Storage::Many(spaces) => spaces.len() < SPACES_MAX,
            Storage::One(_) if !pool.reserve(MORE_SPACES_BYTES) => false,
            Storage::One(first) => {
                let mut spaces = Vec::with_capacity(SPACES_MAX);
                spaces.push(*first);
                self.storage = Storage::Many(spaces);
                true
            }
        }
    }

    /// Adds a space.
    ///
    /// # Panics
    /// Unless [`Spaces::make_room`] has made room for it.
    pub fn push(&mut self, space: Space) {
        match &mut self.storage {
            Storage::None => self.storage = Storage::One(space),
            Storage::One(_) => panic!("room is made for a second space"),
            Storage::Many(spaces) => {
                assert!(spaces.len() < SPACES_MAX);
                spaces.push(space);
            }
        }
    }

    /// Takes the space of this number away; the last space gets its number. Without the current
    /// space, the first is the current.
    ///
    /// # Panics
    /// If no space has the number.
    pub fn swap_remove(&mut self, pool: &mut Pool, number: usize) -> Space {
        if self.current == number {
            self.current = 0;
        } else if self.current == self.len() - 1 {
            self.current = number;
        }
        match &mut self.storage {
            Storage::Many(spaces) => {
                let space = spaces.swap_remove(number);
                self.settle(pool);
                space
            }
            Storage::One(space) if number == 0 => {
                let space = *space;
                self.storage = Storage::None;
                space
            }
            Storage::One(_) | Storage::None => panic!("no space has the number {number}"),
        }
    }

    /// The number of the space whose cursor the session's WebSocket has.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Begins with the first space: a WebSocket takes over, with the cursor of that.
    pub fn begin_rotation(&mut self) {
        self.current = 0;
    }

    /// The number of the space in `channel`; `None` if there is none.
    pub fn find(&self, channel: ChannelId) -> Option<usize> {
        self.iter().position(|space| space.channel() == channel)
    }

    /// Gives the room for further spaces back to the pool, if there is only one space.
    pub fn settle(&mut self, pool: &mut Pool) {
        if let Storage::Many(spaces) = &self.storage
            && let [only] = spaces[..]
        {
            self.storage = Storage::One(only);
            pool.release(MORE_SPACES_BYTES);
        }
    }

    /// Bytes that the spaces have reserved in the pool, beside those of the session itself.
    pub fn reserved_bytes(&self) -> u64 {
        match &self.storage {
            Storage::None | Storage::One(_) => 0,
            Storage::Many(_) => MORE_SPACES_BYTES,
        }
    }
}

impl Deref for Spaces {
    type Target = [Space];

    fn deref(&self) -> &[Space] {
        match &self.storage {
            Storage::None => &[],
            Storage::One(space) => core::slice::from_ref(space),
            Storage::Many(spaces) => spaces,
        }
    }
}

impl DerefMut for Spaces {
    fn deref_mut(&mut self) -> &mut [Space] {
        match &mut self.storage {
            Storage::None => &mut [],
            Storage::One(space) => core::slice::from_mut(space),
            Storage::Many(spaces) => spaces,
        }
    }
}

/// Where a WebSocket goes on sending for its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// The channel whose feed is next.
    pub channel: ChannelId,
    /// The dialect of the feed.
    pub dialect: Dialect,
    /// The first byte to send, which begins a record.
    pub cursor: Mark,
    /// Up to where the session is sent the feed now.
    pub head: Offset,
}

/// What there is to know of a connection whose turn in a sweep has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketState {
    /// Whether the connection is open for messages: no end was decided.
    pub is_open: bool,
    /// Whether the socket is full.
    pub is_blocked: bool,
    /// Whether the ring has overtaken the connection in the feed that it sends from.
    pub is_lapped: bool,
    /// Whether the reader is counted among the channel's choked members already.
    pub is_choked: bool,
    /// Where the connection stands in the feed that it sends from; `None` if there is none.
    pub cursor: Option<Mark>,
}

/// A session between two polls is as one whose socket is full.
const BETWEEN_POLLS: SocketState = SocketState {
    is_open: true,
    is_blocked: true,
    is_lapped: false,
    is_choked: false,
    cursor: None,
};

/// What is to be done for a reader that a sweep has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visit {
    /// Nothing: the reader has nothing to get, or has to wait and was counted.
    Nothing,
    /// The reader's connection sends.
    Send,
    /// The session's poll, which is held, can be answered.
    Answer,
    /// The reader is counted among the choked members of the channel.
    Choke,
    /// The ring has overtaken the reader's connection in the feed that this sends from.
    Lapped,
    /// The ring has overtaken the session in the channel that is visited, and from which no
    /// connection sends.
    Overtaken,
}

/// What a sweep does for a connection that sends from `feed`.
pub fn visit(feed: &Feed, socket: SocketState) -> Visit {
    if socket.is_lapped {
        Visit::Lapped
    } else if !socket.is_blocked {
        Visit::Send
    } else if socket.is_open
        && !socket.is_choked
        && socket.cursor.is_some_and(|cursor| chokes(feed, cursor))
    {
        Visit::Choke
    } else {
        Visit::Nothing
    }
}

/// Whether a reader at `cursor` that cannot be sent to counts as choked: it lags by more than half
/// of what the ring can hold. Nobody waits for one that is sent nothing of what comes now.
pub fn chokes(feed: &Feed, cursor: Mark) -> bool {
    !feed.is_parted_at(cursor.offset) && feed.lags_more_than(cursor, 2)
}

/// Whether a publisher whose socket is full has to read before it is heard: it lags by more than a
/// quarter of what the ring can hold.
pub fn must_read_first(feed: &Feed, cursor: Mark) -> bool {
    feed.lags_more_than(cursor, 4)
}

impl Session {
    /// What a sweep of `channel` does for the session; `socket` is the state of its WebSocket, if
    /// it is on one.
    pub fn visit(&self, hub: &Hub, channel: ChannelId, socket: Option<SocketState>) -> Visit {
        let Some(number) = self.spaces.find(channel) else { return Visit::Nothing };
        let space = &self.spaces[number];
        let feed = hub.feed(channel, self.dialect());
        let is_overtaken = feed.has_overtaken(space.cursor.offset);
        match (self.transport, socket) {
            (Transport::WebSocket(_), Some(socket)) if self.spaces.current == number => {
                visit(feed, SocketState { is_choked: space.choked, ..socket })
            }
            // It was told why already, and has nothing more to get from the others.
            (Transport::WebSocket(_), Some(socket)) if !socket.is_open => Visit::Nothing,
            (Transport::WebSocket(_), Some(_)) if is_overtaken => Visit::Overtaken,
            (Transport::WebSocket(_), Some(socket)) => {
                let (is_choked, cursor) = (space.choked, Some(space.cursor));
                visit(feed, SocketState { is_choked, cursor, ..socket })
            }
            (Transport::WebSocket(_), None) => Visit::Nothing,
            (Transport::Polling { held: Some(_), .. }, _) => Visit::Answer,
            (Transport::Polling { held: None, .. }, _) if is_overtaken => Visit::Overtaken,
            (Transport::Polling { held: None, .. }, _) => {
                let (is_choked, cursor) = (space.choked, Some(space.cursor));
                visit(feed, SocketState { is_choked, cursor, ..BETWEEN_POLLS })
            }
        }
    }

    /// The WebSocket that the session is on, if that sends for one channel, which is neither left
    /// nor choked: then sending is all that there is to do for it.
    pub fn sole_socket(&self) -> Option<ConnId> {
        match (self.transport, &*self.spaces) {
            (Transport::WebSocket(id), [only]) => (!only.leaving && !only.choked).then_some(id),
            (Transport::WebSocket(_) | Transport::Polling { .. }, _) => None,
        }
    }

    /// Counts a message that the session has published in `channel`. Returns whether it is a member
    /// there.
    pub fn count_published(&mut self, channel: ChannelId) -> bool {
        let number = self.spaces.find(channel);
        let space = number.map(|number| &mut self.spaces[number]);
        space.map(|space| space.membership.count_published()).is_some()
    }

    /// When the WebSocket has sent everything of the current space, up to `cursor`: gives that back
    /// and turns to the next space with something to send, going round. `None`, with nothing
    /// changed, if no other has anything.
    pub fn rotate(&mut self, hub: &Hub, cursor: Mark) -> Option<Rotation> {
        let (count, current) = (self.spaces.len(), self.spaces.current);
        let mut others = (1..count).map(|ahead| (current + ahead) % count);
        let next = others.find(|number| self.has_something(hub, *number))?;
        self.spaces[current].cursor = cursor;
        Some(self.rotate_to(hub, next))
    }

    /// When everything of the current space was sent, up to `cursor`, and a close frame waits for
    /// the other spaces: turns to one that was not finished. `None` if all are, so that the frame
    /// can go.
    pub fn rotate_before_close(&mut self, hub: &Hub, cursor: Option<Mark>) -> Option<Rotation> {
        let current = self.spaces.current;
        if let (Some(space), Some(cursor)) = (self.spaces.get_mut(current), cursor) {
            (space.cursor, space.finished) = (cursor, true);
        }
        let is_next = |number: &usize| {
            let space = &self.spaces[*number];
            self.has_something(hub, *number)
                && !space.finished
                && space.cursor.offset < space.closes_at
        };
        let next = (0..self.spaces.len()).find(is_next)?;
        let closes_at = self.spaces[next].closes_at;
        Some(Rotation { head: closes_at, ..self.rotate_to(hub, next) })
    }

    /// Notes that the session's WebSocket was told to close: of each space, what is there to be
    /// sent by now still is.
    pub(super) fn begin_close(&mut self, hub: &Hub) {
        let dialect = self.dialect();
        for number in 0..self.spaces.len() {
            let space = &mut self.spaces[number];
            let feed = hub.feed(space.channel(), dialect);
            space.closes_at = feed.reach(space.cursor.offset).offset;
        }
    }

    /// Whether a space has something to send and was not overtaken.
    fn has_something(&self, hub: &Hub, number: usize) -> bool {
        let space = &self.spaces[number];
        let feed = hub.feed(space.channel(), self.dialect());
        feed.owed_bytes(space.cursor.offset).is_some_and(|owed| owed > 0)
    }

    fn rotate_to(&mut self, hub: &Hub, next: usize) -> Rotation {
        self.spaces.current = next;
        let (channel, cursor) = (self.spaces[next].channel(), self.spaces[next].cursor);
        let dialect = self.dialect();
        let head = hub.feed(channel, dialect).reach(cursor.offset).offset;
        Rotation { channel, dialect, cursor, head }
    }

    /// The number of a space that the client has left, and that can be given up: not the one whose
    /// record the WebSocket is `inside` of.
    pub fn next_left(&self, inside: bool) -> Option<usize> {
        let current = self.spaces.current;
        let mut spaces = self.spaces.iter().enumerate();
        let is_over = |number: usize| !(inside && current == number);
        spaces.find(|(number, space)| space.leaving && is_over(*number)).map(|(number, _)| number)
    }

    /// Where the session stands in a space. Of the current one the WebSocket knows it: at `lent`.
    pub fn cursor(&self, number: usize, lent: Option<Mark>) -> Option<Mark> {
        match self.transport {
            Transport::WebSocket(_) if self.spaces.current == number => lent,
            Transport::WebSocket(_) | Transport::Polling { .. } => {
                self.spaces.get(number).map(|space| space.cursor)
            }
        }
    }
}

impl Hub {
    /// Counts a session among the choked members of `channel`.
    pub fn choke(&mut self, session: &mut Session, channel: ChannelId) {
        if let Some(number) = session.spaces.find(channel) {
            session.spaces[number].choked = true;
            self.channel_mut(channel).count_choked();
        }
    }

    /// Does not count a session among the choked members of `channel` any more, of which it is sent
    /// nothing. Publishers that need not wait any more go to `resume`.
    pub fn stop_waiting_for(
        &mut self,
        session: &mut Session,
        channel: ChannelId,
        resume: impl FnMut(ConnId),
    ) {
        if let Some(number) = session.spaces.find(channel)
            && core::mem::take(&mut session.spaces[number].choked)
        {
            self.channel_mut(channel).uncount_choked(resume);
        }
    }

    /// Counts the spaces of a session that do not lag any more as reading; its WebSocket stands at
    /// `lent` in the current one. Publishers that need not wait any more go to `resume`.
    pub fn recover(
        &mut self,
        session: &mut Session,
        lent: Option<Mark>,
        mut resume: impl FnMut(ConnId),
    ) {
        for number in 0..session.spaces.len() {
            let space = session.spaces[number];
            if !space.choked {
                continue;
            }
            let feed = self.feed(space.channel(), session.dialect());
            if !session.cursor(number, lent).is_some_and(|cursor| chokes(feed, cursor)) {
                session.spaces[number].choked = false;
                self.channel_mut(space.channel()).uncount_choked(&mut resume);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, join, world};
    use super::*;
    use crate::hub::{Holder, Message};
    use crate::id::Client;
    use crate::time::Duration;
    use crate::wire::engine::{SID_RANDOM_BYTES, Sid, Version};

    const DIALECT: Dialect = Dialect::SocketIo4;
    const SOCKET: Transport = Transport::WebSocket(ConnId { slot: 0, generation: 0 });
    const BETWEEN: Transport = Transport::Polling { held: None, posting: None };
    /// A connection that can be sent to.
    const READY: SocketState = SocketState { is_blocked: false, ..BETWEEN_POLLS };

    /// A hub with so many channels, and a session that is in all of them.
    struct World {
        pool: Pool,
        hub: Hub,
        session: Session,
    }

    impl World {
        fn new(transport: Transport, channels: usize) -> World {
            let (mut pool, mut hub) = world(100);
            let address = hub.shares().address([192, 0, 2, 1].into());
            let client = Client::new(([192, 0, 2, 1], 80).into());
            let account = (client, Holder { address, is_proxy: false });
            let (now, sid) = (Instant::from_millis(1), Sid::new([7; SID_RANDOM_BYTES]));
            let ping = Duration::from_secs(25);
            let mut session = Session::new(now, sid, Version::V4, account, transport, ping);
            for number in 0..channels {
                let name = ["a", "b", "default"][number];
                let joined = join(&mut pool, &mut hub, name, number as u32, DIALECT).unwrap();
                let membership = Membership::new(joined.channel, joined.index, joined.start.mark);
                assert!(session.spaces.make_room(&mut pool));
                session.spaces.push(Space {
                    membership,
                    cursor: joined.start.mark,
                    opened_at: now,
                    may_speak: true,
                    subject: None,
                    choked: false,
                    leaving: false,
                    finished: false,
                    closes_at: Offset::default(),
                });
            }
            World { pool, hub, session }
        }

        fn channel(&self, number: usize) -> ChannelId {
            self.session.spaces[number].channel()
        }

        /// Somebody says something in the channel of a space.
        fn say(&mut self, number: usize) {
            let channel = self.channel(number);
            self.hub.publish(&mut self.pool, NOW, channel, &Message::Text(&[b'x'; 200])).unwrap();
        }

        /// The head of a space's feed.
        fn head(&self, number: usize) -> Mark {
            self.hub.feed(self.channel(number), DIALECT).mark()
        }

        fn visit(&self, number: usize, socket: Option<SocketState>) -> Visit {
            self.session.visit(&self.hub, self.channel(number), socket)
        }
    }

    #[test]
    fn spaces_with_something_to_send_are_sent_in_rotation() {
        let mut world = World::new(SOCKET, 3);
        let begin = world.head(0);
        assert_eq!(world.session.rotate(&world.hub, begin), None, "nobody has anything");
        world.say(1);
        world.say(2);
        world.say(0);
        let mut sent = Vec::new();
        let mut cursor = world.head(0);
        while let Some(next) = world.session.rotate(&world.hub, cursor) {
            let number = world.session.spaces.current();
            assert_eq!(
                (next.channel, next.head),
                (world.channel(number), world.head(number).offset)
            );
            cursor = world.head(number);
            sent.push(number);
        }
        assert_eq!(sent, [1, 2]);
        assert_eq!(world.session.spaces[0].cursor, world.head(0), "what was lent was given back");
        // Before a close each is sent once more, with what it had when that was decided.
        world.say(0);
        world.say(2);
        world.session.begin_close(&world.hub);
        world.say(1);
        let next = world.session.rotate_before_close(&world.hub, Some(cursor));
        assert_eq!(next.map(|next| next.channel), Some(world.channel(0)));
        world.say(2);
        assert_eq!(world.session.rotate_before_close(&world.hub, Some(world.head(0))), None);
    }

    #[test]
    fn the_first_space_is_the_current_when_that_has_gone() {
        for (gone, current) in [(0, 1), (1, 0), (2, 1)] {
            let mut world = World::new(SOCKET, 3);
            let begin = world.head(0);
            world.say(1);
            world.session.rotate(&world.hub, begin).expect("the second has something");
            let lent = world.channel(1);
            world.session.spaces.swap_remove(&mut world.pool, gone);
            assert_eq!(world.session.spaces.current(), current, "without {gone}");
            if gone != 1 {
                assert_eq!(world.channel(current), lent);
            }
        }
        // The last space takes the number of the one that goes.
        let mut world = World::new(SOCKET, 3);
        let begin = world.head(0);
        world.say(2);
        world.session.rotate(&world.hub, begin).expect("the second has something");
        world.session.spaces.swap_remove(&mut world.pool, 0);
        assert_eq!(world.session.spaces.current(), 0);
    }

    #[test]
    fn a_visit_asks_for_what_the_transport_can_do() {
        let mut world = World::new(SOCKET, 2);
        let (here, full) = (Some(READY), Some(SocketState { is_blocked: true, ..READY }));
        assert_eq!((world.visit(0, here), world.visit(1, here)), (Visit::Send, Visit::Send));
        let closing = Some(SocketState { is_open: false, ..READY });
        assert_eq!(
            (world.visit(0, closing), world.visit(1, closing)),
            (Visit::Send, Visit::Nothing)
        );
        let lapped = Some(SocketState { is_lapped: true, ..READY });
        assert_eq!(
            (world.visit(0, lapped), world.visit(1, lapped)),
            (Visit::Lapped, Visit::Lapped)
        );
        assert_eq!(world.visit(1, full), Visit::Nothing);
        (0..3).for_each(|_| world.say(1));
        assert_eq!(world.visit(1, full), Visit::Choke);
        let channel = world.channel(1);
        world.hub.choke(&mut world.session, channel);
        assert_eq!(world.visit(1, full), Visit::Nothing, "it is counted once");
        (0..3).for_each(|_| world.say(1));
        assert_eq!(
            (world.visit(1, here), world.visit(1, full)),
            (Visit::Overtaken, Visit::Overtaken)
        );

        let mut world = World::new(BETWEEN, 1);
        (0..3).for_each(|_| world.say(0));
        assert_eq!(world.visit(0, None), Visit::Choke);
        let held = Some(ConnId { slot: 1, generation: 0 });
        world.session.transport = Transport::Polling { held, posting: None };
        assert_eq!(world.visit(0, None), Visit::Answer);
        (0..3).for_each(|_| world.say(0));
        world.session.transport = BETWEEN;
        assert_eq!(world.visit(0, None), Visit::Overtaken);
    }

    #[test]
    fn who_has_caught_up_counts_as_reading_again() {
        let mut world = World::new(SOCKET, 2);
        let channels = [world.channel(0), world.channel(1)];
        for (number, channel) in channels.into_iter().enumerate() {
            (0..3).for_each(|_| world.say(number));
            world.hub.choke(&mut world.session, channel);
        }
        let choked = |world: &World| [0, 1].map(|number| world.session.spaces[number].choked);
        // The connection knows where the session stands in the current space.
        let lent = Some(world.head(0));
        world.hub.recover(&mut world.session, lent, |_| {});
        assert_eq!(choked(&world), [false, true]);
        world.session.spaces[1].cursor = world.head(1);
        world.hub.recover(&mut world.session, lent, |_| {});
        assert_eq!(choked(&world), [false, false]);
        world.hub.check();
    }

    #[test]
    fn a_space_is_left_at_the_end_of_its_record() {
        let mut world = World::new(SOCKET, 2);
        assert_eq!(world.session.next_left(false), None);
        world.session.spaces[0].leaving = true;
        assert_eq!(
            (world.session.next_left(true), world.session.next_left(false)),
            (None, Some(0))
        );
        world.session.spaces[1].leaving = true;
        assert_eq!(world.session.next_left(true), Some(1));
    }
}
