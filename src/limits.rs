//! Every bound of the program, with its reason and what happens when it is reached.
//!
//! Constants are what nobody would want to set; [`Limits`] are the plain numbers that the operator
//! decides. The memory ceiling is computed here, from numbers alone. Relations between constants
//! are asserted at compile time; relations between flags are checked where the flags are read.

use crate::rate::Rate;
use crate::time::{Duration, Instant};

/// Connections beyond `connections_max`, kept for probes, pages and refusals, so that a full server
/// still tells its balancer that it is alive. When these are used up too, the connection that has
/// waited for longest with nothing under way gives way; if there is none, accepting pauses.
pub const CONNECTIONS_SPARE: usize = 64;

/// Connections of the health listener, which nobody else can take. A balancer asks from a few
/// nodes, each over a connection or two; for one more than that, the idlest gives way.
pub const CONNECTIONS_HEALTH: usize = 16;

/// Connections of the admin listener, if there is one, which nobody else can take: a pool of a
/// backend, a scraper, somebody who looks. For one more than that, the idlest gives way.
pub const CONNECTIONS_ADMIN: usize = 128;

/// Descriptors that no connection has: standard streams, listeners, epoll, the log's pipe and what
/// the log writes to, the signal pipe, the socket to systemd, and what a reload of `--www` opens.
pub const DESCRIPTORS_RESERVED: u64 = 32;

/// The most connections that `--max-connections` stands for when the operator leaves it to elbow.
pub const CONNECTIONS_DEFAULT_MAX: u64 = 65_536;

/// User-space bytes of one connection while it is idle: its slot, its timer, its places in the
/// lists. Asserted against the real sizes in `server/mod.rs`.
pub const CONNECTION_BYTES: usize = 256;

/// Bytes of what a channel keeps that a new feed is filled with: the newest. Filling takes 1 to 4
/// ms for these, which is about what a turn may take.
pub const FILL_BYTES_MAX: u64 = 1024 * 1024;

/// Messages of what a channel keeps that a new feed is filled with: the newest. Small messages cost
/// more than their bytes.
pub const FILL_MESSAGES_MAX: u64 = 4096;

/// Buckets in which it is counted how much of what is kept each client address was sent lately.
pub const REPLAY_BUCKETS: usize = 4096;

/// Bytes that remembering one client address takes, in a table that doubles when it grows. Asserted
/// against the real sizes in `hub/shares.rs`.
pub const ADDRESS_BYTES: u64 = 59;

/// User-space bytes of one channel beside its feeds: the channel, its names and its places in the
/// lists. Asserted against the real sizes in `hub/mod.rs`.
pub const CHANNEL_BYTES: u64 = 2048;

/// Bytes that the kernel keeps for a connection beside its buffers: socket, file, inode, epoll
/// entry. Measured as slab growth per loopback connection on Linux 6; neither exact nor ours to
/// bound.
pub const CONNECTION_KERNEL_BYTES: u64 = 4096;

/// Bytes by which a socket's buffer may exceed its size: the kernel compares before it adds a
/// segment, not after, and a segment may have 64 KiB and its bookkeeping. Seen on a full send
/// buffer of 128 KiB: 177 KiB; on a full receive buffer of 64 KiB: 126 KiB. What comes in while the
/// server is in a call on the socket is joined first and compared then: on a busy machine one of
/// some thousand receive buffers of 16 KiB was seen to hold 233 KiB, while all together held a
/// sixth of their shares.
pub const SEGMENT_KERNEL_BYTES: u64 = 68 * 1024;

/// Memory that does not vary with load: the program's own pages, its stack, the read buffer, the
/// log's buffers, events that wait to be logged, and the pool's reserve.
pub const BASE_BYTES: u64 = 8 * 1024 * 1024;

/// The part of [`BASE_BYTES`] for events that wait to be logged. Events beyond it reserve memory of
/// the pool. A busy turn has some hundred events, of 100 to 800 bytes each.
pub const EVENTS_BYTES: u64 = 256 * 1024;

