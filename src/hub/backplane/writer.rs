//! The writer's half of a backplane: what is added, and what Redis says to it.
//!
//! ```text
//!   AUTH   SELECT   XADD own key (a pulse)                  when connected
//!   XADD own key MAXLEN 1 * m p            EXPIRE own key   each second, and to wake the reader
//!   XADD channel MAXLEN ~ N * m ENTRY      EXPIRE channel   once the pulse was taken
//!   XADD greetings MAXLEN ~ 1000 * m ENTRY EXPIRE greetings
//! ```
//!
//! Requests are pipelined, and replies come in their order. As long as Redis does not take the
//! pulse, nothing else is added: a pulse that is taken shows that the server is no replica, has
//! memory, and may be written to.
//!
//! The surprise: that an entry was taken is only noted. It is done with when the reader has it.

use std::collections::VecDeque;

use super::channel::{Sent, Stage};
use super::entry::{self, EntryId, Head};
use super::event::{Line, Trouble, Words};
use super::line::{Piece, Wire};
use super::outbox::Outbox;
use super::{Backplane, ENTRY_BYTES, GREETINGS_BYTES, REQUEST_EXTRA_BYTES, Settings, expiry_s};
use crate::time::{Duration, Instant};
use crate::wire::resp;

/// How often a pulse is added.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);

/// An entry that was taken so long ago and was not read back is sent again.
const LOST_LIMIT: Duration = Duration::from_secs(3);

/// How long a key's time to live is not set again by what is added.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// How long a key's time to live is not set again while nothing is said.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// How many greetings are kept, about.
const GREETINGS_KEPT: u64 = 1000;

/// Requests beside those of channels that may be without a reply.
const OWED_EXTRA: usize = 64;

/// What a reply will be to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owed {
    /// AUTH or SELECT.
    Greeting,
    /// A pulse.
    Pulse,
    /// The entry of a channel, by the number of its first message.
    Entry { slot: usize, first: u64 },
    /// A key's time to live.
    Expiry,
    /// Greetings of clients, so many.
    Greetings(u16),
}

/// The writer's half of the state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) wire: Wire,
    owed: VecDeque<Owed>,
    owed_max: usize,
    /// When the next pulse is added.
    pub(super) pulse_at: Instant,
    /// The last pulse that was taken on this connection, and when that was known.
    pub(super) pulse: Option<(EntryId, Instant)>,
    /// The last pulse that was taken on any connection, which tells the time by Redis' clock.
    pub(super) clock: Option<(EntryId, Instant)>,
    /// Greetings that wait for the end of the turn, in the form of an entry's messages.
    greetings: Vec<u8>,
    greetings_count: u16,
    /// When the time to live of the key of pulses was last set on this connection, if it was.
    own_expiry_at: Option<Instant>,
    /// When the time to live of the key of greetings was last set on this connection, if it was.
    greetings_expiry_at: Option<Instant>,
    /// Whether it was told that keys cannot be given a time to live.
    told_expiry: bool,
}

impl Writer {
    pub(super) fn new(settings: &Settings, now: Instant) -> Writer {
        let owed_max = 2 * settings.slots() + OWED_EXTRA;
        let bulk_bytes_max = entry::ID_BYTES_MAX;
        Writer {
            wire: Wire::new(8 * 1024, settings.writer_bytes(), bulk_bytes_max),
            owed: VecDeque::with_capacity(owed_max),
            owed_max,
            pulse_at: now,
            pulse: None,
            clock: None,
            greetings: Vec::with_capacity(GREETINGS_BYTES),
            greetings_count: 0,
            own_expiry_at: None,
            greetings_expiry_at: None,
            told_expiry: false,
        }
    }

