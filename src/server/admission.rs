//! Who may come in: whether there is room, how a membership in a channel begins, how many sessions
//! there are and which of them gives way.
//!
//! Leaves to others: what a refusal says (`http`), how a membership ends (`members`).
//!
//! The surprise: whoever reads Socket.IO is greeted when it enters, and begins behind its own
//! greeting.

use super::{Server, Socket};
use crate::hub::{
    DEFAULT_CHANNEL, Holder, JoinError, Joined, Message, Newcomer, Recovery, Start, Transport, Wish,
};
use crate::id::{Dialect, Member, Reader};
use crate::limits;
use crate::membership::Membership;
use crate::metrics::Refusal;
use crate::reason::{CloseReason, Farewell};
use crate::server::publish::Speaker;
use crate::time::{Duration, Now};
use chacha20::rand_core::Rng;

/// What somebody asks to be let in to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entrance<'a> {
    /// A channel, with a connection that reads this dialect.
    Channel(&'a str, Dialect),
    /// A session of Engine.IO, which polls or does not.
    Session { polls: bool },
}

/// Why somebody is not let into a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turned {
    /// There is no room, as the operator is told.
    NoRoom(Refusal),
    /// Where the channel begins is not known yet: the request waits, and is answered anew.
    Later,
    /// Whoever wants everything that was said since then, or nothing, gets nothing.
    Gone,
    /// The address was just sent its share of what is kept.
    OverShare,
}

