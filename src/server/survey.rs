//! A look at everything that goes on, for whoever watches: portion by portion, so that no turn is
//! held up by it.
//!
//! What is counted anyway is copied when the look is over. What is not, above all how far each
//! reader is behind, is found by going through the channels and their members, at most
//! [`LOOKS_PER_TURN`] in a turn. Whoever comes, goes or moves meanwhile may be missed or looked at
//! twice; what is told of a moment is true to within the turns that the look took.
//!
//! The surprise: nobody is compared with everybody to find out whether all come from one address.
//! A vote finds the only one that can have the majority, in one pass and two words (Boyer and
//! Moore's), and how many more votes it has than all others together.

use core::net::IpAddr;

use super::{Server, Socket};
use crate::hub::{Channel, Log, Transport};
use crate::id::{ChannelId, Dialect, Member, Reader};
use crate::limits::{BASE_BYTES, CHANNEL_NAME_BYTES_MAX, Limits};
use crate::metrics::{
    self, CHANNELS_SHOWN, ChannelView, Connections, Kind, Lags, Memory, Metrics, Snapshot,
};
use crate::outbound::Source;
use crate::position::POSITION_BYTES_MAX;
use crate::time::{Duration, Instant, Now};

/// Members and channels that are looked at in a turn, together: some 500 µs at 10,000 members,
/// whose connections lie far apart in memory.
pub const LOOKS_PER_TURN: usize = 4096;

/// Places of channels that nobody has, of which so many are passed over for one look.
const EMPTY_PER_LOOK: usize = 16;

/// How much of the past is compared with: after so long, what was counted by then becomes the past.
const PAST: Duration = Duration::from_secs(300);

/// Bytes of one channel that is shown, with its texts.
const VIEW_BYTES: usize = size_of::<ChannelView>() + CHANNEL_NAME_BYTES_MAX + POSITION_BYTES_MAX;

// A snapshot, with places for the channels that are shown and those that are to be filled in again,
// and what had been counted before are part of the program's own memory.
const _: () = assert!(
    size_of::<Made>() + 2 * CHANNELS_SHOWN * VIEW_BYTES + size_of::<Past>()
        < BASE_BYTES as usize / 32
);

/// Which address has the most members, if more than half are of one.
#[derive(Clone, Copy, Debug, Default)]
struct Vote {
    address: Option<IpAddr>,
    /// By how many votes the address is ahead.
    ahead: u64,
    votes: u64,
}

impl Vote {
    fn cast(&mut self, address: IpAddr) {
        self.votes += 1;
        if self.address == Some(address) {
            self.ahead += 1;
        } else if self.ahead == 0 {
            (self.address, self.ahead) = (Some(address), 1);
        } else {
            self.ahead -= 1;
        }
    }

    /// How many votes are at least those of the one that is ahead, if that is most.
    fn least(&self) -> u64 {
        // Whoever has `m` of `n` votes ends with at most `m`, and at least `m - (n - m)`.
        self.ahead
    }
}

/// What was counted some minutes ago.
#[derive(Debug)]
pub(super) struct Past {
    /// 5 to 10 minutes ago, while anything happens.
    older: Metrics,
    newer: Metrics,
    /// When what has been counted becomes the past.
    next: Instant,
}

/// The look that is under way, and the last that is over.
#[derive(Debug)]
pub(super) struct Survey {
    started: Now,
    past: Box<Past>,
    made: Option<Box<Made>>,
}

/// What looks are made of, once somebody has asked for the first.
#[derive(Debug)]
struct Made {
    /// The look that is under way; the last one otherwise.
    snapshot: Snapshot,
    /// The place of the channel whose turn it is.
    place: usize,
    /// The member of that channel whose turn it is.
    member: usize,
    /// How far the members of that channel are behind.
    lags: Lags,
    vote: Vote,
    /// Views of channels that are to be filled in again.
    spare: Vec<ChannelView>,
    is_under_way: bool,
}

impl Survey {
    pub(super) fn new(now: Now) -> Survey {
        let (older, newer) = (Metrics::default(), Metrics::default());
        let past = Past { older, newer, next: now.mono.plus(PAST) };
        Survey { started: now, past: Box::new(past), made: None }
    }

    /// Forgets a survey that is under way: whoever has asked for it has gone.
    pub(super) fn start_over(&mut self) {
        if let Some(made) = &mut self.made {
            made.is_under_way = false;
        }
    }

