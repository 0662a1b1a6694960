//! Channels whose order is decided elsewhere: which are to be opened here, and which are over.
//!
//! ```text
//!   newcomer ──► opening ──► asked for ──► replays, oldest first ──► open ──► over ──► closed
//!                   └──── its time is over, and nobody waits ────────────────────┘
//! ```
//!
//! Whoever decides the order has to know which channels have readers here, and says where such a
//! channel begins. Until then nobody reads it. A channel that nobody reads, and of which nothing is
//! kept, stays until whoever decides the order has been told that it is over: until then what is
//! said in it may still come, and whoever comes back meanwhile finds it as it was.
//!
//! Deals with: the two lists of channels of which something is to be told. Leaves to others: who
//! waits for a channel (`server/awaiting`), what is said in it (`channel`).

use std::collections::VecDeque;

use super::{Channel, Holder, Hub, JoinError, Message, PublishError};
use crate::id::{ChannelId, Dialect};
use crate::pool::Pool;
use crate::position::Position;
use crate::time::{Duration, Instant};

/// Channels of which whoever decides their order is to be told something; each stands in a list at
/// most once.
#[derive(Debug)]
pub(super) struct Openings {
    /// Channels that are to be opened.
    to_open: VecDeque<ChannelId>,
    /// Channels that are over.
    to_close: VecDeque<ChannelId>,
}

impl Openings {
    fn new(channels_max: usize) -> Openings {
        let list = || VecDeque::with_capacity(channels_max);
        Openings { to_open: list(), to_close: list() }
    }
}

/// Which readers of a channel lack what is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lacking {
    /// Every reader of the channel lacks it.
    Everybody,
    /// Readers who have come back from where they had been, perhaps to another instance: the others
    /// have heard what is lost, or came after it was said. All readers of a dialect are told if one
    /// of them has come back.
    Returned,
}

/// A gap cannot be told now, since that of an earlier gap is still being told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StillParted;

impl Hub {
    /// Has the order of messages be decided elsewhere, in all channels that there will be.
    ///
    /// # Panics
    /// If there is a channel.
    pub fn order_elsewhere(&mut self) {
        assert!(self.channels.is_empty(), "a channel has one kind of positions");
        self.openings = Some(Openings::new(self.channels_max));
    }

    /// Whether a channel can be joined at once, if there is room: it is open here, or its order is
    /// decided here.
    pub fn is_open(&self, name: &str) -> bool {
        self.openings.is_none() || self.find(name).is_some_and(|id| !self.channel(id).is_opening())
    }

    /// Has a channel opened for somebody who waits for that until `until`, if that was not asked
    /// for yet. Until then the channel stays, whoever reads it. If it takes longer, whoever waited
    /// is refused, and the channel is opened nevertheless: somebody who comes again soon finds it.
    ///
    /// # Errors
    /// Why there is no room for the channel.
    pub fn begin_opening(
        &mut self,
        pool: &mut Pool,
        name: &str,
        (dialect, holder): (Dialect, Holder),
        until: Instant,
    ) -> Result<ChannelId, JoinError> {
        self.can_join(pool, name, dialect, Some(holder))?;
        let id = match self.find(name) {
            Some(id) => id,
            None => {
                let id = self.make_channel(pool, name, Some(holder), &mut |_| {});
                let openings = self.openings.as_mut().expect("only then channels are opened");
                openings.to_open.push_back(id);
                id
            }
        };
        self.channel_mut(id).await_until(until);
        self.over_at = self.over_at.min(until);
        Ok(id)
    }

    /// The name of the next channel that is to be opened.
    pub fn poll_opening(&mut self) -> Option<&str> {
        let id = self.openings.as_mut()?.to_open.pop_front()?;
        Some(self.channel_mut(id).ask())
    }

    /// The channel called `name`, if it was asked for and is not open yet.
    pub fn find_opening(&self, name: &str) -> Option<ChannelId> {
        self.find(name).filter(|id| self.channel(*id).is_opening())
    }

    /// Keeps a message that was said in a channel before this is open, and behind all that were
    /// kept so far: some `age` before `now`, and it stands at `position`. What is too large is a
    /// gap: nothing of before is kept then.
    ///
    /// # Panics
    /// If the channel is open.
    pub fn replay(
        &mut self,
        id: ChannelId,
        said: (Instant, Duration),
        position: Position,
        message: Option<&Message<'_>>,
    ) {
        let message = message.filter(|message| self.fits(id, message));
        self.channel_mut(id).replay(said, position, message);
    }

