//! Every bound of the program, with its reason and what happens when it is reached.
//!
//! Constants are what nobody would want to set; [`Limits`] are the plain numbers that the operator
//! decides. The memory ceiling is computed here, from numbers alone. Relations between constants
//! are asserted at compile time; relations between flags are checked where the flags are read.

use crate::time::Duration;

/// Connections kept beyond `connections_max` for probes, pages and refusals, so that a full server
/// still tells its balancer that it is alive. When they are used up too, whoever has waited for
/// longest without anything under way gives way; if there is nobody, accepting pauses.
pub const CONNECTIONS_SPARE: usize = 64;

/// Connections of the health listener, which nobody else can take. A balancer asks from a few
/// nodes, each over a connection or two; beyond that the idlest gives way.
pub const CONNECTIONS_HEALTH: usize = 16;

/// Descriptors that are neither connections nor spare: standard streams, listeners, epoll, the
/// log's pipe and what it writes to, the signal pipe, and what a reload of `--www` opens.
pub const DESCRIPTORS_RESERVED: u64 = 32;

/// The most connections that `--max-connections` takes when it is left to us.
pub const CONNECTIONS_DEFAULT_MAX: u64 = 65_536;

/// User-space bytes of one connection while it is idle: its slot, its timer, its places in the
/// lists. Asserted against the real sizes in `server/mod.rs`.
pub const CONNECTION_BYTES: usize = 256;

/// What remembering one client address and what it holds takes in a table that doubles when it
/// grows. Asserted against the real sizes in `hub/shares.rs`.
pub const ADDRESS_BYTES: u64 = 59;

/// User-space bytes of one channel beside its feeds: itself, its names and its places in the lists.
/// Asserted against the real sizes in `hub/mod.rs`.
pub const CHANNEL_BYTES: u64 = 1024;

/// What the kernel keeps for a connection beside its buffers: socket, file, inode, epoll entry.
/// Measured as slab growth per loopback connection on Linux 6; not exact and not ours to bound.
pub const CONNECTION_KERNEL_BYTES: u64 = 4096;

/// How far a socket's buffer may be over its size: the kernel looks before it adds a segment, not
/// behind it, and what it adds may be 64 KiB and its bookkeeping. Seen on a full send buffer of
/// 128 KiB: 177 KiB; on a full receive buffer of 64 KiB: 126 KiB.
pub const SEGMENT_KERNEL_BYTES: u64 = 68 * 1024;

/// What does not vary: the program's own pages, its stack, the read buffer, the log's buffers,
/// events that wait to be written down, and the pool's reserve.
pub const BASE_BYTES: u64 = 8 * 1024 * 1024;

/// Part of [`BASE_BYTES`]: what events may take that wait to be written down. Beyond it they
/// reserve memory of the pool. A busy turn has some hundred, of 100 to 800 bytes each.
pub const EVENTS_BYTES: u64 = 256 * 1024;

/// The most that is set aside for what is needed briefly; see [`Limits::reserve_bytes`].
pub const RESERVE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Bytes of the one buffer that every read goes into. What a connection left unread before
/// (an unfinished head, the rest of a paused publisher) is put in front of what is read next, so
/// it must hold the largest such rest and still have room to make progress.
pub const READ_BUFFER_BYTES: usize = 128 * 1024;

/// Most bytes taken from a socket by one call, so that the rest after a pause stays small.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// Reads of one connection in a turn; then the others have theirs. The rest is resumed next turn.
pub const READS_PER_TURN: usize = 4;

/// Bytes of the first read of a connection that waits for a request or its PROXY header. A head is
/// seldom longer; what a pipeline brings behind it is kept, and copied once per request.
pub const READ_BYTES_OF_REQUESTS: usize = 4 * 1024;

/// Bytes of the first read of a publisher, beside what its unfinished message still wants. Each
/// further read of the turn takes twice as much, up to [`READ_BYTES_OF_PUBLISHERS_MAX`]. So whoever
/// sends nothing but the smallest frames has a small rest that is kept until its next turn.
pub const READ_BYTES_OF_PUBLISHERS: usize = 16 * 1024;

