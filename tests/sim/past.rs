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
use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::rc::Rc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use elbow::hub::{HashKey, Shares};
use elbow::id::Dialect;
use elbow::limits::{self, Limits, RECORD_BYTES_TYPICAL, REPLAY_BUCKETS};

use super::stream;
use super::wish::Wish;

/// Bytes that an epoch may have which nobody has been told.
const EPOCH_BYTES: RangeInclusive<u64> = 1..=13;
/// Bytes in front of each part of what is kept, and of all of it.
const PART_BYTES: u64 = 4;
const HEAD_BYTES: u64 = 9;
/// Bytes of a position of a stream.
const PLACE_BYTES: u64 = 20;
/// Milliseconds in which an address is sent no more than a ring.
const RING_MS: u64 = 1000;

/// What a message takes in each form, beside its position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forms {
    /// The bytes that a plain reader gets, if it gets any.
    pub(crate) plain: Option<u64>,
    /// The fields of its event in an event stream, if it is shown there.
    pub(crate) streamed: Option<u64>,
    /// The packet of its event, without an offset.
    pub(crate) event: u64,
    /// The frames of the binary arguments behind it.
    pub(crate) attached: u64,
}

/// Where the next message will stand in the logs of all lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// In the log of what plain readers get.
    pub(crate) plain: usize,
    /// In the log of what readers of Socket.IO get.
    pub(crate) spoken: usize,
}

/// A message that was said.
#[derive(Clone, Debug)]
struct Word {
    /// Where it stands, if its order is decided elsewhere.
    position: Option<Rc<str>>,
    at_ms: u64,
    /// What it takes of the ring of what is kept.
    kept_bytes: u64,
    forms: Forms,
    /// The place behind it in the log of what plain readers get.
    behind: usize,
    /// The place in the log of what readers of Socket.IO get.
    spoken: usize,
}

/// A greeting, which takes room in the rings of Socket.IO.
#[derive(Clone, Copy, Debug)]
struct Hail {
    /// The number of the message before it.
    after: u64,
    /// What its packet takes, without an offset.
    event_bytes: u64,
    /// There may have been no memory for it, or nobody to be greeted.
    optional: bool,
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
    hails: Vec<Hail>,
    /// How many greetings there were before the ring of Socket.IO 4 was made.
    hails_before: usize,
    /// Whether events of Socket.IO 4 end in an offset.
    with_offset: bool,
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
    fn new(first: usize, with_offset: bool) -> Life {
        Life {
            epoch: None,
            base: None,
            first,
            words: Vec::new(),
            hails: Vec::new(),
            hails_before: 0,
            with_offset,
            members: 0,
            readers: Default::default(),
            lacking: Default::default(),
        }
    }

    /// Whether the order is decided elsewhere.
    fn is_of_stream(&self) -> bool {
        self.base.is_some() || self.words.first().is_some_and(|word| word.position.is_some())
    }

    /// Where a message stands; before the first, where the channel began. `None` if nobody was told
    /// the epoch.
    fn position(&self, number: u64) -> Option<String> {
        match &self.base {
            Some((base, begin)) if *base == number => Some(begin.to_string()),
            Some(_) | None if self.is_of_stream() => self.said_at(number).map(str::to_owned),
            Some(_) | None => Some(format!("{}.{number}", self.epoch.as_ref()?)),
        }
    }

    /// Where a message was placed, if its order is decided elsewhere.
    fn said_at(&self, number: u64) -> Option<&str> {
        self.words.get(number.checked_sub(1)? as usize)?.position.as_deref()
    }

    /// How many bytes the position of a message has.
    fn position_bytes(&self, epoch_bytes: u64, number: u64) -> u64 {
        match self.is_of_stream() {
            true => self.position(number).map_or(0, |position| position.len() as u64),
            false => position_bytes(epoch_bytes, number),
        }
    }

    /// Up to which number nothing was brought when it was opened here.
    fn unopened(&self) -> u64 {
        self.base.as_ref().map_or(0, |(number, _)| *number)
    }

    fn newest(&self) -> u64 {
        self.words.len() as u64
    }