/// The most bytes of the pool's reserve, for what is needed briefly; see [`Limits::reserve_bytes`].
pub const RESERVE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Bytes of the one buffer that every read goes into. What a connection left unread before (half a
/// head, the rest of a publisher that is held back) is put in front of what is read next, so the
/// buffer must hold the largest such rest and still have room to make progress.
pub const READ_BUFFER_BYTES: usize = 128 * 1024;

/// The most bytes taken from a socket by one call, so that what is left over of them stays small.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// The most reads of one connection in a turn. What is left in its socket is read in the next turn,
/// so that the others have theirs.
pub const READS_PER_TURN: usize = 4;

/// Bytes of the first read of a connection that waits for a request or its PROXY header. A head is
/// seldom longer; what a pipeline brings behind the head is kept, and copied once per request.
pub const READ_BYTES_OF_REQUESTS: usize = 4 * 1024;

/// Bytes of the first read of a publisher, beside what its unfinished message still wants. Each
/// further read of the turn takes twice as much, up to [`READ_BYTES_OF_PUBLISHERS_MAX`]. So a
/// publisher of nothing but the smallest frames leaves a small rest to be kept until its next turn.
pub const READ_BYTES_OF_PUBLISHERS: usize = 16 * 1024;

/// Bytes of the first read of a publisher for each thing that it may say at once, where that is
/// limited: most messages are shorter. Whoever always has more to say keeps so much of our memory,
/// and the rest waits in its socket.
pub const READ_BYTES_OF_A_MESSAGE: usize = 256;

/// The most bytes of any read of a publisher, beside what its unfinished message still wants.
pub const READ_BYTES_OF_PUBLISHERS_MAX: usize = 32 * 1024;

/// Bytes that are read from all publishers together in a turn: two of the largest messages.
/// Publishers that have more wait for the next turn. Requests are not counted: each is small, and
/// strangers should not wait for a flood.
pub const READ_BYTES_PER_TURN: usize = 128 * 1024;

/// Units of work that are done for one publisher each time it is read. A unit is a small packet: a
/// frame, a packet of a POST. In a turn a connection is read at most twice, when its bytes arrive
/// and once more when its place in the queue comes up, so its share of a turn is 64.
pub const UNITS_PER_READ: u32 = 32;

/// Units of work that are done for all publishers together in a turn: some 500 µs, since a small
/// packet costs a quarter to half of one. Publishers that have more wait for the next turn, in
/// order.
pub const UNITS_PER_TURN: u32 = 1024;

/// Units of work that are done for one publisher beyond its share when it is read, because there is
/// no memory to keep what it has said: a burst is not lost, and one flood does not use up what a
/// turn has for that, which is [`UNITS_PER_TURN`] beside those of the shares. It takes eight.
pub const FORCED_UNITS_PER_READ: u32 = UNITS_PER_TURN / 8;

/// Units of work that entering or leaving a channel counts as: a ring may be mapped or unmapped,
/// the members are greeted, and two lines of the log are written.
pub const JOIN_UNITS: u32 = 16;

/// Tries to check a token with a public key in a turn, all together. Each takes some 100 to 200 µs,
/// so four are about what a turn may take. Whoever finds none left waits.
pub const CHECKS_PER_TURN: u32 = 4;

/// Units of a try to check a token that comes in a message, so that publishers make as many in a
/// turn as leave one to those that wait to be let in.
pub const CHECK_UNITS: u32 = UNITS_PER_TURN.div_ceil(CHECKS_PER_TURN - 1);

/// Bytes that are read or made while a ring is filled for its first reader, for each unit of work
/// that counts as. What is kept is checked and encoded anew, which costs several times as much as
/// copying it.
pub const FILL_BYTES_PER_UNIT: u64 = 128;

/// Bytes of an answer that count as one more send: copying so many costs about what a send does by
/// itself.
pub const SEND_BYTES: usize = 32 * 1024;

/// Records in the answer to a poll that count as one more send: each is measured and copied by
/// itself.
pub const SEND_RECORDS: usize = 256;

/// Sends of a flush pass between two polls of the loop. With 64 a pass over 10,000 readers polls
/// 150 times, which keeps a stranger's wait near the cost of 64 sends, and costs under 2 % of the
/// pass.
pub const SENDS_PER_TURN: usize = 64;

/// Sends of a pass that are kept for connections with own bytes (answers, pongs) as long as such a
/// connection waits, so that no broadcast and no crowd keeps a probe waiting.
pub const OWN_SENDS_MIN: usize = 16;
/// Sends of a pass that are kept for held polls, as long as a held poll may have something to be
/// answered with.
pub const POLL_SENDS_MIN: usize = 12;
/// Sends of a pass that are kept for readers whose socket can be written to again, and for readers
/// that come back.
pub const RETURNING_SENDS_MIN: usize = 12;
/// Sends of a pass that are kept for sweeps, which bring messages to members, as long as a sweep is
/// under way: no flood of requests can silence a channel.
pub const SWEEP_SENDS_MIN: usize = 24;

/// The most channels of a server whose order of messages is decided by Redis: each request for what
/// is new names them all.
pub const CHANNELS_SHARED_MAX: usize = 1024;

/// The most bytes of an envelope beside its message: the channel's name, lengths, and the name of
/// an event that a backend has named in the request's target, each of whose bytes may be escaped.
/// Asserted against what these are in `server/backplane.rs`.
pub const ENVELOPE_EXTRA_BYTES: u64 = 2048;

/// Bytes of a backplane, beside what depends on the number of channels and on the largest message:
/// messages that wait, the buffers of both lines, the thread that resolves names, and 512 KiB for
/// encryption. Asserted against the real sizes in `server/backplane.rs`.
pub const BACKPLANE_BYTES: u64 = 2304 * 1024;

/// Bytes of a backplane for each channel: who has said how much lately, and the requests about it.
pub const BACKPLANE_CHANNEL_BYTES: u64 = 24 * 1024;

/// How many of the largest messages the buffers of a backplane hold.
const BACKPLANE_MESSAGES: u64 = 8;

/// The most connections accepted in a turn. Others wait in the kernel's backlog for the next.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Connections that the kernel is asked to keep until they are accepted; `net.core.somaxconn` may
/// cut that.
pub const BACKLOG: i32 = 4096;

/// Bytes that a response head usually needs: status line, six fields, two of ours. For a longer
/// one, such as a redirect to a long path, the buffer grows once.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 1024;

/// The number of dialects that a channel may have a feed in; `id.rs` has their names.
pub const DIALECTS: u64 = 5;

/// Bytes of the smallest buffer that the pool lends: a pong and the rest of another (2 × 127).
pub const BUFFER_BYTES_MIN: usize = 256;

/// Bytes of ring for which a feed's index has one entry: capacity / 64 entries in all.
pub const RECORD_BYTES_TYPICAL: usize = 64;

/// The most bytes that a byte of text takes in a Socket.IO record: a control character is `\u001f`.
pub const ESCAPED_BYTES_MAX: usize = 6;

/// The most bytes that a byte of text takes in any record: an event stream has each line in a field
/// of its own.
pub const TEXT_GROWTH_MAX: usize = 7;

/// The most bytes of a record beside the message: headers of frames, the channel's name, types, the
/// position, and the words of the event that a plain message becomes.
pub const RECORD_EXTRA_BYTES_MAX: usize = 448;

/// The most bytes of a channel's name.
pub const CHANNEL_NAME_BYTES_MAX: usize = 128;

/// Addresses of one `X-Forwarded-For` that are looked at, from its right end: proxies that stand
/// behind one another. If all of them are trusted, the leftmost of these is taken for the client.
pub const FORWARDED_MAX: usize = 16;

/// The most bytes discarded after a final answer; unread, they would turn it into a reset.
pub const LINGER_BYTES_MAX: u32 = 64 * 1024;

/// A PROXY header must be whole this long after the connection was accepted. The specification asks
/// for at least 3 s (one retransmission).
pub const PROXY_LIMIT: Duration = Duration::from_secs(5);
/// A request head must be whole this long after its first byte.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// The token of a request must have been checked this long after the request came, or it is
/// answered with 503.
pub const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// A request body must be whole this long after its head.
pub const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Whoever has said something that waits to be taken in has this long for the rest, which may stand
/// behind that. Looking again after as long costs little.
pub const WAITED_LIMIT: Duration = Duration::from_secs(2);
/// A backend whose message has no place in the order after this long is told to ask again: within
/// 3 s, as late as a deadline may be found.
pub const PLACE_LIMIT: Duration = Duration::from_millis(2_800);
/// A response that makes no progress for this long is cut.
pub const RESPONSE_LIMIT: Duration = Duration::from_secs(10);
/// A kept-alive connection of this age is told with its next answer that this was the last.
pub const KEEP_ALIVE_AGE_MAX: Duration = Duration::from_secs(600);
/// A kept-alive connection is told with this answer that it was the last, so that nobody keeps a
/// place by asking now and then.
pub const KEEP_ALIVE_REQUESTS_MAX: u16 = 10_000;
/// A kept-alive connection without a request is closed after this long.
pub const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(15);
/// A kept-alive connection without a request is closed after this long behind an ALB, which reuses
/// connections and would otherwise race with the close: more than an ALB's idle timeout of 60 s.
pub const KEEP_ALIVE_ALB_LIMIT: Duration = Duration::from_secs(75);
/// A close frame must have been sent this long after the close was decided; then the connection is
/// cut.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The client of an event stream that was ended comes back after this long at least.
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// The clients of event streams that end come back spread over at least this long.
pub const RETRY_SPREAD_MIN: Duration = Duration::from_secs(4);
/// The clients of event streams that end come back spread over at most this long.
pub const RETRY_SPREAD_MAX: Duration = Duration::from_secs(60);
/// Clients of event streams that are to come back in a second, if all have been sent away.
pub const RETURNS_PER_S: u64 = 1_000;
/// The socket is dropped this long after everything was sent; until then input is discarded.
pub const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// A message that has begun is given up with 1008 when none of it comes for this long.
pub const MESSAGE_STALL_LIMIT: Duration = Duration::from_secs(10);
/// A message must be whole this long after it began; otherwise it is given up with 1008.
pub const MESSAGE_LIMIT: Duration = Duration::from_secs(60);
/// An Engine.IO session must have entered a namespace this long after it began. The reference gives
/// 45 s; a client that means to stay enters with its first packet.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A newcomer waits so long for a channel whose order is decided elsewhere until it is known where
/// the channel begins; then it is refused.
pub const OPENING_LIMIT: Duration = Duration::from_secs(1);
/// A channel that could not be opened in [`OPENING_LIMIT`] is still opened, and stays for this long
/// after the last newcomer was refused: whoever comes again finds what has been read by then.
pub const LATE_OPENING_LIMIT: Duration = Duration::from_secs(30);
/// How long the publishers of a channel whose readers do not read are held back, for each half ring
/// that is appended.
pub const GRACE_LIMIT: Duration = Duration::from_secs(1);
/// While draining, sessions between two polls are waited for until no poll has come for this long.
/// A client that polls asks again at once.
pub const POLL_GAP_LIMIT: Duration = Duration::from_secs(5);
/// How long a reload waits for responses with files from before the last reload. Then these are
/// cut: nobody keeps the operator from changing the page.
pub const RELOAD_LIMIT: Duration = Duration::from_secs(5);
/// Whatever is left this long after the end of a drain is cut.
pub const DRAIN_CUT_LIMIT: Duration = Duration::from_secs(3);

const _: () = {
    assert!(READ_BUFFER_BYTES >= READ_BYTES_MAX + 64 * 1024);
    assert!(READ_BYTES_PER_TURN >= READ_BYTES_MAX);
    assert!(READ_BYTES_OF_PUBLISHERS_MAX <= READ_BYTES_MAX);
    assert!(JOIN_UNITS <= UNITS_PER_READ && UNITS_PER_READ <= UNITS_PER_TURN);
    assert!(
        OWN_SENDS_MIN + POLL_SENDS_MIN + RETURNING_SENDS_MIN + SWEEP_SENDS_MIN == SENDS_PER_TURN,
        "a pass is divided among those that want it"
    );
    assert!(BUFFER_BYTES_MIN >= 2 * 127, "the rest of one control frame and the next");
    assert!(BUFFER_BYTES_MIN.is_power_of_two());
    assert!(RESERVE_BYTES_MAX * 2 <= BASE_BYTES);
    assert!(KEEP_ALIVE_ALB_LIMIT.as_millis() > 60_000);
    assert!(PROXY_LIMIT.as_millis() >= 3000);
};

/// The numbers that the operator decides, already consistent with each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// WebSocket and Socket.IO sessions; one more is refused with 503.
    pub connections_max: usize,
    /// Sessions of one client address, which is a network of 64 bits if it is IPv6; one more is
    /// refused with 503. `None`: a quarter of `connections_max`, and proxies have no such limit.
    pub connections_per_ip_max: Option<usize>,
    /// Connections of the admin listener: [`CONNECTIONS_ADMIN`], or 0 where there is none. For one
    /// more, the idlest gives way.
    pub admin_connections_max: usize,
    /// Channels that have members or keep something at one time, `default` among them; one more is
    /// refused with 503.
    pub channels_max: usize,
    /// The most bytes of a message's payload; more closes with 1009. `<= feed_bytes / 4`.
    pub message_bytes_max: u64,
    /// Bytes of a feed's ring, a power of two.
    pub feed_bytes: u64,
    /// Bytes for everything that varies with load: rings, partial messages, heads, bodies, own
    /// bytes. At least [`Limits::default_channel_bytes`], which are set aside.
    pub memory_bytes: u64,
    /// `SO_SNDBUF` of each connection. The kernel doubles it for its own bookkeeping.
    pub send_buffer_bytes: u32,
    /// `SO_RCVBUF` of each connection. The kernel doubles it for its own bookkeeping.
    pub receive_buffer_bytes: u32,
    /// A connection that has sent nothing for this long is pinged.
    pub ping_interval: Duration,
    /// A connection is closed when nothing came back for this long after a ping.
    pub ping_timeout: Duration,
    /// How long a drain spreads the closing of connections.
    pub drain: Duration,
    /// What each channel keeps for those who come back; `None`: nothing.
    pub history: Option<History>,
    /// Whether the order of messages is decided by Redis, which takes memory of its own.
    pub shared: bool,
    /// How often a connection or a session may say something; who has said as much is not read
    /// until it may go on. `None`: as often as it likes.
    pub message_rate: Option<Rate>,
    /// How long a WebSocket, an event stream or a session may last, a tenth more or less; then it
    /// is closed with 1001. `None`: as long as it likes.
    pub lifetime: Option<Duration>,
}