/// Bytes of any read of a publisher, beside what its unfinished message still wants.
pub const READ_BYTES_OF_PUBLISHERS_MAX: usize = 32 * 1024;

/// Bytes that publishers are read for in a turn, all together; then the rest of them waits for the
/// next: two of the largest messages. Requests are not counted: each is small, and strangers should
/// not wait for a flood.
pub const READ_BYTES_PER_TURN: usize = 128 * 1024;

/// Work that is done for one connection each time it is read, in units of one small packet: a
/// frame, a packet of a POST. In a turn a connection is read at most twice, when its bytes arrive
/// and once more in its place among those that wait, so its share of a turn is 64.
pub const UNITS_PER_READ: u32 = 32;

/// Units of work that all publishers together are read for in a turn: some 500 µs, since a packet
/// costs a quarter to half of one. Who has more to say waits for the next turn, in order.
pub const UNITS_PER_TURN: u32 = 1024;

/// Units that entering or leaving a channel costs: a ring may be mapped or unmapped, everybody
/// there is greeted, and two lines of the log are written.
pub const JOIN_UNITS: u32 = 16;

/// Bytes that count as one send more: copying so many costs about what a send does by itself.
pub const SEND_BYTES: usize = 32 * 1024;

/// Records that count as one send more when a poll's answer is made of them: each is measured and
/// copied by itself.
pub const SEND_RECORDS: usize = 256;

/// Sends of a flush pass between two polls. With 64 a pass over 10,000 readers polls 150 times,
/// which keeps a stranger's wait near the cost of 64 sends, and costs under 2 % of the pass.
pub const SENDS_PER_TURN: usize = 64;

/// Sends of a pass that are kept for connections with own bytes (answers, pongs) as long as one
/// waits, so that no broadcast and no crowd keeps a probe waiting.
pub const OWN_SENDS_MIN: usize = 16;
/// Sends of a pass that are kept for held polls as long as one may have something to be told.
pub const POLL_SENDS_MIN: usize = 12;
/// Sends of a pass that are kept for readers that can be written to again, or come back.
pub const RETURNING_SENDS_MIN: usize = 12;
/// Sends of a pass that are kept for sweeps, which bring messages to members, as long as one is
/// under way: no flood of requests can silence a room.
pub const SWEEP_SENDS_MIN: usize = 24;

/// Connections accepted in a turn; the rest waits in the backlog until the next.
pub const ACCEPTS_PER_TURN: usize = 64;

/// The listen backlog asked for; the kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// What a response head usually needs: status line, six fields, two of ours. A longer one, such as
/// a redirect to a long path, makes the buffer grow once.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 1024;

/// The dialects that a channel may have a feed in; see `id.rs`, where they have names.
pub const DIALECTS: u64 = 3;

/// Smallest piece of memory that the pool lends: a pong and the rest of another (2 × 127).
pub const BUFFER_BYTES_MIN: usize = 256;

/// Average record that a feed's index has room for: capacity / 64 entries.
pub const RECORD_BYTES_TYPICAL: usize = 64;

/// A byte of text takes at most so many in a Socket.IO record: a control character is `\u001f`.
pub const ESCAPED_BYTES_MAX: usize = 6;

/// What a record has at most beside what is said: headers of frames, the channel's name, types, and
/// the words of the event that a plain message becomes.
pub const RECORD_EXTRA_BYTES_MAX: usize = 320;

/// Largest name of a channel, in bytes.
pub const CHANNEL_NAME_BYTES_MAX: usize = 64;

/// Addresses of one `X-Forwarded-For` that are looked at, from its right end: proxies that stand
/// behind one another. The last of them is taken for the client if all are trusted.
pub const FORWARDED_MAX: usize = 16;

/// Bytes discarded after a final answer, so that unread input does not turn it into a reset.
pub const LINGER_BYTES_MAX: u32 = 64 * 1024;