    /// Takes a greeting; `false` if there is no room for it in this turn.
    pub(super) fn put_greeting(&mut self, name: &str, greeting: &[u8]) -> bool {
        let mut front = [0; 256];
        let Ok(length) = u8::try_from(name.len()) else { return false };
        front[0] = length;
        let Some(place) = front.get_mut(1..1 + name.len()) else { return false };
        place.copy_from_slice(name.as_bytes());
        let front = &front[..1 + name.len()];
        let bytes = entry::message_bytes(None, front.len() + greeting.len());
        if self.greetings_count == u16::MAX || self.greetings.len() + bytes > GREETINGS_BYTES {
            return false;
        }
        entry::put_message(None, [front, greeting], &mut self.greetings);
        self.greetings_count += 1;
        true
    }

    /// Whether the keys of pulses and greetings have a time to live is not known any more.
    pub(super) fn forget_expiry(&mut self) {
        (self.own_expiry_at, self.greetings_expiry_at) = (None, None);
    }

    fn expect(&mut self, now: Instant, owed: Owed) {
        self.owed.push_back(owed);
        self.wire.expect(now);
    }
}

impl Backplane {
    /// The writer's connection is made: who we are is said, and whether entries are taken is tried.
    pub(super) fn begin_writing(&mut self, now: Instant) {
        for _ in 0..introduce(&self.settings, &mut self.writer.wire) {
            self.writer.expect(now, Owed::Greeting);
        }
        self.writer.pulse_at = now;
    }

    /// The writer's connection is gone. Whether what was not answered was taken is not known, nor
    /// whether keys have a time to live.
    pub(super) fn forget_written(&mut self) {
        self.writer.owed.clear();
        self.writer.pulse = None;
        self.writer.told_expiry = false;
        self.writer.forget_expiry();
        for slot in 0..self.channels.capacity() {
            if let Some(channel) = self.channels.get_mut(slot) {
                channel.expiry_at = None;
                self.send_again(slot);
            }
        }
    }

    /// Writes what is due, and what channels have to say.
    pub(super) fn write(&mut self, now: Instant) {
        if !self.writer.wire.is_up() {
            return self.drop_greetings();
        }
        if self.writer.pulse_at <= now && self.may_pulse() {
            self.write_pulse(now);
            self.look_after_channels(now);
        }
        if !self.writer.wire.is_working() {
            return self.drop_greetings();
        }
        while let Some(slot) = self.listed.front().copied() {
            if self.channels[slot].may_send() && !self.write_entry(now, slot) {
                break;
            }
            self.listed.pop_front();
            self.channels[slot].is_listed = false;
        }
        self.write_greetings(now);
    }

    /// How much room there must be for an entry to be written, whichever it is.
    pub(super) fn writer_room(&self) -> usize {
        self.settings.writer_bytes() / 2
    }

    fn may_write(&self, requests: usize) -> bool {
        self.writer.wire.output_room() >= self.writer_room()
            && self.writer.owed.len() + requests <= self.writer.owed_max
    }

    /// Whether a pulse could be written now. If not, what was written before has to go first, and a
    /// line on which nothing goes is given up.
    pub(super) fn may_pulse(&self) -> bool {
        self.writer.wire.is_up()
            && self.writer.owed.len() < self.writer.owed_max
            && self.writer.wire.output_room() >= self.writer_room() / 2
    }

    fn write_pulse(&mut self, now: Instant) {
        let parts: [&[u8]; 7] = [b"XADD", &self.keys.own, b"MAXLEN", b"1", b"*", b"m", b"p"];
        resp::request(&parts, self.writer.wire.output());
        self.writer.expect(now, Owed::Pulse);
        self.writer.pulse_at = now.plus(PULSE_INTERVAL);
        if is_due(self.writer.own_expiry_at, now, EXPIRY_INTERVAL) {
            self.writer.own_expiry_at = Some(now);
            write_expiry(&self.keys.own, expiry_s(None), self.writer.wire.output());
            self.writer.expect(now, Owed::Expiry);
        }
    }