/// How much of what was said a channel keeps, within one ring's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// The newest messages that are kept, at least one.
    pub messages_max: u64,
    /// An older message is dropped, and a channel without members with its last.
    pub age: Duration,
}

impl Limits {
    /// Places in the table of connections: for sessions, the spare ones, the health listener's and
    /// the admin listener's.
    pub fn slots(&self) -> usize {
        slots_for(self.connections_max, self.admin_connections_max)
    }

    /// Descriptors that a server with these limits needs.
    pub fn descriptors(&self) -> u64 {
        descriptors_for(self.connections_max, self.admin_connections_max)
    }

    /// How many records a feed with a ring of `feed_bytes` has room for in its index.
    pub fn feed_records(feed_bytes: u64) -> u64 {
        feed_bytes / RECORD_BYTES_TYPICAL as u64
    }

    /// The most bytes of a record in a ring of `feed_bytes`: half of it, so that appending a record
    /// never overtakes a reader that has just begun the one before.
    pub const fn record_bytes_max(feed_bytes: u64) -> u64 {
        feed_bytes / 2
    }

    /// The most bytes of a text that is taken whatever characters it has, however much longer it
    /// becomes for Socket.IO or in an event stream.
    pub fn any_text_bytes_max(&self) -> u64 {
        let room = Limits::record_bytes_max(self.feed_bytes) - RECORD_EXTRA_BYTES_MAX as u64;
        self.message_bytes_max.min(room / TEXT_GROWTH_MAX as u64)
    }

