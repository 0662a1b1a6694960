//! The defaults that depend on other values or on the machine.
//!
//! Done before the values are held against each other (`contradictions.rs`). A default that moves
//! is called derived from then on.
//!
//! The surprise: a derived default never contradicts anything. Only what somebody asked for can be
//! refused, save on a machine that has no room for a single connection.

use super::machine::Machine;
use super::options::{Asked, FEED_BOUNDS, MEMORY_BOUNDS, MESSAGE_BOUNDS};
use crate::limits::{DIALECTS, Limits, descriptors_for};
use crate::settings::Anonymous;

/// A feed holds at least this many of the largest messages, so that a publisher cannot lap its
/// readers with one or two.
pub(super) const MESSAGES_PER_FEED: u64 = 4;

/// How often the default of `--memory` holds what the channel `default` needs: once for that, and
/// as much for everything else.
const DEFAULT_CHANNELS_PER_MEMORY: u64 = 2;

const _: () = {
    assert!(*MESSAGE_BOUNDS.end() * MESSAGES_PER_FEED <= *FEED_BOUNDS.end());
    // With an index of a quarter of the ring, and a log beside the feeds.
    let feed_max = *FEED_BOUNDS.end() / 4 * 5;
    assert!(DEFAULT_CHANNELS_PER_MEMORY * (DIALECTS + 1) * feed_max <= *MEMORY_BOUNDS.end());
    assert!(FEED_BOUNDS.end().is_power_of_two(), "rounding up stays within the bounds");
};

/// Moves defaults to where they agree with what was asked for, and rounds what must be round.
pub(super) fn derive(asked: &mut Asked, machine: &Machine) {
    let room = machine
        .descriptors_hard
        .saturating_sub(descriptors_for(0, asked.admin_connections(machine)));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let connections = asked.max_connections.value.min(room);
    asked.max_connections.adjust(connections);
    if asked.token_key.value.is_some() {
        asked.anonymous.adjust(Anonymous::None);
    }
    let feed = asked.feed.value.max(asked.max_message.value * MESSAGES_PER_FEED);
    asked.feed.adjust(feed);
    // Rounded whoever it comes from; a power of two is what makes an offset a mask.
    asked.feed.value = asked.feed.value.next_power_of_two();
    let needed = Limits::default_channel_bytes(asked.feed.value, asked.history());
    let memory = asked.memory.value.max(needed * DEFAULT_CHANNELS_PER_MEMORY);
    asked.memory.adjust(memory);
}