/// A PROXY header must be whole by then. The specification asks for at least 3 s (one
/// retransmission).
pub const PROXY_LIMIT: Duration = Duration::from_secs(5);
/// A request head must be whole this long after its first byte.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A request body must be whole this long after its head.
pub const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Whoever has said something that waits to be taken in has so much longer for the rest, which may
/// stand behind that: looked at again after as long, it costs little.
pub const WAITED_LIMIT: Duration = Duration::from_secs(2);
/// A response that makes no progress for this long is cut.
pub const RESPONSE_LIMIT: Duration = Duration::from_secs(10);
/// A kept-alive connection is told with an answer that this was the last after so long …
pub const KEEP_ALIVE_AGE_MAX: Duration = Duration::from_secs(600);
/// … or after so many answers, so that nobody keeps a place by asking now and then.
pub const KEEP_ALIVE_REQUESTS_MAX: u16 = 10_000;
/// A kept-alive connection without a request is closed after this long.
pub const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(15);
/// The same behind an ALB, which reuses connections and would otherwise race with the close: more
/// than its idle timeout of 60 s.
pub const KEEP_ALIVE_ALB_LIMIT: Duration = Duration::from_secs(75);
/// From deciding to close to having sent the close frame.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// From having sent everything to dropping the socket, reading and discarding meanwhile.
pub const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// A message that has begun must go on within this …
pub const MESSAGE_STALL_LIMIT: Duration = Duration::from_secs(10);
/// … and be whole within this; 1008 otherwise.
pub const MESSAGE_LIMIT: Duration = Duration::from_secs(60);
/// A session of Engine.IO has so long to enter a namespace. The reference gives 45 s; a client
/// that means to stay enters with its first packet.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the publishers of a room whose readers do not read are held back, per half ring.
pub const GRACE_LIMIT: Duration = Duration::from_secs(1);
/// A client that polls asks again at once. While draining, sessions between two polls are waited
/// for until none has come for this long.
pub const POLL_GAP_LIMIT: Duration = Duration::from_secs(5);
/// How long a reload waits for those who are still being sent files from before the last one. Then
/// they are cut: nobody keeps the operator from changing the page.
pub const RELOAD_LIMIT: Duration = Duration::from_secs(5);
/// After the drain's end, when whatever is left is cut.
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
    /// refused with 503. `None`: a quarter of `connections_max`, but for proxies.
    pub connections_per_ip_max: Option<usize>,
    /// Channels with members at one time, `default` among them; one more is refused with 503.
    pub channels_max: usize,
    /// Payload of a message; more closes with 1009. `<= feed_bytes / 4`.
    pub message_bytes_max: u64,
    /// Size of a feed's ring, a power of two.
    pub feed_bytes: u64,
    /// Everything that varies with load: rings, partial messages, heads, bodies, out-buffers. At
    /// least [`Limits::default_channel_bytes`], which are set aside.
    pub memory_bytes: u64,
    /// `SO_SNDBUF` of each connection. The kernel doubles it for its own bookkeeping.
    pub send_buffer_bytes: u32,
    /// `SO_RCVBUF` of each connection. The kernel doubles it for its own bookkeeping.
    pub receive_buffer_bytes: u32,
    /// A connection that has sent nothing for this long is pinged.
    pub ping_interval: Duration,
    /// … and closed when nothing came back this long after the ping.
    pub ping_timeout: Duration,
    /// How long a drain spreads the closing of connections.
    pub drain: Duration,
}

impl Limits {
    /// Places in the table of connections: sessions, the spare ones, and the health listener's.
    pub fn slots(&self) -> usize {
        slots_for(self.connections_max)
    }

    /// Descriptors that this needs.
    pub fn descriptors(&self) -> u64 {
        descriptors_for(self.connections_max)
    }

    /// The index of one feed: a `u64` for each [`RECORD_BYTES_TYPICAL`] bytes of its ring.
    pub fn feed_index_bytes(feed_bytes: u64) -> u64 {
        feed_bytes / RECORD_BYTES_TYPICAL as u64 * 8
    }

    /// The longest record of a ring of `feed_bytes`: half of it, so that whoever has just begun to
    /// read the record before is not overtaken by it.
    pub const fn record_bytes_max(feed_bytes: u64) -> u64 {
        feed_bytes / 2
    }