    /// Bytes that a feed with a ring of `feed_bytes` takes of the pool: the ring and its index,
    /// which has a `u64` for each record, and one more where history is kept. The log of what a
    /// channel keeps takes as much.
    pub fn feed_cost_bytes(feed_bytes: u64, history: Option<History>) -> u64 {
        let entry_bytes = if history.is_some() { 16 } else { 8 };
        feed_bytes + Limits::feed_records(feed_bytes) * entry_bytes
    }

    /// Bytes that the channel `default` needs with a feed in every dialect, and a log if history is
    /// kept. So much of `--memory` is set aside for it and lent to nobody else: whoever names no
    /// channel must always find one.
    pub fn default_channel_bytes(feed_bytes: u64, history: Option<History>) -> u64 {
        let rings = DIALECTS + u64::from(history.is_some());
        rings * Limits::feed_cost_bytes(feed_bytes, history)
    }

    /// The most sessions of one client address: at least one, however few there are in all.
    pub fn sessions_per_address_max(&self) -> usize {
        self.connections_per_ip_max.unwrap_or(quarter(self.connections_max))
    }

    /// The most channels that one client address has brought into being, not counting `default`.
    pub fn channels_per_address_max(&self) -> usize {
        quarter(self.channels_max)
    }

    /// The most feeds and logs that one client address has brought into being, not counting those
    /// of `default`: what fits into a quarter of the memory that is not set aside for `default`. At
    /// least what one channel with one reader has.
    pub fn feeds_per_address_max(&self) -> usize {
        let set_aside = Limits::default_channel_bytes(self.feed_bytes, self.history);
        let bytes = self.memory_bytes.saturating_sub(set_aside) / 4;
        let feeds = bytes / Limits::feed_cost_bytes(self.feed_bytes, self.history);
        let least = 1 + usize::from(self.history.is_some());
        usize::try_from(feeds).unwrap_or(usize::MAX).max(least)
    }

