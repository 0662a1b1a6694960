//! What a channel keeps of what was said, by the promise alone: who must be sent it again, who must
//! not, and where everybody begins to read.
//!
//! A channel has *lives*. One begins with a member and ends with the last, or later, when the last
//! message is too old that is kept. Each has an epoch of its own, which nobody knows before some
//! reader is told it, and numbers what was said in it from 1. Kept are the newest messages, as many
//! as the operator wants, no older than wanted, and as many as a ring holds; a reader is sent those
//! again that a ring of its dialect holds, too.
//!
//! ```text
//!   place in the log of all lives   ── 7 ── 8 ───── 9 ── 10 ──►   those that plain readers get
//!   number in the life                 1    2    3    4    5
//!                                               ▲    └─────── the newest that a ring holds
//!                                               └── the newest that is missing
//! ```
//!
//! All of that follows from the list of what was said, so nothing is remembered of what was
//! dropped. The exceptions are a ring that was not filled, since its first reader's address had its
//! share, and memory that has run out: what a ring is to be filled with may be lacking then, with
//! everything before it, and so there are several places where a reader may begin.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::rc::Rc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use elbow::hub::{HashKey, Shares};
use elbow::id::Dialect;
use elbow::limits::{self, Limits, RECORD_BYTES_TYPICAL, REPLAY_BUCKETS};

use super::wish::Wish;

/// Bytes of an epoch that nobody has been told: nearly all have 12 or 13.
const EPOCH_BYTES: [u64; 2] = [1, 13];
/// Bytes in front of each part of what is kept, and of all of it.
const PART_BYTES: u64 = 4;
const HEAD_BYTES: u64 = 9;
/// Bytes of a position of a stream.
const PLACE_BYTES: u64 = 20;
/// Milliseconds in which an address is sent no more than a ring.
const RING_MS: u64 = 1000;

/// A message that was said.
#[derive(Clone, Debug)]
struct Word {
    /// Where it stands, if its order is decided elsewhere.
    position: Option<Rc<str>>,
    at_ms: u64,
    /// What it takes of the ring of what is kept.
    kept_bytes: u64,
    /// The bytes that a plain reader gets, if it gets any.
    plain_bytes: Option<u64>,
    /// The place behind it in the log of what plain readers get.
    behind: usize,
}

impl Word {
    /// Whether it stands for what is lost.
    fn is_gap(&self) -> bool {
        self.kept_bytes == u64::MAX
    }
}

/// A life of a channel.
#[derive(Debug)]
struct Life {
    epoch: Option<Rc<str>>,
    /// Where it was opened, if its order is decided elsewhere: the number of the newest message
    /// that was not brought, and the position behind which all were.
    base: Option<(u64, Rc<str>)>,
    /// Where it began in the log of what plain readers get.
    first: usize,
    words: Vec<Word>,
    members: usize,
    readers: [usize; Dialect::ALL.len()],
    /// Up to which number a ring certainly lacks what is kept, and up to which it may: who brought
    /// it may have had its share, or there was no memory.
    lacking: [(u64, u64); Dialect::ALL.len()],
}

/// The lives of a channel, of which only the last may go on. Of an order that is decided elsewhere
/// there is one life, which is open here at times.
#[derive(Debug, Default)]
pub(crate) struct Past {
    lives: Vec<Life>,
    is_alive: bool,
    /// When somebody may last have waited for the channel to be opened, if it is decided elsewhere.
    awaited_ms: u64,
}

/// Where a reader may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    /// Whether the position is honoured with which it came.
    pub(crate) recovered: Option<bool>,
    /// The number behind which it reads.
    pub(crate) number: u64,
    /// The place of the first message that it gets.
    pub(crate) place: usize,
    /// How many it gets at once.
    pub(crate) missed: u64,
    /// What it counts as, of what its address may be sent again.
    pub(crate) cost_bytes: u64,
}

impl Life {
    fn new(first: usize) -> Life {
        Life {
            epoch: None,
            base: None,
            first,
            words: Vec::new(),
            members: 0,
            readers: Default::default(),
            lacking: Default::default(),
        }
    }