    /// Opens a channel, which begins behind `position`. If whoever waited for that was refused
    /// meanwhile, the channel stays open for those who come again.
    ///
    /// # Panics
    /// If the channel is open.
    pub fn begin(&mut self, now: Instant, id: ChannelId, position: Position) {
        let channel = self.channel_mut(id);
        channel.begin(now, position);
        let over_at = channel.over_at();
        self.over_at = over_at.map_or(self.over_at, |at| self.over_at.min(at));
    }

    /// Appends a message that stands at `position` to every feed in which it has a form, as
    /// [`Hub::publish`] does.
    ///
    /// # Errors
    /// Why the message was appended nowhere.
    ///
    /// # Panics
    /// If the channel's order is decided here.
    pub fn publish_at(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        (id, position): (ChannelId, Position),
        message: &Message<'_>,
    ) -> Result<(), PublishError> {
        self.append(pool, now, (id, Some(position)), message)
    }

    /// Whether nothing may be said now in a channel whose order is decided elsewhere. As the
    /// messages of all channels come in one order, all wait for those that cannot be said. So
    /// members that do not read have time to catch up only if they are at least half of all who
    /// wait: of the `readers` of the server, each of whom may be a member of many channels.
    pub fn holds_order(&self, id: ChannelId, readers: usize) -> bool {
        let channel = self.channel(id);
        channel.is_lapping() || channel.gives_grace() && channel.choked() as usize * 2 >= readers
    }

    /// Notes that messages of a channel are lost, which were said before `position`: those readers
    /// who are `lacking` them are told, or will be sent nothing of what comes behind. Nothing of
    /// before can be had any more.
    ///
    /// # Errors
    /// If those who are to be told of an earlier gap have not all gone.
    pub fn lose(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        (id, position): (ChannelId, Position),
        lacking: Lacking,
    ) -> Result<(), StillParted> {
        let turn_us = self.turn_us;
        let channel = &mut self.channels[id.0 as usize];
        if channel.is_parted() {
            return Err(StillParted);
        }
        if channel.lose(position, lacking, turn_us) {
            self.active.push_back(id);
        }
        if self.channel(id).is_empty() {
            // Only what was kept there was a reason for it.
            self.end_if_over(pool, now, id);
        }
        Ok(())
    }

    /// Notes that all who were to be told of gaps one by one have been.
    pub fn join_up(&mut self) {
        self.channels.iter_mut().for_each(|(_, channel)| channel.join_up());
    }

    /// Takes away the next channel that is over, and returns its name: whoever decides its order
    /// need not bring any more of it. One for which nobody was asked goes without a word.
    pub fn poll_closing(&mut self, pool: &mut Pool, now: Instant) -> Option<Box<str>> {
        while let Some(id) = self.openings.as_mut()?.to_close.pop_front() {
            let channel = self.channel_mut(id);
            channel.set_to_close(false);
            channel.expire_log(now);
            if !channel.is_over(now) {
                self.over_at = channel.over_at().map_or(self.over_at, |at| self.over_at.min(at));
                continue;
            }
            let was_asked = channel.was_asked();
            let name = self.remove_channel(pool, id);
            if was_asked {
                return Some(name);
            }
            self.openings.iter_mut().for_each(|it| it.to_open.retain(|other| *other != id));
        }
        None
    }

    /// Puts a channel that is over among those of which that is to be told. `false` if nobody is
    /// told of channels, since their order is decided here.
    pub(super) fn close_later(&mut self, id: ChannelId) -> bool {
        let Some(openings) = &mut self.openings else { return false };
        if self.channels[id.0 as usize].set_to_close(true) {
            openings.to_close.push_back(id);
        }
        true
    }

    /// Asserts what must hold between two calls, for the hub's check.
    pub(super) fn check_openings(&self) {
        let listed = |list: &VecDeque<ChannelId>, is_in: fn(&Channel) -> bool| {
            let all = self.channels.iter().filter(|(_, channel)| is_in(channel)).count();
            assert_eq!(list.len(), all, "each stands in its list once");
            assert!(list.iter().all(|id| is_in(self.channel(*id))));
        };
        match &self.openings {
            Some(openings) => {
                listed(&openings.to_open, |channel| !channel.was_asked());
                listed(&openings.to_close, Channel::is_to_close);
            }
            None => {
                let is_plain = |channel: &Channel| !channel.is_opening() && !channel.is_to_close();
                assert!(self.channels.iter().all(|(_, channel)| is_plain(channel)));
            }
        }
    }
}