    /// The most sessions in all that have entered no namespace. For one more, the oldest of them
    /// gives way: whoever only shakes hands must not keep others out.
    pub fn unentered_max(&self) -> usize {
        (self.connections_max / 8).max(1)
    }

    /// Bytes beside `--memory` that answers, pings and records may take on their way out when
    /// strangers have used `--memory` up. They are part of [`BASE_BYTES`].
    pub fn reserve_bytes(memory_bytes: u64) -> u64 {
        (memory_bytes / 16).min(RESERVE_BYTES_MAX)
    }

    /// Bytes of the tables and buffers between the server and Redis; none where there is no Redis.
    pub fn backplane_bytes(&self) -> u64 {
        if !self.shared {
            return 0;
        }
        BACKPLANE_BYTES
            + BACKPLANE_MESSAGES * (self.message_bytes_max + ENVELOPE_EXTRA_BYTES)
            + self.channels_max as u64 * BACKPLANE_CHANNEL_BYTES
    }

    /// The memory that these limits add up to at the worst.
    pub fn ceiling(&self) -> Ceiling {
        // Every session may come from another address, and so may every feed have done.
        let brought = 1 + DIALECTS + u64::from(self.history.is_some());
        let addresses = self.connections_max as u64 + brought * self.channels_max as u64;
        let tables_bytes = (self.slots() * CONNECTION_BYTES) as u64
            + self.channels_max as u64 * CHANNEL_BYTES
            + addresses * ADDRESS_BYTES
            + self.backplane_bytes()
            + self.history.map_or(0, |_| REPLAY_BUCKETS as u64 * size_of::<Instant>() as u64);
        let kernel_connection_bytes = CONNECTION_KERNEL_BYTES
            + 2 * (u64::from(self.send_buffer_bytes) + u64::from(self.receive_buffer_bytes))
            + 2 * SEGMENT_KERNEL_BYTES;
        Ceiling {
            base_bytes: BASE_BYTES,
            memory_bytes: self.memory_bytes,
            tables_bytes,
            kernel_connection_bytes,
            kernel_bytes: kernel_connection_bytes * self.slots() as u64,
        }
    }
}

