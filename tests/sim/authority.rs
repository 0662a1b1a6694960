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

/// A channel that is to be opened.
#[derive(Debug)]
struct Opening {
    channel: Box<str>,
    asked_ms: u64,
    at_ms: u64,
}

/// The order of all messages.
#[derive(Debug)]
pub(crate) struct Authority {
    ordering: Ordering,
    dice: Dice,
    streams: BTreeMap<Box<str>, Vec<Placed>>,
    /// Channels that are to be opened.
    opening: VecDeque<Opening>,
    /// Where each channel stands, and the greatest position that it ever had.
    ends: BTreeMap<Box<str>, (Position, Position)>,
    /// Until when nothing can be had of it.
    pub(crate) away_until_ms: Option<u64>,
}

impl Authority {
    pub(crate) fn new(ordering: Ordering) -> Authority {
        let dice = Dice::new(ordering.seed);
        Authority {
            ordering,
            dice,
            streams: BTreeMap::new(),
            opening: VecDeque::new(),
            ends: BTreeMap::new(),
            away_until_ms: None,
        }
    }

    /// Gives a message for a channel its place, behind all others.
    pub(crate) fn place(&mut self, now_ms: u64, channel: &str, envelope: &[u8]) -> Position {
        let begins_at = self.dice.below(2) as u32;
        let shares_entry = self.dice.chance(self.ordering.packed);
        let (end, greatest) = self.ends(channel);
        // Nothing ever stands where something else has stood.
        let (ms, seq, index) = match greatest {
            Position::Stream { ms, seq, index } if shares_entry && end == greatest && ms > 0 => {
                (ms, seq, index + 1)
            }
            Position::Stream { ms, seq, .. } if ms > now_ms => (ms, seq + 1, begins_at),
            Position::Stream { .. } | Position::Local { .. } => (now_ms + 1, 0, begins_at),
        };
        let position = Position::Stream { ms, seq, index };
        self.ends.insert(channel.into(), (position, position));
        let stream = self.streams.entry(channel.into()).or_default();
        stream.push(Placed { position, at_ms: now_ms, envelope: envelope.into() });
        position
    }

    /// Where a channel stands, and the greatest position that it ever had.
    fn ends(&self, channel: &str) -> (Position, Position) {
        self.ends.get(channel).copied().unwrap_or((Position::STREAM_START, Position::STREAM_START))
    }

    /// Where a channel stands.
    pub(crate) fn end(&self, channel: &str) -> Position {
        self.ends(channel).0
    }

    /// Something of some channel is lost, now and then: where that stands then.
    pub(crate) fn lose_now_and_then(&mut self, now_ms: u64) -> Option<(Box<str>, Position)> {
        if self.dice.below(10_000) >= self.ordering.losses || self.streams.is_empty() {
            return None;
        }
        let at = self.dice.below(self.streams.len() as u64) as usize;
        let channel = self.streams.keys().nth(at).expect("it was counted").clone();
        let stream = &self.streams[&channel];
        let (_, greatest) = self.ends(&channel);
        let position = match self.dice.below(4) {
            // Everything, as if it had never been.
            0 => Position::STREAM_START,
            // The newest, so that it stands where it has stood before.
            1 if !stream.is_empty() => {
                stream[self.dice.below(stream.len() as u64) as usize].position
            }
            // Something that nobody here has heard.
            _ => self.place(now_ms, &channel, b""),
        };
        let greatest = if position > greatest { position } else { greatest };
        self.ends.insert(channel.clone(), (position, greatest));
        self.forget(&channel);
        Some((channel, position))
    }

    /// Nothing of what was said in a channel can be had any more.
    pub(crate) fn forget(&mut self, channel: &str) {
        if let Some(stream) = self.streams.get_mut(channel) {
            stream.clear();
        }
    }

    /// Whether somebody elsewhere says something now: what, and in which of so many channels.
    pub(crate) fn says_elsewhere(&mut self, channels: u64) -> Option<(u64, String)> {
        if !self.dice.chance(self.ordering.elsewhere) {
            return None;
        }
        let channel = self.dice.below(channels);
        Some((channel, format!("said elsewhere {}", self.dice.below(1_000_000))))
    }

    /// Goes out of reach, now and then; `true` if it has just gone.
    pub(crate) fn goes_now_and_then(&mut self, now_ms: u64) -> bool {
        let goes = self.away_until_ms.is_none() && self.dice.below(10_000) < self.ordering.absences;
        if goes {
            let (least_ms, most_ms) = (self.ordering.away_ms_min, self.ordering.away_ms_max);
            let away_ms = self.dice.between(least_ms, most_ms);
            self.away_until_ms = Some(now_ms + away_ms);
        }
        goes
    }

    /// Is back, if its time has come; `true` if it has just come.
    pub(crate) fn comes_back(&mut self, now_ms: u64) -> bool {
        let is_back = self.away_until_ms.is_some_and(|until_ms| until_ms <= now_ms);
        if is_back {
            self.away_until_ms = None;
        }
        is_back
    }

    /// A channel is to be opened.
    pub(crate) fn ask(&mut self, now_ms: u64, channel: &str) {
        assert!(!self.is_asked(channel), "{channel} is asked for twice");
        let late_ms = match self.dice.chance(self.ordering.late) {
            true => self.dice.below(self.ordering.late_ms_max + 1),
            false => 0,
        };
        let opening =
            Opening { asked_ms: now_ms, at_ms: now_ms + late_ms, channel: channel.into() };
        self.opening.push_back(opening);
    }

    /// Nobody reads a channel any more.
    pub(crate) fn close(&mut self, channel: &str) {
        self.opening.retain(|opening| *opening.channel != *channel);
    }

    /// Whether a channel is to be opened.
    pub(crate) fn is_asked(&self, channel: &str) -> bool {
        self.opening.iter().any(|opening| *opening.channel == *channel)
    }

    /// The names of channels that are to be opened.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &str> {
        self.opening.iter().map(|opening| &*opening.channel)
    }

    /// A channel that is opened by now, and when it was asked for.
    pub(crate) fn next_opened(&mut self, now_ms: u64) -> Option<(Box<str>, u64)> {
        let is_away = self.away_until_ms.is_some();
        let is_due = |opening: &Opening| opening.at_ms <= now_ms && !is_away;
        let at = self.opening.iter().position(is_due)?;
        self.opening.remove(at).map(|opening| (opening.channel, opening.asked_ms))
    }

    /// When it next does something by itself: comes back, or opens a channel.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.away_until_ms.or_else(|| self.opening.iter().map(|opening| opening.at_ms).min())
    }

    /// Everything that was said in a channel.
    pub(crate) fn stream(&self, channel: &str) -> &[Placed] {
        self.streams.get(channel).map_or(&[], |stream| stream)
    }
}
