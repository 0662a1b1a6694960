//! What one run is like: how many there are, and how often which thing happens. Drawn from the
//! seed.

use elbow::limits::History;
use elbow::settings::{Greeting, Settings};
use elbow::time::Duration;

use crate::chance::Chance;
use crate::harness;

/// Numbers of a run. Those without a unit say in how many of a thousand steps something happens.
#[derive(Clone, Debug)]
pub(crate) struct Climate {
    pub(crate) instances: usize,
    pub(crate) channels: usize,
    pub(crate) clients: usize,
    pub(crate) steps: u64,
    /// Somebody says something.
    pub(crate) says: u64,
    /// Somebody vanishes, and comes back later.
    pub(crate) vanishes: u64,
    /// Whoever comes back goes to the instance at which it was.
    pub(crate) stays: u64,
    /// Somebody stops to read, or reads again.
    pub(crate) slows: u64,
    /// A line to Redis breaks.
    pub(crate) breaks: u64,
    /// A line to Redis goes on without a word.
    pub(crate) deadens: u64,
    /// A reader is left at a server that nobody writes to.
    pub(crate) freezes: u64,
    /// Redis carries out nothing, for a while.
    pub(crate) stalls: u64,
    /// The most milliseconds that Redis carries out nothing.
    pub(crate) stall_ms: u64,
    /// Redis is restarted, or a replica takes over: the newest entries are gone.
    pub(crate) fails_over: u64,
    /// Redis is restarted without its data.
    pub(crate) flushes: u64,
    /// An instance ends, and begins anew.
    pub(crate) stops: u64,
    /// Of attempts to connect to Redis, how many in a thousand fail.
    pub(crate) refuses_connections: u64,
    /// Bytes that a piece of a reply has at most.
    pub(crate) piece_bytes: u64,
    /// Milliseconds that go by at once, at most.
    pub(crate) pass_ms: u64,
    /// Messages that a channel keeps; 0: none.
    pub(crate) history: u64,
    /// Whether clients of Socket.IO recover.
    pub(crate) recovery: bool,
    /// Whether newcomers are announced.
    pub(crate) greets: bool,
}

impl Climate {
    pub(crate) fn draw(chance: &mut Chance) -> Climate {
        let is_calm = chance.in_thousand(150);
        let mut often = |share: u64, most: u64| {
            if !is_calm && chance.in_thousand(share) { 1 + chance.below(most) } else { 0 }
        };
        let (breaks, deadens, freezes) = (often(500, 20), often(250, 6), often(250, 6));
        let (stalls, stall_ms) = (often(300, 8), if often(200, 1) > 0 { 45_000 } else { 6_000 });
        let (fails_over, flushes) = (often(300, 6), often(200, 5));
        let (stops, refuses_connections) = (often(300, 5), often(250, 600));
        let (vanishes, slows) = (often(700, 40), often(300, 20));
        let pieces = [1, 7, 64, 1000, 70_000, 70_000];
        let history = if chance.in_thousand(600) { 1 + chance.below(60) } else { 0 };
        Climate {
            instances: 2 + chance.index(2),
            channels: 1 + chance.index(2),
            clients: 4 + chance.index(8),
            steps: 300 + chance.below(700),
            says: [20, 150, 500][chance.index(3)],
            vanishes,
            stays: [0, 500, 1000][chance.index(3)],
            slows,
            breaks,
            deadens,
            freezes,
            stalls,
            stall_ms,
            fails_over,
            flushes,
            stops,
            refuses_connections,
            piece_bytes: pieces[chance.index(pieces.len())],
            pass_ms: [2, 20, 200, 500][chance.index(4)],
            history,
            recovery: history > 0 && chance.in_thousand(700),
            greets: chance.in_thousand(500),
        }
    }

    /// Whether everything works all the time, and nobody goes.
    pub(crate) fn is_calm(&self) -> bool {
        let lines = self.breaks + self.deadens + self.freezes + self.stalls;
        let redis = self.fails_over + self.flushes + self.refuses_connections;
        lines + redis + self.stops == 0
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.refuses_connections = 0;
        // So that what others have said in two minutes can be read meanwhile.
        self.piece_bytes = self.piece_bytes.max(16_000);
    }

    /// What the operator of all instances has decided.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = harness::settings();
        let age = Duration::from_secs(3600);
        settings.limits.shared = true;
        settings.limits.feed_bytes = 1 << 14;
        settings.limits.memory_bytes = 1 << 23;
        settings.limits.drain = Duration::from_secs(3);
        let messages_max = self.history;
        settings.limits.history = (messages_max > 0).then_some(History { messages_max, age });
        settings.recovery = self.recovery;
        settings.greeting = self.greets.then(|| Greeting::named("hi"));
        settings
    }
}