/// Places in the table of connections for so many sessions and so many connections of the admin
/// listener, the spare ones, and the health listener's.
pub fn slots_for(connections_max: usize, admin_connections_max: usize) -> usize {
    connections_max + CONNECTIONS_SPARE + CONNECTIONS_HEALTH + admin_connections_max
}

/// Descriptors for so many sessions and so many connections of the admin listener, the spare
/// places, the health listener's, and the reserved ones.
pub fn descriptors_for(connections_max: usize, admin_connections_max: usize) -> u64 {
    slots_for(connections_max, admin_connections_max) as u64 + DESCRIPTORS_RESERVED
}

/// A quarter of `all`, at least one: what one client address may hold.
fn quarter(all: usize) -> usize {
    (all / 4).max(1)
}

/// The memory that the limits add up to at the worst; printed by `elbow check` and at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ceiling {
    /// Memory that does not vary with load: [`BASE_BYTES`].
    pub base_bytes: u64,
    /// `--memory`.
    pub memory_bytes: u64,
    /// Tables: [`CONNECTION_BYTES`] for each slot, [`CHANNEL_BYTES`] for each channel,
    /// [`ADDRESS_BYTES`] for each address that may hold anything, a word for each of
    /// [`REPLAY_BUCKETS`] if anything is kept, and what lies between the server and Redis.
    pub tables_bytes: u64,
    /// Bytes that the kernel may hold for one connection.
    pub kernel_connection_bytes: u64,
    /// Bytes that the kernel may hold for all connections.
    pub kernel_bytes: u64,
}

impl Ceiling {
    /// Bytes that the process itself may use: the bound of its resident memory.
    pub fn user_bytes(&self) -> u64 {
        self.base_bytes + self.memory_bytes + self.tables_bytes
    }

    /// Bytes that process and kernel may use, when every socket buffer of every connection is full.
    pub fn total_bytes(&self) -> u64 {
        self.user_bytes() + self.kernel_bytes
    }
}