    /// The longest text that is taken whatever is in it, however much Socket.IO's form escapes.
    pub fn any_text_bytes_max(&self) -> u64 {
        let room = Limits::record_bytes_max(self.feed_bytes) - RECORD_EXTRA_BYTES_MAX as u64;
        self.message_bytes_max.min(room / ESCAPED_BYTES_MAX as u64)
    }

    /// A ring of so many bytes with its index, which is what a feed takes of the pool.
    pub fn feed_cost_bytes(feed_bytes: u64) -> u64 {
        feed_bytes + Limits::feed_index_bytes(feed_bytes)
    }

    /// What the channel `default` needs with a feed in every dialect. So much of `--memory` is set
    /// aside for it and lent to nobody else: whoever names no channel must always find one.
    pub fn default_channel_bytes(feed_bytes: u64) -> u64 {
        DIALECTS * Limits::feed_cost_bytes(feed_bytes)
    }

    /// Sessions of one client address: at least one, however few there are in all.
    pub fn sessions_per_address_max(&self) -> usize {
        self.connections_per_ip_max.unwrap_or(quarter(self.connections_max))
    }

    /// Channels that one client address has brought into being, `default` not among them.
    pub fn channels_per_address_max(&self) -> usize {
        quarter(self.channels_max)
    }

    /// Feeds that one client address has brought into being, in any channel but `default`: what
    /// fits into a quarter of the memory that is not set aside for that.
    pub fn feeds_per_address_max(&self) -> usize {
        let set_aside = Limits::default_channel_bytes(self.feed_bytes);
        let bytes = self.memory_bytes.saturating_sub(set_aside) / 4;
        let feeds = bytes / Limits::feed_cost_bytes(self.feed_bytes);
        usize::try_from(feeds).unwrap_or(usize::MAX).max(1)
    }

    /// Sessions that have entered no namespace, all together; beyond that the oldest of them gives
    /// way to the next. Who only shakes hands must not keep others from being let in.
    pub fn unentered_max(&self) -> usize {
        (self.connections_max / 8).max(1)
    }

    /// Beside `--memory`: what answers, pings and records may take on their way out when strangers
    /// have used it up. It is part of [`BASE_BYTES`].
    pub fn reserve_bytes(memory_bytes: u64) -> u64 {
        (memory_bytes / 16).min(RESERVE_BYTES_MAX)
    }

    /// What memory adds up to at the worst.
    pub fn ceiling(&self) -> Ceiling {
        // Every session may come from another address, and so may every feed have done.
        let addresses = self.connections_max as u64 + DIALECTS * self.channels_max as u64;
        let tables_bytes = (self.slots() * CONNECTION_BYTES) as u64
            + self.channels_max as u64 * CHANNEL_BYTES
            + addresses * ADDRESS_BYTES;
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

/// Places in the table of connections that so many sessions need, with all that comes on top.
pub fn slots_for(connections_max: usize) -> usize {
    connections_max + CONNECTIONS_SPARE + CONNECTIONS_HEALTH
}

/// Descriptors that so many sessions need, with all that comes on top.
pub fn descriptors_for(connections_max: usize) -> u64 {
    slots_for(connections_max) as u64 + DESCRIPTORS_RESERVED
}

/// What one of many may hold of `all`.
fn quarter(all: usize) -> usize {
    (all / 4).max(1)
}

/// The memory that the limits add up to; printed by `elbow check` and at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ceiling {
    /// What does not vary.
    pub base_bytes: u64,
    /// `--memory`.
    pub memory_bytes: u64,
    /// Tables: [`CONNECTION_BYTES`] for each slot, [`CHANNEL_BYTES`] for each channel,
    /// [`ADDRESS_BYTES`] for each address that may hold anything.
    pub tables_bytes: u64,
    /// What the kernel may hold for one connection.
    pub kernel_connection_bytes: u64,
    /// … and for all of them.
    pub kernel_bytes: u64,
}

impl Ceiling {
    /// What the process itself may use: the bound of its resident memory.
    pub fn user_bytes(&self) -> u64 {
        self.base_bytes + self.memory_bytes + self.tables_bytes
    }

    /// With the kernel's share, when every socket buffer of every connection is full.
    pub fn total_bytes(&self) -> u64 {
        self.user_bytes() + self.kernel_bytes
    }
}