    /// The snapshot of the last survey; `None` while one is under way, and before the first.
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        let made = self.made.as_ref().filter(|made| !made.is_under_way);
        made.map(|made| &made.snapshot)
    }

    /// Lets time go by for what is compared with.
    pub(super) fn keep_past(&mut self, now: Instant, metrics: &Metrics) {
        if now >= self.past.next {
            let past = &mut *self.past;
            core::mem::swap(&mut past.older, &mut past.newer);
            past.newer.clone_from(metrics);
            past.next = now.plus(PAST);
        }
    }
}

impl<S: Socket> Server<S> {
    /// Begins a look at everything, or goes on with the one that is under way. The snapshot when
    /// that is over: then the next call begins another. Whoever asks adds what the system says of
    /// the process.
    ///
    /// Bounded work: [`LOOKS_PER_TURN`] looks; when it is over, also a look at each channel. What
    /// is kept in a channel and too old by now is dropped, which somebody has to do once.
    /// Allocates for the first look alone.
    pub fn survey(&mut self, now: Now) -> Option<&mut Snapshot> {
        let mut made = self.survey.made.take().unwrap_or_else(|| Made::new(&self.settings.limits));
        if !made.is_under_way {
            made.begin();
        }
        let is_over = self.look_around(now, &mut made);
        if is_over {
            made.is_under_way = false;
            self.complete(now, &mut made);
        }
        let made = self.survey.made.insert(made);
        is_over.then_some(&mut made.snapshot)
    }

    /// Goes through channels and members. Whether all were looked at.
    fn look_around(&mut self, now: Now, made: &mut Made) -> bool {
        let mut left = LOOKS_PER_TURN * EMPTY_PER_LOOK;
        while made.place < self.hub.places() {
            left = left.saturating_sub(1);
            let id = ChannelId(made.place as u32);
            if !self.hub.is_gone(id) {
                left = left.saturating_sub(EMPTY_PER_LOOK);
                let channel = self.hub.channel(id);
                for member in channel.members().iter().skip(made.member) {
                    if left < EMPTY_PER_LOOK {
                        return false;
                    }
                    left -= EMPTY_PER_LOOK;
                    made.member += 1;
                    self.look_at(*member, id, made);
                }
                left = left.saturating_sub(self.hub.expire_log(id, now.mono) as usize);
                made.finish_channel(self.hub.channel(id));
            }
            (made.place, made.member, made.lags) = (made.place + 1, 0, Lags::default());
            if left < EMPTY_PER_LOOK {
                return made.place == self.hub.places();
            }
        }
        true
    }

    /// Looks at a member: how far it is behind, and where it comes from.
    fn look_at(&self, member: Member, channel: ChannelId, made: &mut Made) {
        let (dialect, cursor, address) = match member.reader() {
            Reader::Conn(slot) => {
                let conn = self.connections.conn(slot);
                (conn.dialect(), conn.out.cursor(), conn.client().ip())
            }
            Reader::Session(slot) => {
                let session = self.sessions.member(slot);
                let space = session.spaces.find(channel).map(|number| session.spaces[number]);
                let lent = match session.transport {
                    Transport::WebSocket(id) => match self.connections.conn(id.slot).out.source() {
                        Source::Feed { channel: followed, cursor, .. } if followed == channel => {
                            Some(cursor)
                        }
                        Source::Feed { .. } | Source::Nothing | Source::Body { .. } => None,
                    },
                    Transport::Polling { .. } => None,
                };
                let cursor = lent.or(space.map(|space| space.cursor));
                (Some(session.dialect()), cursor, session.client.ip())
            }
        };
        made.vote.cast(address);
        if let (Some(dialect), Some(cursor)) = (dialect, cursor) {
            let head = self.hub.feed(channel, dialect).head();
            made.lags.record(head.since(cursor.offset));
        }
    }

    /// Fills in what is known without looking at anybody.
    fn complete(&self, now: Now, made: &mut Made) {
        let snapshot = &mut made.snapshot;
        snapshot.largest.sort_by(|a, b| b.size().cmp(&a.size()).then(a.name.cmp(&b.name)));
        snapshot.members_of_one_address = made.vote.least();
        snapshot.is_one_address_private = made.vote.address.is_some_and(is_private);
        snapshot.uptime = now.mono.since(self.survey.started.mono);
        snapshot.started_unix_s = self.survey.started.unix_s;
        snapshot.unix_s = now.unix_s;
        snapshot.metrics.clone_from(&self.metrics);
        snapshot.before.clone_from(&self.survey.past.older);
        let count = |kind| self.connections.count(kind) as u64;
        snapshot.connections = Connections {
            websocket: count(Kind::WebSocket),
            socketio: self.sessions.len() as u64,
            sse: count(Kind::Stream),
            http: count(Kind::Http),
        };
        snapshot.channels = self.hub.len() as u64;
        snapshot.memory = self.memory();
        snapshot.backplane = self.view_of_backplane();
    }