    /// Up to which number nothing was brought when it was opened here.
    fn unopened(&self) -> u64 {
        self.base.as_ref().map_or(0, |(number, _)| *number)
    }

    fn newest(&self) -> u64 {
        self.words.len() as u64
    }

    /// The place behind the message of this number and all before it.
    fn behind(&self, number: u64) -> usize {
        number.checked_sub(1).map_or(self.first, |at| self.words[at as usize].behind)
    }

    /// Whether it has nobody, and nothing that is not too old.
    fn is_over(&self, now_ms: u64, limits: &Limits) -> bool {
        let is_too_old = |word: &Word| {
            limits.history.is_none_or(|history| word.at_ms + history.age.as_millis() <= now_ms)
        };
        let brought = &self.words[self.unopened() as usize..];
        let brought = brought.split(Word::is_gap).next_back().unwrap_or_default();
        self.members == 0 && brought.last().is_none_or(is_too_old)
    }

    /// The number of the newest message that is not kept.
    fn missing(&self, now_ms: u64, limits: &Limits) -> u64 {
        let Some(history) = limits.history else { return self.newest() };
        let most = history.messages_max.min(entries(limits));
        let age_ms = history.age.as_millis();
        let mut left = limits.feed_bytes;
        let is_kept = |(back, word): &(usize, &Word)| {
            let fits = (*back as u64) < most && word.kept_bytes <= left;
            left = left.saturating_sub(word.kept_bytes);
            fits && word.at_ms + age_ms > now_ms
        };
        let kept = self.words.iter().rev().enumerate().take_while(is_kept).count() as u64;
        (self.newest() - kept).max(self.unopened())
    }

    /// The number of the newest message that a ring of a dialect has no room for.
    fn missing_in(&self, dialect: Dialect, epoch_bytes: u64, limits: &Limits) -> u64 {
        let (mut left, mut records) = (limits.feed_bytes, entries(limits));
        for (at, word) in self.words.iter().enumerate().rev() {
            let number = at as u64 + 1;
            let Some(bytes) = record_bytes(word, number, dialect, epoch_bytes) else { continue };
            if bytes > left || records == 0 {
                return number;
            }
            (left, records) = (left - bytes, records - 1);
        }
        0
    }

    /// Where somebody begins if everything up to this number is missing.
    fn start(&self, limits: &Limits, wish: &Wish, missing: u64) -> (Option<bool>, u64, usize) {
        let head = self.behind(self.newest());
        let asked = wish.since.as_deref().map(|since| self.number_of(since));
        let is_whole = |number: Option<u64>| number.is_some_and(|number| number >= missing);
        let recovered = asked.map(is_whole);
        if let (Some(true), Some(Some(number))) = (recovered, asked) {
            return (recovered, number, self.behind(number));
        }
        let kept = (head - self.behind(missing)) as u64;
        let many = if limits.history.is_some() { wish.last.min(kept) } else { 0 };
        let place = head - many as usize;
        let number = match self.words.iter().position(|word| word.behind > place) {
            Some(before) => before as u64,
            None => self.newest(),
        };
        (recovered, number, place)
    }

    /// The number of a position, if the position is one of this life.
    fn number_of(&self, position: &str) -> Option<u64> {
        if let Some((number, begin)) = &self.base {
            let brought = self.words[*number as usize..].iter();
            let is_it = |word: &Word| word.position.as_deref() == Some(position);
            // What was lost may have stood there as well.
            let place = brought.map(is_it).rposition(|is_it| is_it);
            let begun = (**begin == *position).then_some(*number);
            return place.map(|place| number + 1 + place as u64).or(begun);
        }
        let text = position.strip_prefix(&**self.epoch.as_ref()?)?.strip_prefix('.')?;
        let number: u64 = text.parse().ok()?;
        (number.to_string() == text && number <= self.newest()).then_some(number)
    }
}

impl Past {
    /// The channel is opened here, and its order is decided elsewhere: it begins behind `begin`,
    /// and of what was said behind that everything was brought, the newest `brought`.
    pub(crate) fn open(&mut self, now_ms: u64, behind: usize, brought: u64, begin: Rc<str>) {
        assert!(!self.is_alive, "it is open");
        self.is_alive = true;
        self.awaited_ms = now_ms + limits::OPENING_LIMIT.as_millis();
        if self.lives.is_empty() {
            self.lives.push(Life::new(behind));
        }
        let life = self.lives.last_mut().expect("there is one");
        life.base = Some((life.newest() - brought, begin));
        assert_eq!(life.members, 0);
    }

