//! Who had a word in which channel, and when.
//!
//! A room that is waited for takes its publishers in turns, each of half a ring, and may wait for
//! its readers between any two. So nobody can say how many seconds a turn is away, but how many
//! turns the others may have before it: that tells who waits from who was forgotten. Leaves to
//! `rest.rs` who waits, and since when.
//!
//! A session in several channels waits in the list of whichever is closed, and speaks in any of
//! them when it is read. So the turns that it takes in one of them have no order there; they are
//! known, and not held against anybody.

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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Turn {
    at_ms: u64,
    speaker: Speaker,
    /// The speaker is in other channels, too.
    roams: bool,
}

/// The turns of every channel, in order.
#[derive(Debug, Default)]
pub(crate) struct Turns(BTreeMap<Box<str>, Vec<Turn>>);

/// What the others of a channel had while somebody waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// Turns of whoever had the most.
    pub(crate) most: usize,
    /// When anybody last had one of those that are in front.
    pub(crate) last_ms: u64,
}

impl Turns {
    /// Notes a message of somebody who is in other channels, too, if it `roams`. Several of one
    /// moment are one turn.
    pub(crate) fn spoke(&mut self, at_ms: u64, channel: &str, speaker: Speaker, roams: bool) {
        let turns = match self.0.get_mut(channel) {
            Some(turns) => turns,
            None => self.0.entry(channel.into()).or_default(),
        };
        let turn = Turn { at_ms, speaker, roams };
        if turns.last() != Some(&turn) {
            turns.push(turn);
        }
    }

    /// What happened in `channel` since `waiting` was last read, at `since_ms`, or had a word.
    pub(crate) fn since(&self, channel: &str, since_ms: u64, waiting: Speaker) -> Waited {
        let turns = self.0.get(channel).map_or(&[][..], Vec::as_slice);
        let turns = &turns[turns.partition_point(|turn| turn.at_ms <= since_ms)..];
        let own = turns.iter().rposition(|turn| turn.speaker == waiting);
        let last_ms = own.map_or(since_ms, |own| turns[own].at_ms);
        let mut waited = Waited { most: 0, last_ms };
        let mut counts = BTreeMap::new();
        for turn in &turns[own.map_or(0, |own| own + 1)..] {
            let (all, in_order) = counts.entry(turn.speaker).or_insert((0, 0));
            *all += 1;
            *in_order += usize::from(!turn.roams);
            waited.most = waited.most.max(*in_order);
            if *all <= TURNS_MAX {
                waited.last_ms = turn.at_ms;
            }
        }
        waited
    }
}