/// What a newcomer who names no channel may ask for.
const USUAL: [Entrance<'static>; 2] =
    [Entrance::Channel(DEFAULT_CHANNEL, Dialect::Plain), Entrance::Session { polls: true }];

impl<S: Socket> Server<S> {
    /// What there is not enough of to let anybody in, if anything. Without a `holder` it is not
    /// asked what an address holds already.
    pub(super) fn lacks_room(
        &self,
        holder: Option<Holder>,
        entrance: Entrance<'_>,
    ) -> Option<Refusal> {
        if self.drain.is_some() {
            return Some(Refusal::Draining);
        }
        if self.session_count >= self.settings.limits.connections_max {
            return Some(Refusal::Sessions);
        }
        if holder.is_some_and(|holder| self.hub.shares().has_enough_sessions(holder)) {
            return Some(match self.settings.limits.connections_per_ip_max {
                Some(_) => Refusal::SessionsOfAddress,
                None => Refusal::QuarterOfSessions,
            });
        }
        match entrance {
            Entrance::Channel(name, dialect) => {
                self.hub.can_join(&self.pool, name, dialect, holder).err().map(why)
            }
            Entrance::Session { polls } => {
                let fits = self.sessions.can_open(&self.pool, polls);
                (!fits).then_some(Refusal::Memory)
            }
        }
    }

    /// What there is not enough of to let in somebody who comes from an address that holds nothing
    /// and names no channel.
    pub(super) fn lacks_room_for_newcomers(&self) -> Option<Refusal> {
        USUAL.into_iter().find_map(|entrance| self.lacks_room(None, entrance))
    }

    pub(super) fn count_session(&mut self, holder: Holder) {
        self.session_count += 1;
        self.metrics.sessions_opened += 1;
        self.hub.shares_mut().add_session(holder);
    }

    /// When more sessions have entered no namespace than may, the one that came first gives way.
    pub(super) fn bound_unentered(&mut self, now: Now) {
        while self.sessions.unentered() > self.settings.limits.unentered_max()
            && let Some(session_id) = self.sessions.first_unentered()
        {
            self.sessions.dismiss(session_id);
            // One whose socket is full cannot be told before its time is over.
            let is_deaf = match self.sessions.get(session_id).transport {
                Transport::WebSocket(id) => self.connections.marks(id.slot).blocked,
                Transport::Polling { .. } => false,
            };
            let farewell = if is_deaf { Farewell::Cut } else { Farewell::Close };
            self.close_session(now, session_id, CloseReason::GaveWay, farewell);
        }
    }

    /// Asserts that addresses are charged with exactly what they hold, and no more than they may.
    pub(super) fn check_shares(&self) {
        let shares = self.hub.shares();
        let is_member = |slot: &u32| self.connections.conn(*slot).membership().is_some();
        let holders = self.connections.iter().filter(is_member);
        let holders = holders.map(|slot| self.holder(slot));
        let holders = holders.chain(self.sessions.iter().map(|(_, session)| session.holder));
        let counted = holders.filter(|holder| shares.counts_sessions(*holder)).count();
        assert_eq!(counted, shares.sessions());
        let unentered_max = self.settings.limits.unentered_max();
        assert!(self.sessions.unentered() <= unentered_max, "at most an eighth is in no namespace");
    }

    /// Makes a newcomer a member of the channel `name`. If it reads Socket.IO, all others who do
    /// are told so by a greeting, unless there is to be none, and the newcomer begins behind that.
    /// One that goes on where it was is greeted by nobody: it never left. Returns the membership,
    /// and where the newcomer begins.
    pub(in crate::server) fn begin_membership(
        &mut self,
        now: Now,
        name: &str,
        newcomer: Newcomer,
    ) -> Result<(Membership, Start), JoinError> {
        let connections = &mut self.connections;
        let resume = |id| connections.resume(id);
        let Joined { channel, index, mut start, filled_bytes } =
            self.hub.join(&mut self.pool, now.mono, name, newcomer, resume)?;
        let units = filled_bytes.div_ceil(limits::FILL_BYTES_PER_UNIT);
        self.reading.budget.spend_units(u32::try_from(units).unwrap_or(u32::MAX));
        if let Some(recovery) = start.recovery {
            self.metrics.replays[recovery as usize] += 1;
        }
        if newcomer.dialect.is_socketio() && start.recovery != Some(Recovery::Whole) {
            // Lent for so long, since publishing needs all of the server.
            let greeting = self.settings.greeting.take();
            if let Some(greeting) = &greeting {
                let message = Message::Greeting(greeting.args());
                self.publish(now, Speaker::Server, channel, &message);
            }
            self.settings.greeting = greeting;
            start.mark = self.hub.feed(channel, newcomer.dialect).mark();
        }
        Ok((Membership::new(channel, index, start.mark), start))
    }

    /// Makes a connection a member of `channel` by itself and counts it for its `holder`. Returns
    /// the membership, and where the newcomer begins.
    fn join(
        &mut self,
        now: Now,
        slot: u32,
        channel: &str,
        holder: Holder,
        (dialect, wish): (Dialect, Wish),
    ) -> Result<(Membership, Start), JoinError> {
        let member = Member::new(Reader::Conn(slot));
        let newcomer = Newcomer { member, dialect, holder, wish };
        let (membership, start) = self.begin_membership(now, channel, newcomer)?;
        // Whose request is being answered has not ended.
        self.connections.out_mut(slot).start_feed(membership.channel, dialect, start.mark);
        self.count_session(holder);
        Ok((membership, start))
    }

    /// Lets a connection that was told nothing yet into `channel`, where it begins as it wishes.
    /// With `strict` it wants all of that or nothing.
    ///
    /// # Errors
    /// Why it is not let in; then nothing has changed.
    pub(in crate::server) fn let_in(
        &mut self,
        now: Now,
        slot: u32,
        channel: &str,
        (dialect, wish): (Dialect, Wish),
        strict: bool,
    ) -> Result<(Membership, Start), Turned> {
        let holder = self.holder(slot);
        if let Some(why) = self.lacks_room(Some(holder), Entrance::Channel(channel, dialect)) {
            return Err(Turned::NoRoom(why));
        }
        if !self.hub.is_open(channel) {
            return Err(self.await_channel(now, slot, (channel, dialect), holder));
        }
        let falls_short = |recovery| strict && !matches!(recovery, None | Some(Recovery::Whole));
        // Whoever asks for nothing that is kept is let in, if need be to a feed that is not filled.
        if wish != Wish::default() {
            let prospect = self.hub.prospect(&mut self.pool, now.mono, channel, dialect, wish);
            if falls_short(prospect.recovery) {
                return Err(Turned::Gone);
            }
            if !self.hub.may_replay(now.mono, holder, prospect) {
                return Err(Turned::OverShare);
            }
        }
        let joined = self.join(now, slot, channel, holder, (dialect, wish));
        let (membership, start) = joined.map_err(|error| Turned::NoRoom(why(error)))?;
        // A new feed may hold less than the log, and memory may have run out while it was filled.
        if falls_short(start.recovery) {
            self.undo_join(now, slot, membership, dialect);
            return Err(Turned::Gone);
        }
        Ok((membership, start))
    }

    /// Has a request wait for a channel that is being opened. Returns what that means to whoever
    /// answers it: it is answered later, or has waited for long enough.
    fn await_channel(
        &mut self,
        now: Now,
        slot: u32,
        (channel, dialect): (&str, Dialect),
        holder: Holder,
    ) -> Turned {
        let by = self.connections.conn(slot).may_await_by();
        let by = by.unwrap_or(now.mono.plus(limits::OPENING_LIMIT));
        if by <= now.mono {
            return Turned::NoRoom(Refusal::NotOpened);
        }
        match self.hub.begin_opening(&mut self.pool, channel, (dialect, holder), by) {
            Ok(channel) => {
                self.connections.await_channel(slot, channel, by);
                Turned::Later
            }
            Err(error) => Turned::NoRoom(why(error)),
        }
    }

    /// Takes back what [`Server::join`] has done, for a connection that was told nothing yet.
    fn undo_join(&mut self, now: Now, slot: u32, membership: Membership, dialect: Dialect) {
        self.leave(now, membership.channel, membership.index, dialect);
        self.connections.change(slot, |conn| conn.out.abandon_feed());
        self.uncount_session(self.holder(slot));
        self.metrics.sessions_opened -= 1;
    }

    /// How long after the last byte heard a session's first ping is due: within the last half of
    /// the interval, so that a crowd that came at once is not pinged at once.
    pub(in crate::server) fn first_ping(&mut self) -> Duration {
        let half_ms = self.settings.limits.ping_interval.half().as_millis();
        let spread_ms = self.random.next_u64() % (half_ms + 1);
        let interval_ms = self.settings.limits.ping_interval.as_millis();
        Duration::from_millis(interval_ms - spread_ms)
    }
}

/// Why somebody is not let in, if it is a channel that cannot be joined.
pub(super) fn why(error: JoinError) -> Refusal {
    match error {
        JoinError::TooManyChannels => Refusal::Channels,
        JoinError::NoMemory => Refusal::Memory,
        JoinError::TooManyOfAddress => Refusal::ChannelsOfAddress,
        JoinError::NoMemoryOfAddress => Refusal::MemoryOfAddress,
    }
}