    /// The channel is closed here: nobody is there, and nothing is kept that is not too old.
    pub(crate) fn close(&mut self, now_ms: u64, limits: &Limits) {
        if let Some(life) = self.life() {
            assert!(life.is_over(now_ms, limits), "somebody is there, or something is kept");
        }
        self.is_alive = false;
    }

    /// Something of what was said is lost: where it stands now, and the place behind that in the
    /// log.
    pub(crate) fn lose(&mut self, at_ms: u64, behind: usize, position: Rc<str>) -> u64 {
        let life = self.lives.last_mut().expect("it is open");
        // Nothing of before fits in together with that.
        let (kept_bytes, plain_bytes) = (u64::MAX, None);
        let position = Some(position);
        life.words.push(Word { position, at_ms, kept_bytes, plain_bytes, behind });
        life.newest()
    }

    /// Somebody has come, who would find the log of what plain readers get with so many messages.
    /// If a ring is made for it, whether that is filled.
    pub(crate) fn join(&mut self, dialect: Dialect, behind: usize, scarce: bool, paid: Allowed) {
        if !self.is_alive {
            let is_local = self.lives.last().is_none_or(|life| life.base.is_none());
            assert!(is_local, "somebody came in before the channel was open");
            self.is_alive = true;
            self.lives.push(Life::new(behind));
        }
        let life = self.lives.last_mut().expect("it was just made");
        life.members += 1;
        let readers = &mut life.readers[dialect as usize];
        *readers += 1;
        if *readers == 1 {
            let newest = life.newest();
            life.lacking[dialect as usize] = match paid {
                Allowed::No => (newest, newest),
                Allowed::Perhaps => (0, newest),
                Allowed::Yes => (0, if scarce { newest } else { 0 }),
            };
        }
    }

    /// Where somebody may begin who comes now, from the most that may be kept to the least, in case
    /// memory is `scarce`.
    pub(crate) fn prospects(
        &self,
        now_ms: u64,
        limits: &Limits,
        dialect: Dialect,
        wish: &Wish,
        (behind, scarce): (usize, bool),
    ) -> Vec<Start> {
        let Some(life) = self.lives.last().filter(|_| self.is_alive) else {
            let recovered = wish.since.as_ref().map(|_| false);
            return vec![Start { recovered, number: 0, place: behind, missed: 0, cost_bytes: 0 }];
        };
        let has_ring = life.readers[dialect as usize] > 0;
        let (lacking, may_lack) = match (has_ring, scarce) {
            (true, _) => life.lacking[dialect as usize],
            (false, true) => (0, life.newest()),
            (false, false) => (0, 0),
        };
        let known = life.epoch.as_ref().map(|epoch| epoch.len() as u64);
        let kept_from = life.missing(now_ms, limits);
        let kept = &life.words[kept_from as usize..];
        let kept_bytes: u64 = kept.iter().map(|word| word.kept_bytes).sum();
        let mut starts = Vec::new();
        for epoch_bytes in known.map_or(EPOCH_BYTES, |bytes| [bytes; 2]) {
            let least = kept_from.max(lacking).max(match limits.history {
                Some(_) => life.missing_in(dialect, epoch_bytes, limits),
                None => 0,
            });
            for missing in least..=least.max(may_lack) {
                let (recovered, number, place) = life.start(limits, wish, missing);
                let missed = (life.behind(life.newest()) - place) as u64;
                let record =
                    |at: usize| record_bytes(&life.words[at], at as u64 + 1, dialect, epoch_bytes);
                let again = (0..life.words.len()).filter(|at| life.words[*at].behind > place);
                let cost_bytes = match limits.history {
                    None => 0,
                    Some(_) if has_ring => again.filter_map(record).sum(),
                    Some(_) => kept_bytes,
                };
                let start = Start { recovered, number, place, missed, cost_bytes };
                if !starts.contains(&start) {
                    starts.push(start);
                }
            }
        }
        starts
    }

