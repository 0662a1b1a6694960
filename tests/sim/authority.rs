//! Whoever decides the order of messages elsewhere: for each channel a list of what was said, in
//! entries with ids, each of which may bring several messages.
//!
//! It opens channels when it is asked, at once or late or not at all, and brings what it has kept
//! of them. It knows nothing of the server but what this asks.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use elbow::position::Position;

use super::climate::{Dice, Ordering};

/// A message that has its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) position: Position,
    pub(crate) at_ms: u64,
    pub(crate) envelope: Rc<[u8]>,
}

/// The order of all messages.
#[derive(Debug)]
pub(crate) struct Authority {
    ordering: Ordering,
    dice: Dice,
    streams: BTreeMap<Box<str>, Vec<Placed>>,
    /// Channels that are to be opened, and when.
    opening: VecDeque<(u64, Box<str>)>,
}

impl Authority {
    pub(crate) fn new(ordering: Ordering) -> Authority {
        let dice = Dice::new(ordering.seed);
        Authority { ordering, dice, streams: BTreeMap::new(), opening: VecDeque::new() }
    }

    /// Gives a message for a channel its place, behind all others.
    pub(crate) fn place(&mut self, now_ms: u64, channel: &str, envelope: &[u8]) -> Position {
        let begins_at = self.dice.below(2) as u32;
        let shares_entry = self.dice.chance(self.ordering.packed);
        let stream = self.streams.entry(channel.into()).or_default();
        let (ms, seq, index) = match stream.last().map(|placed| placed.position) {
            Some(Position::Stream { ms, seq, index }) if shares_entry => (ms, seq, index + 1),
            Some(Position::Stream { ms, seq, .. }) if ms >= now_ms => (ms, seq + 1, begins_at),
            _ => (now_ms.max(1), 0, begins_at),
        };
        let position = Position::Stream { ms, seq, index };
        stream.push(Placed { position, at_ms: now_ms, envelope: envelope.into() });
        position
    }

    /// A channel is to be opened.
    pub(crate) fn ask(&mut self, now_ms: u64, channel: &str) {
        assert!(!self.is_asked(channel), "{channel} is asked for twice");
        let late_ms = match self.dice.chance(self.ordering.late) {
            true => self.dice.below(self.ordering.late_ms_max + 1),
            false => 0,
        };
        self.opening.push_back((now_ms + late_ms, channel.into()));
    }

    /// Nobody reads a channel any more.
    pub(crate) fn close(&mut self, channel: &str) {
        self.opening.retain(|(_, other)| **other != *channel);
    }

    /// Whether a channel is to be opened.
    pub(crate) fn is_asked(&self, channel: &str) -> bool {
        self.opening.iter().any(|(_, other)| **other == *channel)
    }

    /// The names of channels that are to be opened.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &str> {
        self.opening.iter().map(|(_, channel)| &**channel)
    }

    /// A channel that is opened by now.
    pub(crate) fn next_opened(&mut self, now_ms: u64) -> Option<Box<str>> {
        let at = self.opening.iter().position(|(at_ms, _)| *at_ms <= now_ms)?;
        self.opening.remove(at).map(|(_, channel)| channel)
    }

    /// When the next channel is opened.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.opening.iter().map(|(at_ms, _)| *at_ms).min()
    }

    /// Everything that was said in a channel.
    pub(crate) fn stream(&self, channel: &str) -> &[Placed] {
        self.streams.get(channel).map_or(&[], |stream| stream)
    }
}