    /// Once a second: keys that nobody speaks to are kept alive, and entries that were taken and
    /// are not seen are sent again.
    fn look_after_channels(&mut self, now: Instant) {
        let reads = self.reader.wire.is_working() && self.pending.is_none();
        for slot in 0..self.channels.capacity() {
            let Some(channel) = self.channels.get(slot) else { continue };
            let sent = channel.sent.map(|sent| sent.stage);
            if let Some(Stage::Taken(at)) = sent
                && reads
                && now.since(at) >= LOST_LIMIT
            {
                self.send_again(slot);
            }
            let channel = &self.channels[slot];
            // Where nothing was ever said there is no key.
            let has_key = channel.last.entry != EntryId::ZERO;
            let is_due = has_key && is_due(channel.expiry_at, now, RENEWAL_INTERVAL);
            if is_due && self.writer.wire.is_working() && self.may_write(1) {
                self.write_expiry_of(now, slot);
            }
        }
    }

    fn write_expiry_of(&mut self, now: Instant, slot: usize) {
        let channel = &mut self.channels[slot];
        channel.expiry_at = Some(now);
        let key = [&self.keys.channel[..], channel.name.as_bytes()];
        write_expiry_in(key, expiry_s(self.settings.history), self.writer.wire.output());
        self.writer.expect(now, Owed::Expiry);
    }

    /// Sends the channel's entry again, or makes the next of what waits. `false` if there is no
    /// room for it.
    fn write_entry(&mut self, now: Instant, slot: usize) -> bool {
        if !self.may_write(2) {
            return false;
        }
        let channel = &mut self.channels[slot];
        let sent = match channel.sent {
            Some(sent) => {
                self.counts.entries_resent += 1;
                Sent { stage: Stage::Owed, ..sent }
            }
            None => {
                let record = Outbox::front(&channel.waiting).expect("something waits");
                let count = packed(&self.outbox, record);
                self.outbox.unqueue(&mut channel.waiting, count);
                let first = self.next_number;
                self.next_number += u64::from(count);
                let (placed, next_record, stage) = (0, record, Stage::Owed);
                Sent { first, count, placed, record, next_record, stage }
            }
        };
        channel.sent = Some(sent);
        self.counts.entries_sent += 1;
        let kept = channel.kept_entries(self.settings.history);
        let key = [&self.keys.channel[..], channel.name.as_bytes()];
        let bytes = bytes_of(&self.outbox, &sent);
        let out = self.writer.wire.output();
        write_addition(key, kept, bytes, out);
        let head = Head {
            producer: self.producer,
            first: sent.first,
            after: channel.last.entry,
            count: sent.count,
        };
        entry::put_head(&head, out);
        let mut record = Some(sent.record);
        for _ in 0..sent.count {
            let number = record.expect("an entry has as many messages as it says");
            entry::put_message(self.outbox.measure(number).0, self.outbox.bytes(number), out);
            record = self.outbox.next(number);
        }
        out.extend_from_slice(b"\r\n");
        self.writer.expect(now, Owed::Entry { slot, first: sent.first });
        if is_due(self.channels[slot].expiry_at, now, EXPIRY_INTERVAL) {
            self.write_expiry_of(now, slot);
        }
        true
    }

    fn write_greetings(&mut self, now: Instant) {
        if self.writer.greetings_count == 0 || !self.may_write(2) {
            return self.drop_greetings();
        }
        let count = self.writer.greetings_count;
        let after = EntryId::ZERO;
        let head = Head { producer: self.producer, first: self.next_number, after, count };
        self.next_number += u64::from(count);
        let bytes = entry::HEAD_BYTES + self.writer.greetings.len();
        let out = self.writer.wire.output();
        write_addition([&self.keys.greetings, b""], GREETINGS_KEPT, bytes, out);
        entry::put_head(&head, out);
        out.extend_from_slice(&self.writer.greetings);
        out.extend_from_slice(b"\r\n");
        self.writer.expect(now, Owed::Greetings(count));
        self.writer.greetings.clear();
        self.writer.greetings_count = 0;
        if is_due(self.writer.greetings_expiry_at, now, EXPIRY_INTERVAL) {
            self.writer.greetings_expiry_at = Some(now);
            write_expiry(&self.keys.greetings, expiry_s(None), self.writer.wire.output());
            self.writer.expect(now, Owed::Expiry);
        }
    }

