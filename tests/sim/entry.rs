//! Tokens of Socket.IO sessions: what each CONNECT shows, and what must become of it.
//!
//! A session is let into a namespace by the token of its CONNECT or, if there is none, by that of
//! its handshake, and stays until the first of those expires by which it was let in. The server
//! reports what it decides in the moment in which it does: that is held against the passes then.
//! What it tells the client of that, perhaps much later, is held against what it has reported.
//!
//! Leaves to others: what a pass is worth (`pass`), in which order answers come (`hearing`).

use std::collections::VecDeque;

use elbow::wire::token::Fault;

use super::climate::Climate;
use super::pass::Pass;

/// What the server knows of time is whole seconds, and a stay ends on a tick.
const ROUNDED_MS: u64 = 1000 + 256;

/// What the server has reported of a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decided {
    Opened,
    Denied(Fault),
}

/// A CONNECT that was said and is not answered.
#[derive(Debug)]
struct Entry {
    channel: Box<str>,
    /// The token in it.
    own: Option<Pass>,
    /// Nothing is reported of who is there already, nor of a name that is none.
    decided: Option<Decided>,
}

/// What a session shows to come in.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    entries: VecDeque<Entry>,
    /// The first end of the tokens that have let it in, but for that of its handshake.
    until_ms: Option<u64>,
    /// The handshake was answered with a refusal of its token.
    pub(crate) is_refused: bool,
}

impl Entries {
    /// A CONNECT is said, with this token in it or none.
    pub(crate) fn ask(&mut self, channel: Box<str>, own: Option<Pass>) {
        self.entries.push_back(Entry { channel, own, decided: None });
    }

    /// The first moment at which its stay may end by a token.
    fn ends_ms(&self, handshake: &Pass) -> Option<u64> {
        [handshake.earliest_end_ms(), self.until_ms].into_iter().flatten().min()
    }

    /// Whether its stay may end now by a token.
    pub(crate) fn may_end(&self, handshake: &Pass, now_ms: u64) -> bool {
        self.ends_ms(handshake).is_some_and(|ends_ms| now_ms >= ends_ms)
    }

    /// The moment from which on its stay is over by a token.
    pub(crate) fn over_ms(&self, handshake: &Pass) -> Option<u64> {
        let ends_ms = handshake.earliest_end_ms().map(|ends_ms| ends_ms + ROUNDED_MS);
        [ends_ms, self.until_ms].into_iter().flatten().min()
    }

    /// Whether a CONNECT may come to this now.
    fn fits(
        &self,
        (now_ms, climate): (u64, &Climate),
        handshake: &Pass,
        own: Option<&Pass>,
        fault: Option<Fault>,
    ) -> bool {
        if self.over_ms(handshake).is_some_and(|over_ms| now_ms >= over_ms) {
            return fault == Some(Fault::Expired);
        }
        let due = match own {
            Some(own) => own.fault(climate, now_ms),
            None => handshake.fault_inside(climate),
        };
        fault == due || (fault == Some(Fault::Expired) && self.may_end(handshake, now_ms))
    }

    /// The server lets it into a channel. Of who does not wait for answers a CONNECT may be lost.
    pub(crate) fn opened(
        &mut self,
        at: (u64, &Climate),
        handshake: &Pass,
        channel: &str,
        is_lossy: bool,
    ) {
        let is_next = |entry: &&Entry| *entry.channel == *channel && entry.decided.is_none();
        let fits = |entry: &Entry| self.fits(at, handshake, entry.own.as_ref(), None);
        let place = match is_lossy {
            true => self.entries.iter().position(|entry| is_next(&entry) && fits(entry)),
            false => self.entries.iter().position(|entry| is_next(&entry)),
        };
        let place = place.expect("nobody asked for the channel with what lets in");
        let entry = &self.entries[place];
        assert!(fits(entry), "let into {channel} at {} by {entry:?}, {handshake:?}", at.0);
        let until_ms = entry.own.as_ref().and_then(|own| own.until_ms(at.0));
        self.entries[place].decided = Some(Decided::Opened);
        self.until_ms = [self.until_ms, until_ms].into_iter().flatten().min();
    }

    /// The server does not let it into a channel, for this fault. Whether the token was its own.
    pub(crate) fn denied(&mut self, at: (u64, &Climate), handshake: &Pass, fault: Fault) -> bool {
        let may_be = |entry: &Entry| {
            let own = entry.own.as_ref();
            entry.decided.is_none() && self.fits(at, handshake, own, Some(fault))
        };
        let place = self.entries.iter().position(may_be);
        let place = place.unwrap_or_else(|| {
            panic!("{fault:?} at {}: {handshake:?}, {:?}", at.0, self.entries);
        });
        self.entries[place].decided = Some(Decided::Denied(fault));
        self.entries[place].own.is_some()
    }

    /// A session is told that it is in a channel, or `why` it is not. Of several CONNECTs for one
    /// channel that are under way it is not known to which of them a report belongs, so it may be
    /// any.
    pub(crate) fn answered(&mut self, channel: &str, why: Option<&str>, is_lossy: bool) {
        let is_it = |entry: &Entry| *entry.channel == *channel;
        let first = self.entries.iter().position(is_it).expect("it has asked");
        let fits = |entry: &Entry| is_it(entry) && entry.may_be_told(why);
        if let Some(other) = self.entries.iter().position(fits) {
            let decided = self.entries[first].decided;
            self.entries[first].decided = self.entries[other].decided;
            self.entries[other].decided = decided;
        }
        let entry = self.entries.remove(first).expect("it was found there");
        assert!(entry.may_be_told(why) || is_lossy, "told {why:?} of {entry:?}");
    }
}

impl Entry {
    /// Whether the client may be told this, after what was reported.
    fn may_be_told(&self, why: Option<&str>) -> bool {
        match (why, self.decided) {
            (Some("forbidden"), Some(Decided::Denied(fault))) => fault == Fault::Channel,
            (Some("unauthorized"), Some(Decided::Denied(fault))) => fault != Fault::Channel,
            (Some("forbidden" | "unauthorized"), _) | (_, Some(Decided::Denied(_))) => false,
            (Some(_), decided) => decided.is_none(),
            // Whoever is there already is told so again.
            (None, Some(Decided::Opened) | None) => true,
        }
    }
}
