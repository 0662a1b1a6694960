//! What one run is like: how often which thing goes wrong. Drawn from the seed.

use crate::chance::Chance;

/// How often, in a thousand steps, which thing happens.
#[derive(Clone, Debug)]
pub(crate) struct Climate {
    pub(crate) instances: usize,
    pub(crate) channels: usize,
    pub(crate) steps: u64,
    /// Something is said.
    pub(crate) says: u64,
    /// A channel is opened or closed.
    pub(crate) comes_and_goes: u64,
    /// A connection breaks.
    pub(crate) breaks: u64,
    /// A connection goes on without a word.
    pub(crate) deadens: u64,
    /// A reader is left at a server that nobody writes to.
    pub(crate) freezes: u64,
    /// Redis refuses what is written, for a while.
    pub(crate) refuses: u64,
    /// Redis fails over to a replica that lags.
    pub(crate) fails_over: u64,
    /// Everything in Redis is deleted.
    pub(crate) flushes: u64,
    /// A stream loses its oldest entries, however new they are.
    pub(crate) cuts: u64,
    /// Redis carries out nothing, for a while.
    pub(crate) stalls: u64,
    /// Somebody else writes to the streams.
    pub(crate) forges: u64,
    /// A server holds an event back.
    pub(crate) holds: u64,
    /// An attempt to connect fails.
    pub(crate) refuses_connections: u64,
    /// Bytes that a piece has at most.
    pub(crate) piece_bytes: u64,
    /// How many different keys make repeats; 0: messages have none.
    pub(crate) keys: u64,
    /// Messages that a channel replays; 0: none.
    pub(crate) history: u64,
    pub(crate) greets: u64,
    /// Bytes of a message at most.
    pub(crate) message_bytes: u64,
    /// Milliseconds that go by at once, at most.
    pub(crate) pass_ms: u64,
}

impl Climate {
    pub(crate) fn draw(chance: &mut Chance) -> Climate {
        let calm = chance.in_thousand(150);
        let mut often = |share: u64, most: u64| {
            if !calm && chance.in_thousand(share) { 1 + chance.below(most) } else { 0 }
        };
        let (breaks, deadens, freezes) = (often(500, 20), often(250, 6), often(250, 6));
        let (refuses, fails_over, flushes) = (often(250, 10), often(300, 6), often(200, 6));
        let (cuts, stalls, forges) = (often(200, 10), often(250, 10), often(150, 10));
        let refuses_connections = often(250, 600);
        let holds = often(250, 300);
        let keys = if cuts == 0 && chance.in_thousand(400) { 1 + chance.below(12) } else { 0 };
        let pieces = [1, 7, 64, 1000, 70_000, 70_000];
        Climate {
            instances: 2 + chance.index(2),
            channels: 1 + chance.index(3),
            steps: 400 + chance.below(1200),
            says: [20, 100, 300][chance.index(3)],
            comes_and_goes: [2, 10, 40][chance.index(3)],
            breaks,
            deadens,
            freezes,
            refuses,
            fails_over,
            flushes,
            cuts,
            stalls,
            forges,
            holds,
            refuses_connections,
            piece_bytes: pieces[chance.index(pieces.len())],
            keys,
            history: if chance.in_thousand(500) { 1 + chance.below(50) } else { 0 },
            greets: if chance.in_thousand(500) { 10 } else { 0 },
            message_bytes: [16, 100, 3000][chance.index(3)],
            pass_ms: [2, 20, 200, 700][chance.index(4)],
        }
    }

    /// Whether anything may be lost that was not told before.
    pub(crate) fn may_lose(&self) -> bool {
        self.fails_over + self.flushes + self.cuts + self.forges > 0
    }
}