    fn drop_greetings(&mut self) {
        self.counts.greetings_dropped += u64::from(self.writer.greetings_count);
        self.writer.greetings.clear();
        self.writer.greetings_count = 0;
    }

    /// Reads all replies that have come on the writer's line.
    pub(super) fn read_replies(&mut self, now: Instant) {
        loop {
            let piece = match self.writer.wire.next() {
                Ok(Some((piece, 0, true))) => piece,
                Ok(None) => break,
                // None of our requests is answered by an array.
                Ok(Some(_)) => return self.fail_garbled(now, Line::Writer),
                Err(_) => return self.fail_garbled(now, Line::Writer),
            };
            let Some(owed) = self.writer.owed.pop_front() else {
                // A server that is full, or going away, says so before it closes.
                return match piece {
                    Piece::Error(trouble, words) => {
                        self.fail(now, Line::Writer, (trouble, words), true);
                    }
                    Piece::Plain | Piece::Bulk(_) | Piece::Nothing | Piece::Array(_) => {
                        self.fail_garbled(now, Line::Writer);
                    }
                };
            };
            if !self.take_reply(now, owed, piece) {
                return;
            }
            self.writer.wire.release();
        }
        self.writer.wire.release();
        let owes = !self.writer.owed.is_empty();
        self.writer.wire.heard(now, owes);
    }

    pub(super) fn fail_garbled(&mut self, now: Instant, line: Line) {
        self.fail(now, line, (Trouble::Garbled, Words::new(b"")), true);
    }

    /// `false` if the line is given up for it.
    fn take_reply(&mut self, now: Instant, owed: Owed, piece: Piece) -> bool {
        let taken = match piece {
            Piece::Error(trouble, words) => return self.take_error(now, owed, (trouble, words)),
            Piece::Bulk(range) => EntryId::parse(self.writer.wire.slice(&range)),
            Piece::Plain | Piece::Nothing | Piece::Array(_) => None,
        };
        match (owed, taken) {
            (Owed::Greeting | Owed::Expiry, _) => {}
            (Owed::Pulse, Some(id)) => {
                self.writer.pulse = Some((id, now));
                self.writer.clock = Some((id, now));
                self.writer.wire.works(now);
            }
            (Owed::Entry { slot, first }, Some(_)) => {
                let sent = self.channels.get_mut(slot).and_then(|channel| channel.sent.as_mut());
                if let Some(sent) = sent.filter(|sent| sent.first == first) {
                    sent.stage = Stage::Taken(now);
                }
            }
            (Owed::Greetings(_), Some(_)) => {}
            (Owed::Pulse | Owed::Entry { .. } | Owed::Greetings(_), None) => {
                self.fail_garbled(now, Line::Writer);
                return false;
            }
        }
        true
    }

    /// A request was refused, and so not carried out. `false` if the line is given up for it.
    fn take_error(&mut self, now: Instant, owed: Owed, error: (Trouble, Words)) -> bool {
        match owed {
            Owed::Expiry => {
                if !core::mem::replace(&mut self.writer.told_expiry, true) {
                    self.no_expiry = Some(error);
                }
                return true;
            }
            Owed::Greetings(count) => self.counts.greetings_dropped += u64::from(count),
            Owed::Entry { slot, first } => {
                let sent = self.channels.get(slot).and_then(|channel| channel.sent);
                if sent.is_some_and(|sent| sent.first == first) {
                    // Where there was no key, none was given a time to live behind it.
                    self.channels[slot].expiry_at = None;
                    self.send_again(slot);
                }
            }
            Owed::Greeting | Owed::Pulse => {}
        }
        // Without AUTH and SELECT nothing is sure of what follows.
        if error.0.passes() && owed != Owed::Greeting {
            self.writer.wire.rests();
            self.writer.wire.tell(error.0, error.1);
            return true;
        }
        self.fail_by_error(now, Line::Writer, error);
        // Both lines lead to the same server, and it is the wrong one.
        if error.0 == Trouble::ReadOnly && self.reader.wire.is_up() {
            self.fail(now, Line::Reader, error, true);
        }
        false
    }
}