    /// The place at which somebody begins in the log of its dialect who has everything up to a
    /// message.
    fn place(&self, dialect: Dialect, number: u64, heads: Heads) -> usize {
        match (dialect.is_socketio(), self.words.get(number as usize)) {
            (true, next) => next.map_or(heads.spoken, |next| next.spoken),
            (false, _) => self.behind(number),
        }
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

    /// The number of the newest message that a ring of a dialect has no room for. Of greetings that
    /// are not certain, either all are there or none.
    fn missing_in(
        &self,
        dialect: Dialect,
        epoch_bytes: u64,
        limits: &Limits,
        with_optional: bool,
    ) -> u64 {
        let (mut left, mut records) = (limits.feed_bytes, entries(limits));
        let mut fits = |bytes: u64| {
            let fits = bytes <= left && records > 0;
            (left, records) = (left.saturating_sub(bytes), records.saturating_sub(1));
            fits
        };
        let mut hails = self.hails_in(dialect, with_optional).rev().peekable();
        for number in (0..=self.newest()).rev() {
            while let Some(hail) = hails.next_if(|hail| hail.after >= number) {
                if !fits(self.event_bytes(hail.event_bytes, hail.after, epoch_bytes)) {
                    return number;
                }
            }
            let Some(word) = number.checked_sub(1).map(|at| &self.words[at as usize]) else {
                break;
            };
            let bytes = self.record_bytes(word, number, dialect, epoch_bytes);
            if bytes.is_some_and(|bytes| !fits(bytes)) {
                return number;
            }
        }
        0
    }

    /// The greetings that a ring has had. One that nobody reads yet is filled with what is kept,
    /// and greetings are not.
    fn hails_in(
        &self,
        dialect: Dialect,
        with_optional: bool,
    ) -> impl DoubleEndedIterator<Item = &Hail> {
        let is_there = self.readers[dialect as usize] > 0;
        let hails = match dialect {
            Dialect::SocketIo4 if is_there => &self.hails[self.hails_before..],
            Dialect::SocketIo4 => &[],
            Dialect::Plain | Dialect::ElbowV1 | Dialect::EventStream | Dialect::SocketIo3 => &[],
        };
        hails.iter().filter(move |hail| with_optional || !hail.optional)
    }

    /// What all takes that a ring has behind a message.
    fn bytes_behind(
        &self,
        number: u64,
        dialect: Dialect,
        epoch_bytes: u64,
        with_optional: bool,
    ) -> u64 {
        let record = |at: usize| {
            self.record_bytes(&self.words[at], at as u64 + 1, dialect, epoch_bytes).unwrap_or(0)
        };
        let words: u64 = (number as usize..self.words.len()).map(record).sum();
        let hails = self.hails_in(dialect, with_optional).filter(|hail| hail.after > number);
        let hails = hails.map(|hail| self.event_bytes(hail.event_bytes, hail.after, epoch_bytes));
        words + hails.sum::<u64>()
    }

    /// What a message takes of a dialect's ring, if it has a form there.
    fn record_bytes(
        &self,
        word: &Word,
        number: u64,
        dialect: Dialect,
        epoch_bytes: u64,
    ) -> Option<u64> {
        let position_bytes = self.position_bytes(epoch_bytes, number);
        let Forms { plain, streamed, event, attached } = word.forms;
        match dialect {
            Dialect::Plain => Some(framed(plain?)),
            Dialect::ElbowV1 => Some(framed(position_bytes + 1 + plain?)),
            Dialect::EventStream => Some(stream::chunk_bytes(streamed?, position_bytes)),
            // What is lost is told by nothing that is sent.
            Dialect::SocketIo4 if word.is_gap() => None,
            Dialect::SocketIo4 => Some(self.event_bytes(event, number, epoch_bytes) + attached),
            // Nobody comes back who reads it.
            Dialect::SocketIo3 => None,
        }
    }

    /// What an event takes of the ring of Socket.IO 4, without its attachments.
    fn event_bytes(&self, event_bytes: u64, number: u64, epoch_bytes: u64) -> u64 {
        // A comma and two quotes.
        let position_bytes = || self.position_bytes(epoch_bytes, number);
        let offset = if self.with_offset { position_bytes() + 3 } else { 0 };
        framed(1 + event_bytes + offset)
    }

    /// Where somebody begins if everything up to this number is missing.
    fn start(
        &self,
        limits: &Limits,
        dialect: Dialect,
        wish: &Wish,
        missing: u64,
        heads: Heads,
    ) -> (Option<bool>, u64, usize) {
        let head = self.behind(self.newest());
        let asked = wish.since.as_deref().map(|since| self.number_of(since));
        let is_whole = |number: Option<u64>| number.is_some_and(|number| number >= missing);
        let recovered = asked.map(is_whole);
        if let (Some(true), Some(Some(number))) = (recovered, asked) {
            return (recovered, number, self.place(dialect, number, heads));
        }
        if dialect.is_socketio() {
            return (recovered, self.newest(), heads.spoken);
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
    /// and of what was said behind that everything was brought, the newest `brought`. Once whoever
    /// has asked for it first may have been refused, it may stay for those who come again.
    pub(crate) fn begin(
        &mut self,
        (asked_ms, now_ms): (u64, u64),
        behind: usize,
        (brought, begin): (u64, Rc<str>),
        with_offset: bool,
    ) {
        assert!(!self.is_alive, "it is open");
        self.is_alive = true;
        let is_late = asked_ms + limits::OPENING_LIMIT.as_millis() <= now_ms;
        let stays = if is_late { limits::LATE_OPENING_LIMIT } else { limits::OPENING_LIMIT };
        self.awaited_ms = now_ms + stays.as_millis();
        if self.lives.is_empty() {
            self.lives.push(Life::new(behind, with_offset));
        }
        let life = self.lives.last_mut().expect("there is one");
        life.base = Some((life.newest() - brought, begin));
        life.with_offset = with_offset;
        assert_eq!(life.members, 0);
    }

    /// The channel is closed here: nobody is there, and nothing is kept that is not too old.
    pub(crate) fn close(&mut self, now_ms: u64, limits: &Limits) {
        if let Some(life) = self.life() {
            assert!(life.is_over(now_ms, limits), "somebody is there, or something is kept");
        }
        self.is_alive = false;
    }

    /// Something of what was said is lost: where it stands now, and where the logs go on.
    pub(crate) fn lose(&mut self, at_ms: u64, behind: Heads, position: Rc<str>) -> u64 {
        let life = self.lives.last_mut().expect("it is open");
        let Heads { plain: behind, spoken } = behind;
        let forms = Forms { plain: None, streamed: None, event: 0, attached: 0 };
        // Nothing of before fits in together with that.
        let (kept_bytes, position) = (u64::MAX, Some(position));
        life.words.push(Word { position, at_ms, kept_bytes, forms, behind, spoken });
        life.newest()
    }

    /// Somebody has come, who would find the log of what plain readers get with so many messages.
    /// If a ring is made for it, whether that is filled.
    pub(crate) fn join(
        &mut self,
        dialect: Dialect,
        (heads, scarce): (Heads, bool),
        paid: Allowed,
        with_offset: bool,
    ) {
        self.open(heads.plain, with_offset);
        let life = self.lives.last_mut().expect("it was just made");
        life.members += 1;
        let readers = &mut life.readers[dialect as usize];
        *readers += 1;
        if *readers == 1 {
            let newest = life.newest();
            if dialect == Dialect::SocketIo4 {
                life.hails_before = life.hails.len();
            }
            life.lacking[dialect as usize] = match paid {
                Allowed::No => (newest, newest),
                Allowed::Perhaps => (0, newest),
                Allowed::Yes => (0, if scarce { newest } else { 0 }),
            };
        }
    }

    /// Somebody is about to say something who is no member, and is kept.
    pub(crate) fn open(&mut self, first: usize, with_offset: bool) {
        if !self.is_alive {
            let is_local = self.lives.last().is_none_or(|life| !life.is_of_stream());
            assert!(is_local, "somebody came in before the channel was open");
            self.is_alive = true;
            self.lives.push(Life::new(first, with_offset));
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
        (heads, scarce): (Heads, bool),
    ) -> Vec<Start> {
        let Some(life) = self.lives.last().filter(|_| self.is_alive) else {
            let recovered = wish.since.as_ref().map(|_| false);
            let place = if dialect.is_socketio() { heads.spoken } else { heads.plain };
            return vec![Start { recovered, number: 0, place, missed: 0, cost_bytes: 0 }];
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
        let doubts = if life.hails.iter().any(|hail| hail.optional) { 2 } else { 1 };
        let epochs = known.map_or(EPOCH_BYTES, |bytes| bytes..=bytes);
        let cases = epochs.flat_map(|bytes| (0..doubts).map(move |it| (bytes, it == 1)));
        for (epoch_bytes, with_optional) in cases {
            let least = kept_from.max(lacking).max(match limits.history {
                Some(_) => life.missing_in(dialect, epoch_bytes, limits, with_optional),
                None => 0,
            });
            for missing in least..=least.max(may_lack) {
                let (recovered, number, place) = life.start(limits, dialect, wish, missing, heads);
                let missed = match dialect.is_socketio() {
                    true => life.newest() - number,
                    false => (life.behind(life.newest()) - place) as u64,
                };
                let cost_bytes = match limits.history {
                    None => 0,
                    Some(_) if has_ring => {
                        life.bytes_behind(number, dialect, epoch_bytes, with_optional)
                    }
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
        let is_over = |life: &Life| !life.is_of_stream() && life.is_over(now_ms, limits);
        let is_over = self.life().is_some_and(is_over);
        self.is_alive &= !is_over;
        is_over
    }

    /// Something is said. Kept of it are parts of so many bytes. Its number; 0 if there is no
    /// channel in which it could be said.
    pub(crate) fn say(
        &mut self,
        at_ms: u64,
        parts: impl Iterator<Item = usize>,
        forms: Forms,
        (behind, position): (Heads, Option<Rc<str>>),
    ) -> u64 {
        let is_placed = position.is_some();
        let Heads { plain: behind, spoken } = behind;
        if is_placed && self.lives.is_empty() {
            let said_plainly = usize::from(forms.plain.is_some());
            self.lives.push(Life::new(behind - said_plainly, false));
        }
        let life = self.lives.last_mut().filter(|_| self.is_alive || is_placed);
        let Some(life) = life else { return 0 };
        let place_bytes = if is_placed { PLACE_BYTES } else { 0 };
        let parts_bytes = parts.map(|part| PART_BYTES + part as u64).sum::<u64>();
        let kept_bytes = HEAD_BYTES + place_bytes + parts_bytes;
        life.words.push(Word { position, at_ms, kept_bytes, forms, behind, spoken });
        life.newest()
    }

    /// Members of Socket.IO are told of a newcomer, by a packet of so many bytes.
    pub(crate) fn greet(&mut self, event_bytes: usize, optional: bool) {
        if let Some(life) = self.lives.last_mut().filter(|_| self.is_alive) {
            let after = life.newest();
            life.hails.push(Hail { after, event_bytes: event_bytes as u64, optional });
        }
    }

    /// How many messages the life that goes on has had; 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.life().map_or(0, Life::newest)
    }

    fn life(&self) -> Option<&Life> {
        self.lives.last().filter(|_| self.is_alive)
    }

    /// Whether there is a channel, with members or without.
    pub(crate) fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Whether everything is kept that was said behind a position, be it that no ring holds it.
    pub(crate) fn keeps(&self, now_ms: u64, limits: &Limits, position: &str) -> bool {
        let number = self.life().and_then(|life| Some((life, life.number_of(position)?)));
        number.is_some_and(|(life, number)| number >= life.missing(now_ms, limits))
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
        self.lives.len().saturating_sub(1)
    }

    /// A position, once somebody was told the epoch.
    pub(crate) fn position(&self, life: usize, number: u64) -> Option<String> {
        self.lives.get(life)?.position(number)
    }

    /// Where a message was placed, if its order is decided elsewhere.
    pub(crate) fn said_at(&self, life: usize, number: u64) -> Option<&str> {
        self.lives.get(life)?.said_at(number)
    }

    /// Whether the order is decided elsewhere.
    pub(crate) fn is_of_stream(&self, life: usize) -> bool {
        self.lives.get(life).is_some_and(Life::is_of_stream)
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

/// How many bytes a position has.
fn position_bytes(epoch_bytes: u64, number: u64) -> u64 {
    epoch_bytes + 1 + u64::from(number.checked_ilog10().unwrap_or(0)) + 1
}

/// How many bytes a server's frame has.
pub(crate) fn framed(payload_bytes: u64) -> u64 {
    let header = match payload_bytes {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    header + payload_bytes
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
