//! Who had a word in which channel, and when.
//!
//! A room that is waited for takes its publishers in turns, each of half a ring, and may wait for
//! its readers between any two. So nobody can say how many seconds a turn is away, but how many
//! turns the others may have before it: that tells who waits from who was forgotten. Leaves to
//! `rest.rs` who waits, and since when.

use std::collections::BTreeMap;

use super::client::Client;

/// Turns that any other publisher of a room has at most while somebody waits there. Whoever had all
/// its words taken and says more comes in front of those that had their say and are not through,
/// until the room is opened next: that makes two in a round, and a wait may touch two rounds.
pub(crate) const TURNS_MAX: usize = 4;

/// Who publishes: a session may do it on many connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Speaker {
    Client(usize),
    Person(usize),
}

impl Speaker {
    pub(crate) fn of(client: &Client) -> Speaker {
        client.person.map_or(Speaker::Client(client.number), Speaker::Person)
    }
}

/// The turns of every channel, in order.
#[derive(Debug, Default)]
pub(crate) struct Turns(BTreeMap<Box<str>, Vec<(u64, Speaker)>>);

/// What the others of a channel had while somebody waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// Turns of whoever had the most.
    pub(crate) most: usize,
    /// When anybody last had one of those that are in front.
    pub(crate) last_ms: u64,
}

impl Turns {
    /// Notes a message. Several of one moment are one turn.
    pub(crate) fn spoke(&mut self, now_ms: u64, channel: &str, speaker: Speaker) {
        let turns = match self.0.get_mut(channel) {
            Some(turns) => turns,
            None => self.0.entry(channel.into()).or_default(),
        };
        if turns.last() != Some(&(now_ms, speaker)) {
            turns.push((now_ms, speaker));
        }
    }

    /// What happened in `channel` since `waiting` was last read, at `since_ms`, or had a word.
    pub(crate) fn since(&self, channel: &str, since_ms: u64, waiting: Speaker) -> Waited {
        let turns = self.0.get(channel).map_or(&[][..], Vec::as_slice);
        let turns = &turns[turns.partition_point(|(at_ms, _)| *at_ms <= since_ms)..];
        let own = turns.iter().rposition(|(_, speaker)| *speaker == waiting);
        let last_ms = own.map_or(since_ms, |own| turns[own].0);
        let mut waited = Waited { most: 0, last_ms };
        let mut counts = BTreeMap::new();
        for (at_ms, speaker) in &turns[own.map_or(0, |own| own + 1)..] {
            let count = counts.entry(speaker).or_insert(0);
            *count += 1;
            waited.most = waited.most.max(*count);
            if *count <= TURNS_MAX {
                waited.last_ms = *at_ms;
            }
        }
        waited
    }
}