    /// Somebody has gone.
    pub(crate) fn leave(&mut self, now_ms: u64, limits: &Limits, dialect: Dialect) {
        let life = self.lives.last_mut().filter(|_| self.is_alive).expect("somebody was there");
        life.members -= 1;
        life.readers[dialect as usize] -= 1;
        self.end_if_over(now_ms, limits);
    }

    /// The server looks whose time is over. Whether this channel's was.
    pub(crate) fn end_if_over(&mut self, now_ms: u64, limits: &Limits) -> bool {
        let is_over = |life: &Life| life.base.is_none() && life.is_over(now_ms, limits);
        let is_over = self.life().is_some_and(is_over);
        self.is_alive &= !is_over;
        is_over
    }

    /// Something is said, of so many bytes in these parts: what is kept of it, and what plain
    /// readers get. Its number; 0 if there is no channel in which it could be said.
    pub(crate) fn say(
        &mut self,
        at_ms: u64,
        parts: impl Iterator<Item = usize>,
        plain_bytes: Option<usize>,
        (behind, position): (usize, Option<Rc<str>>),
    ) -> u64 {
        let is_placed = position.is_some();
        if is_placed && self.lives.is_empty() {
            let said_plainly = usize::from(plain_bytes.is_some());
            self.lives.push(Life::new(behind - said_plainly));
        }
        let life = self.lives.last_mut().filter(|_| self.is_alive || is_placed);
        let Some(life) = life else { return 0 };
        let place_bytes = if is_placed { PLACE_BYTES } else { 0 };
        let parts_bytes = parts.map(|part| PART_BYTES + part as u64).sum::<u64>();
        let kept_bytes = HEAD_BYTES + place_bytes + parts_bytes;
        let plain_bytes = plain_bytes.map(|bytes| bytes as u64);
        life.words.push(Word { position, at_ms, kept_bytes, plain_bytes, behind });
        life.newest()
    }

    fn life(&self) -> Option<&Life> {
        self.lives.last().filter(|_| self.is_alive)
    }

    /// Whether there is a channel, with members or without.
    pub(crate) fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Whether somebody reads this dialect.
    pub(crate) fn has_ring(&self, dialect: Dialect) -> bool {
        self.life().is_some_and(|life| life.readers[dialect as usize] > 0)
    }

    /// When a channel ends that has no members.
    pub(crate) fn over_ms(&self, limits: &Limits) -> Option<u64> {
        let life = self.life().filter(|life| life.members == 0)?;
        let kept_until = |word: &Word| Some(word.at_ms + limits.history?.age.as_millis());
        let brought = &life.words[life.unopened() as usize..];
        let brought = brought.split(Word::is_gap).next_back().unwrap_or_default();
        let over_ms = brought.last().and_then(kept_until);
        match life.base {
            None => over_ms,
            Some(_) => Some(over_ms.unwrap_or(0).max(self.awaited_ms)),
        }
    }

    /// The number of the life that goes on, or was the last.
    pub(crate) fn last_life(&self) -> usize {
        self.lives.len() - 1
    }

    /// A position, once somebody was told the epoch.
    pub(crate) fn position(&self, life: usize, number: u64) -> Option<String> {
        let life = self.lives.get(life)?;
        match &life.base {
            Some((base, begin)) if *base == number => Some(begin.to_string()),
            Some(_) => {
                let word = life.words.get(number.checked_sub(1)? as usize)?;
                word.position.as_deref().map(str::to_owned)
            }
            None => Some(format!("{}.{number}", life.epoch.as_ref()?)),
        }
    }

    /// Whether the order is decided elsewhere.
    pub(crate) fn is_of_stream(&self, life: usize) -> bool {
        self.lives[life].base.is_some()
    }

    /// How many lives there were, and how many messages in one of them.
    pub(crate) fn count(&self, life: Option<usize>) -> u64 {
        life.map_or(self.lives.len() as u64, |life| self.lives[life].newest())
    }

    /// The number of the newest message that is not kept in the life that goes on; everything
    /// depends on which side of it somebody comes back.
    pub(crate) fn edge(&self, now_ms: u64, limits: &Limits) -> Option<u64> {
        Some(self.life()?.missing(now_ms, limits))
    }