/// Says who we are and which database is meant; returns how many requests that took.
pub(super) fn introduce(settings: &Settings, wire: &mut Wire) -> usize {
    let mut requests = 0;
    match (&settings.user, settings.password.as_deref()) {
        // A user without a password takes any.
        (Some(user), password) => {
            let password = password.unwrap_or_default();
            resp::request(&[b"AUTH", user.as_bytes(), password], wire.output());
        }
        (None, Some(password)) => resp::request(&[b"AUTH", password], wire.output()),
        (None, None) => {}
    }
    requests += usize::from(settings.user.is_some() || settings.password.is_some());
    if settings.database != 0 {
        resp::request_of(2, wire.output());
        resp::bulk(b"SELECT", wire.output());
        resp::bulk_number(u64::from(settings.database), wire.output());
        requests += 1;
    }
    requests
}

/// Appends the part of a request that is a key in two parts.
pub(super) fn write_key([front, back]: [&[u8]; 2], out: &mut Vec<u8>) {
    resp::bulk_of(front.len() + back.len(), out);
    out.extend_from_slice(front);
    out.extend_from_slice(back);
    out.extend_from_slice(b"\r\n");
}

/// Appends the beginning of a request that adds an entry of so many bytes. These have to follow,
/// and CRLF.
fn write_addition(key: [&[u8]; 2], kept: u64, bytes: usize, out: &mut Vec<u8>) {
    resp::request_of(8, out);
    resp::bulk(b"XADD", out);
    write_key(key, out);
    resp::bulk(b"MAXLEN", out);
    resp::bulk(b"~", out);
    resp::bulk_number(kept, out);
    resp::bulk(b"*", out);
    resp::bulk(b"m", out);
    resp::bulk_of(bytes, out);
}

fn write_expiry(key: &[u8], seconds: u64, out: &mut Vec<u8>) {
    write_expiry_in([key, b""], seconds, out);
}

fn write_expiry_in(key: [&[u8]; 2], seconds: u64, out: &mut Vec<u8>) {
    resp::request_of(3, out);
    resp::bulk(b"EXPIRE", out);
    write_key(key, out);
    resp::bulk_number(seconds, out);
}

/// Whether something that was last done `at` is to be done again.
fn is_due(at: Option<Instant>, now: Instant, interval: Duration) -> bool {
    at.is_none_or(|at| now.since(at) >= interval)
}

/// How many messages go into one entry, from this one of a channel on.
fn packed(outbox: &Outbox, first: u64) -> u16 {
    let (mut count, mut bytes, mut record) = (0, entry::HEAD_BYTES, Some(first));
    while let Some(number) = record {
        let (key, length) = outbox.measure(number);
        bytes += entry::message_bytes(key, length);
        if count > 0 && bytes > ENTRY_BYTES || count == u16::MAX {
            break;
        }
        count += 1;
        record = outbox.next(number);
    }
    count
}

/// Bytes of an entry.
fn bytes_of(outbox: &Outbox, sent: &Sent) -> usize {
    let (mut bytes, mut record) = (entry::HEAD_BYTES, Some(sent.record));
    for _ in 0..sent.count {
        let number = record.expect("an entry has as many messages as it says");
        let (key, length) = outbox.measure(number);
        bytes += entry::message_bytes(key, length);
        record = outbox.next(number);
    }
    bytes
}

const _: () = assert!(REQUEST_EXTRA_BYTES >= 128, "an addition and a time to live fit");