    /// What there is to know of the line to the other instances; `None` where there is none.
    fn view_of_backplane(&self) -> Option<metrics::Backplane> {
        let (backplane, elsewhere) = (self.backplane.as_ref()?, self.elsewhere.as_ref()?);
        let (round_trips, pending_bytes) = elsewhere.deferral();
        Some(metrics::Backplane {
            is_connected: !backplane.is_away(),
            round_trips,
            pending_bytes,
            resent: backplane.counts().entries_resent,
            gaps: self.metrics.gaps,
        })
    }

    /// What the memory of `--memory` is used for.
    fn memory(&self) -> Memory {
        let limits = &self.settings.limits;
        let (feeds, events) = (self.hub.reserved_bytes(), self.events.reserved_bytes());
        let set_aside = Limits::default_channel_bytes(limits.feed_bytes, limits.history);
        let rings = feeds + set_aside;
        let kept = self.pool.reserved_bytes() + self.pool.spent_bytes();
        let sessions = kept.saturating_sub(rings + events);
        Memory {
            rings,
            buffers: self.pool.used_bytes().saturating_sub(rings + sessions),
            sessions,
            tables: limits.ceiling().tables_bytes,
            free: self.pool.free_bytes(),
        }
    }
}

impl Made {
    fn new(limits: &Limits) -> Box<Made> {
        Box::new(Made {
            snapshot: Snapshot::new(limits),
            place: 0,
            member: 0,
            lags: Lags::default(),
            vote: Vote::default(),
            spare: Vec::with_capacity(CHANNELS_SHOWN),
            is_under_way: false,
        })
    }

    /// Begins to look at everything anew.
    fn begin(&mut self) {
        let snapshot = &mut self.snapshot;
        self.spare.append(&mut snapshot.largest);
        snapshot.members = [0; Dialect::ALL.len()];
        snapshot.feed_bytes = 0;
        snapshot.lags = Lags::default();
        (self.place, self.member, self.lags) = (0, 0, Lags::default());
        self.vote = Vote::default();
        self.is_under_way = true;
    }

    /// All members of a channel were looked at: adds them up, and keeps the particulars of the
    /// channel if it is one of the largest so far.
    fn finish_channel(&mut self, channel: &Channel) {
        let members = Dialect::ALL.map(|dialect| channel.readers(dialect));
        let snapshot = &mut self.snapshot;
        snapshot.lags.add(&self.lags);
        snapshot.members.iter_mut().zip(members).for_each(|(sum, count)| *sum += count);
        let feeds = Dialect::ALL.into_iter().filter_map(|dialect| channel.feed(dialect));
        snapshot.feed_bytes += feeds.map(|feed| feed.head().since(feed.tail())).sum::<u64>();
        let Some(mut view) = self.view_for(members.iter().sum()) else { return };
        view.name.clear();
        view.name.push_str(channel.name());
        view.position.clear();
        view.position.push_str(channel.position().text().as_str());
        view.members = members;
        view.kept = channel.log().map_or(0, Log::len);
        view.lags.clone_from(&self.lags);
        self.snapshot.largest.push(view);
    }

    /// A view to fill in for a channel with so many members: one that is spare, or that of the
    /// smallest channel so far, if that is smaller. `None` if the channel is not to be shown.
    fn view_for(&mut self, size: u64) -> Option<ChannelView> {
        let largest = &mut self.snapshot.largest;
        if largest.len() < CHANNELS_SHOWN {
            return Some(self.spare.pop().unwrap_or_else(ChannelView::empty));
        }
        let sizes = largest.iter().map(ChannelView::size).enumerate();
        let (place, smallest) = sizes.min_by_key(|(_, size)| *size)?;
        (smallest < size).then(|| largest.swap_remove(place))
    }
}

/// Whether an address is of the machine itself or of a private network, as those of proxies are.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unspecified(),
    }
}