    /// A reader was told the epoch of a life. Whether nobody was before.
    pub(crate) fn told_epoch(&mut self, life: usize, epoch: &str) -> bool {
        let known = &mut self.lives[life].epoch;
        if let Some(known) = known {
            assert_eq!(**known, *epoch, "a life has one epoch");
            return false;
        }
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        assert!(matches!(epoch.len(), 1..=13) && epoch.bytes().all(is_digit), "{epoch}");
        *known = Some(epoch.into());
        true
    }
}

/// How many records a ring has room for in its index.
fn entries(limits: &Limits) -> u64 {
    limits.feed_bytes / RECORD_BYTES_TYPICAL as u64
}

/// What a message takes of a dialect's ring, if it has a form there.
fn record_bytes(word: &Word, number: u64, dialect: Dialect, epoch_bytes: u64) -> Option<u64> {
    let payload = word.plain_bytes?
        + match dialect {
            Dialect::ElbowV1 => match &word.position {
                Some(position) => position.len() as u64 + 1,
                None => epoch_bytes + 1 + number.to_string().len() as u64 + 1,
            },
            Dialect::Plain | Dialect::EventStream | Dialect::SocketIo4 | Dialect::SocketIo3 => 0,
        };
    let header = match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    Some(header + payload)
}

/// What each address was sent again lately, as bounds of what is paid for: what it cost is not
/// known exactly where memory was scarce.
#[derive(Debug)]
pub(crate) struct Replays {
    /// Which addresses share a bucket is the server's affair, so the server's hash is asked.
    shares: Shares,
    paid: BTreeMap<usize, (u64, u64)>,
}

/// Whether somebody may be sent what it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allowed {
    Yes,
    No,
    Perhaps,
}

impl Replays {
    /// What a server born with this seed has sent again: nothing.
    pub(crate) fn new(limits: &Limits, birth: [u8; 32]) -> Replays {
        let mut random = ChaCha20Rng::from_seed(birth);
        let mut keys = [[0; 16]; 2];
        keys.iter_mut().for_each(|key| random.fill_bytes(key));
        Replays { shares: Shares::new(limits, HashKey(keys[1])), paid: BTreeMap::new() }
    }

    /// Whether so many bytes, `least` or up to `most`, may be sent to this address. `None` for a
    /// proxy, which always may.
    pub(crate) fn allow(
        &self,
        now_ms: u64,
        limits: &Limits,
        ip: Option<IpAddr>,
        (least, most): (u64, u64),
    ) -> Allowed {
        let Some(ip) = ip.filter(|_| limits.history.is_some()) else { return Allowed::Yes };
        let paid = self.paid.get(&self.bucket(ip)).copied().unwrap_or_default();
        let fits = |paid_ms: u64, bytes: u64| {
            bytes == 0 || paid_ms.max(now_ms) + cost_ms(limits, bytes) <= now_ms + RING_MS
        };
        match (fits(paid.1, most), fits(paid.0, least)) {
            (true, _) => Allowed::Yes,
            (false, false) => Allowed::No,
            (false, true) => Allowed::Perhaps,
        }
    }

    /// So many bytes are sent, or perhaps were.
    pub(crate) fn take(
        &mut self,
        now_ms: u64,
        limits: &Limits,
        ip: Option<IpAddr>,
        (least, most): (u64, u64),
    ) {
        let Some(ip) = ip.filter(|_| limits.history.is_some()) else { return };
        let paid = self.paid.entry(self.bucket(ip)).or_default();
        let after = |paid_ms: u64, bytes: u64| match bytes {
            0 => paid_ms,
            _ => (paid_ms.max(now_ms) + cost_ms(limits, bytes)).min(now_ms + RING_MS),
        };
        *paid = (after(paid.0, least), after(paid.1, most));
    }

    fn bucket(&self, ip: IpAddr) -> usize {
        self.shares.address(ip).bucket(REPLAY_BUCKETS)
    }
}

fn cost_ms(limits: &Limits, bytes: u64) -> u64 {
    (bytes * RING_MS).div_ceil(limits.feed_bytes).min(RING_MS)
}
