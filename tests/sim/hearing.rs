//! What a Socket.IO session is told, held against what was said.
//!
//! A session is in channels in *stints*, each from a CONNECT to its end. It must get every record
//! of a stint from the first on, in order, whole, whatever carries it: the place in the channel's
//! log belongs to the stint, so an upgrade in between changes nothing. Own packets are owed in the
//! order in which they were asked for.
//!
//! Leaves to `oracle.rs` what channels' logs are made of, and to `person.rs` what clients do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use elbow::reason::CloseReason;
use elbow::text::cut;

use super::client::{Message, Reasons};
use super::climate::Climate;
use super::packet::{self, Packet, Said, said};
use super::past::Past;

/// One record of a channel, as Socket.IO clients get it.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    /// The packet of Socket.IO.
    pub(crate) text: Rc<str>,
    pub(crate) attachments: Vec<Rc<[u8]>>,
    /// It tells of a newcomer.
    pub(crate) is_greeting: bool,
    /// There may have been no memory for it: a greeting.
    pub(crate) optional: bool,
    /// Something is lost here, behind which nobody reads who was there.
    pub(crate) is_gap: bool,
}

/// What was published in a channel, in order.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// As plain WebSockets get it.
    pub(crate) plain: Vec<Message>,
    /// The number of each of those in the life of the channel; 0 if it was said to nobody.
    pub(crate) plain_numbers: Vec<u64>,
    pub(crate) past: Past,
    pub(crate) spoken: Vec<Spoken>,
    /// The turns in which they were.
    pub(crate) plain_turns: Vec<u64>,
    pub(crate) spoken_turns: Vec<u64>,
    /// Places among those of plain readers where something is lost.
    pub(crate) gaps: BTreeSet<usize>,
}

/// An event that a client has said and that is to be published.
#[derive(Clone, Debug)]
pub(crate) struct Saying {
    pub(crate) channel: Box<str>,
    /// Name and arguments.
    pub(crate) args: String,
    pub(crate) spoken: Spoken,
    pub(crate) plain: Option<Message>,
    pub(crate) ack: Option<u64>,
}

/// A stay in a channel.
#[derive(Clone, Debug)]
struct Stint {
    /// The next record of the channel's log.
    place: usize,
    got: u64,
    /// Greetings that were taken for ones that were perhaps not told. They all look alike, so as
    /// many of those behind them may be missing instead.
    credit: usize,
    published: u64,
    opened_at_ms: u64,
    /// Whether its end was reported.
    ended: bool,
    /// Whether its end was looked at.
    judged: bool,
}

/// An event some of whose attachments are still to come.
#[derive(Debug)]
struct Owed {
    channel: Box<str>,
    place: usize,
    got: usize,
    all: usize,
}

/// Where in which connection's bytes there is a sign of life.
#[derive(Debug)]
pub(crate) struct Sign {
    pub(crate) carrier: usize,
    pub(crate) upto: u64,
    /// Events that were said before it.
    pub(crate) words: u64,
    /// When the server read it.
    pub(crate) read_ms: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Hearing {
    version: u8,
    stints: BTreeMap<Box<str>, Vec<Stint>>,
    /// The stint that what comes now belongs to.
    on_wire: BTreeMap<Box<str>, usize>,
    owed: Option<Owed>,
    /// Channels that it wants to enter, in the order of the answers to come.
    pub(crate) asked: VecDeque<Box<str>>,
    /// What it has said and what is not published yet.
    pub(crate) sent: VecDeque<Saying>,
    /// Acknowledgements of what was published, to come in this order.
    pub(crate) acks: VecDeque<(Box<str>, u64)>,
    /// Pings of its own that are to be answered.
    pub(crate) pings: VecDeque<String>,
    /// Channels that it has left at some time.
    pub(crate) left: BTreeSet<Box<str>>,
    /// Reasons for which it may end by its own doing.
    pub(crate) reasons: Reasons,
    /// It does not wait for answers, so what comes in which order is not known.
    pub(crate) unchecked: bool,
    /// When the server made it.
    pub(crate) opened_at_ms: Option<u64>,
    /// When the connection was accepted on which it was asked for.
    pub(crate) accepted_ms: u64,
    pub(crate) pinged_at_ms: Option<u64>,
    /// The WebSocket that is to take over, once it has been told that it may.
    pub(crate) proved_on: Option<usize>,
    /// Something of the session has come on its WebSocket.
    pub(crate) on_socket: bool,
    /// The server has said that it is over.
    pub(crate) told_close: bool,
    /// Why it ended, as far as a channel was told.
    pub(crate) end: Option<CloseReason>,
    pub(crate) is_lapped: bool,
    /// When something was lost of a channel that it was in.
    pub(crate) parted_ms: Option<u64>,
    /// What lets the server know that it lives, and may not have been taken in yet.
    pub(crate) signs: Vec<Sign>,
    /// Events that it has said and that are to be published.
    pub(crate) said: u64,
    /// How many of its events were published; the last of them at `taken_ms`.
    pub(crate) taken: u64,
    pub(crate) taken_ms: u64,
    /// When its last sign of life was read, what stood before it was not taken in, or had just
    /// been, so that its turn may have been over.
    pub(crate) heard_behind: bool,
    /// When the server last read one that it has taken in.
    pub(crate) heard_ms: u64,
    /// When it last had said something that was not taken in.
    pub(crate) saying_ms: u64,
    /// When its end was last excusably put off.
    pub(crate) excused_ms: u64,
    /// Since when the server could tell it everything.
    pub(crate) receptive_ms: Option<u64>,
    /// The last turn in which it could not.
    pub(crate) receptive_turn: u64,
}

impl Log {
    /// Something was said, in the form that it has for plain WebSockets, if it has one. `args` is
    /// an event's name and arguments; what a plain WebSocket says is no event.
    pub(crate) fn push(
        &mut self,
        (now_ms, turn): (u64, u64),
        args: Option<&str>,
        (spoken, position): (Spoken, Option<Rc<str>>),
        plain: Option<Message>,
    ) {
        let plain_bytes = plain.as_ref().map(|message| message.payload.len());
        let behind = self.plain.len() + usize::from(plain.is_some());
        let number = match args {
            Some(args) => {
                let attached = spoken.attachments.iter().map(|bytes| bytes.len());
                let parts = core::iter::once(args.len()).chain(attached);
                self.past.say(now_ms, parts, plain_bytes, (behind, position))
            }
            None => {
                let parts = plain_bytes.into_iter();
                self.past.say(now_ms, parts, plain_bytes, (behind, position))
            }
        };
        self.push_spoken(turn, spoken);
        if let Some(message) = plain {
            self.plain.push(message);
            self.plain_numbers.push(number);
            self.plain_turns.push(turn);
        }
    }

    /// Something is lost of what was said, and the channel stands at `position` now.
    pub(crate) fn lose(&mut self, (now_ms, turn): (u64, u64), position: &Rc<str>) {
        let notice = format!("\n{{\"lost\":true,\"position\":\"{position}\"}}");
        let payload: Rc<[u8]> = notice.into_bytes().into();
        self.gaps.insert(self.plain.len());
        self.plain.push(Message { is_text: true, payload });
        self.plain_turns.push(turn);
        let number = self.past.lose(now_ms, self.plain.len(), Rc::clone(position));
        self.plain_numbers.push(number);
        let spoken = Spoken::event("what is lost".into(), Vec::new());
        self.push_spoken(turn, Spoken { is_gap: true, ..spoken });
    }

    /// Up to which place somebody is sent what there is who stands at `place`.
    pub(crate) fn reach(&self, place: usize) -> usize {
        self.gaps.range(place..).next().copied().unwrap_or(self.plain.len())
    }

    fn push_spoken(&mut self, turn: u64, spoken: Spoken) {
        self.spoken.push(spoken);
        self.spoken_turns.push(turn);
    }

    /// Somebody has entered the channel of this log.
    pub(crate) fn push_greeting(
        &mut self,
        turn: u64,
        climate: &Climate,
        channel: &str,
        optional: bool,
    ) {
        let Some(greeting) = &climate.settings.greeting else { return };
        let text = format!("2{}{}", packet::prefix(channel), greeting.args()).into();
        let spoken =
            Spoken { text, attachments: Vec::new(), is_greeting: true, optional, is_gap: false };
        self.push_spoken(turn, spoken);
    }
}

impl Stint {
    /// Goes behind greetings that were not told for want of memory, up to what comes now.
    fn skip_greetings(&mut self, spoken: &[Spoken], text: &str) -> usize {
        while let Some(next) = spoken.get(self.place)
            && *next.text != *text
            && (next.optional || (next.is_greeting && self.credit > 0))
        {
            self.credit -= usize::from(!next.optional);
            self.place += 1;
        }
        match spoken.get(self.place) {
            Some(next) if next.is_greeting => self.credit += usize::from(next.optional),
            Some(_) | None => self.credit = 0,
        }
        self.place
    }

    /// How many records further the first stands that it certainly has not been given, of those
    /// that it must be.
    fn first_owed(&self, spoken: &[Spoken]) -> usize {
        let mut credit = self.credit;
        let is_owed = |spoken: &Spoken| {
            let excused = spoken.is_greeting && credit > 0;
            credit -= usize::from(excused && !spoken.optional);
            !spoken.optional && !excused
        };
        let missing = self.owed_of(spoken);
        missing.iter().position(is_owed).unwrap_or(missing.len() - 1)
    }

    /// What it is to be sent still.
    fn owed_of<'a>(&self, spoken: &'a [Spoken]) -> &'a [Spoken] {
        let owed = spoken[self.place..].split(|spoken| spoken.is_gap);
        owed.into_iter().next().unwrap_or_default()
    }

    fn behind(&self, spoken: &[Spoken]) -> usize {
        let missing = self.owed_of(spoken);
        let behind = missing.iter().filter(|spoken| !spoken.optional).count();
        let credit = if missing.iter().all(|spoken| spoken.is_greeting) { self.credit } else { 0 };
        behind.saturating_sub(credit)
    }
}

impl Spoken {
    pub(crate) fn event(text: Rc<str>, attachments: Vec<Rc<[u8]>>) -> Spoken {
        Spoken { text, attachments, is_greeting: false, optional: false, is_gap: false }
    }
}

impl Hearing {
    pub(crate) fn new(version: u8) -> Hearing {
        Hearing {
            version,
            stints: BTreeMap::new(),
            on_wire: BTreeMap::new(),
            owed: None,
            // Protocol 3 puts everybody into the default channel unasked.
            asked: (version == 3).then(|| "default".into()).into_iter().collect(),
            sent: VecDeque::new(),
            acks: VecDeque::new(),
            pings: VecDeque::new(),
            left: BTreeSet::new(),
            reasons: Reasons::default(),
            unchecked: false,
            opened_at_ms: None,
            accepted_ms: 0,
            pinged_at_ms: None,
            proved_on: None,
            on_socket: false,
            told_close: false,
            end: None,
            is_lapped: false,
            parted_ms: None,
            signs: Vec::new(),
            said: 0,
            taken: 0,
            taken_ms: 0,
            heard_behind: false,
            saying_ms: 0,
            heard_ms: 0,
            excused_ms: 0,
            receptive_ms: None,
            receptive_turn: 0,
        }
    }

    /// Whether it is in a channel, as the server has reported.
    pub(crate) fn is_in_any(&self) -> bool {
        self.stints.values().flatten().any(|stint| !stint.ended)
    }

    /// Whether it was in a channel when what it hears now was said: it is in one, or what was
    /// written before it left has not all been looked at.
    pub(crate) fn is_unjudged_in_any(&self) -> bool {
        self.stints.values().flatten().any(|stint| !stint.judged)
    }

    /// Whether its WebSocket may end for this reason.
    pub(crate) fn explains(&self, reason: CloseReason) -> bool {
        self.end == Some(reason) || self.reasons.allows(reason)
    }

    /// Whether it has not been heard for so long that it may be given up.
    pub(crate) fn is_silent(&self, now_ms: u64, climate: &Climate) -> bool {
        let limits = &climate.settings.limits;
        let patience = match self.version {
            4 => limits.ping_timeout,
            _ => limits.ping_interval.plus(limits.ping_timeout),
        };
        now_ms - self.heard_ms().max(self.accepted_ms) >= patience.as_millis()
    }

    /// When the server last read a sign of life, as far as that has not been refused.
    pub(crate) fn heard_ms(&self) -> u64 {
        let read_ms = self.signs.iter().filter_map(|sign| sign.read_ms);
        read_ms.fold(self.heard_ms, u64::max)
    }

    /// What came in a POST on this connection was refused.
    pub(crate) fn refuse(&mut self, carrier: usize) {
        self.signs.retain(|sign| sign.carrier != carrier);
    }

    /// How many records of a channel it has not been given.
    pub(crate) fn missing(&self, logs: &BTreeMap<Box<str>, Log>, channel: &str) -> u64 {
        let stint = self.stints[channel].last().expect("it is there");
        (logs[channel].spoken.len() - stint.place) as u64
    }

    /// Channels that it is in, as the server has reported.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &str> {
        let is_in = |stints: &Vec<Stint>| stints.iter().any(|stint| !stint.ended);
        self.stints.iter().filter(move |(_, stints)| is_in(stints)).map(|(channel, _)| &**channel)
    }

    /// Whether it ever was.
    pub(crate) fn was_in_any(&self) -> bool {
        !self.stints.is_empty()
    }

    /// It has entered a channel, behind its own greeting.
    pub(crate) fn entered(&mut self, now_ms: u64, channel: &str, place: usize) {
        let stints = self.stints.entry(channel.into()).or_default();
        assert!(stints.iter().all(|stint| stint.ended), "in {channel} twice");
        stints.push(Stint {
            place,
            got: 0,
            credit: 0,
            published: 0,
            opened_at_ms: now_ms,
            ended: false,
            judged: false,
        });
    }

    /// It has published something.
    pub(crate) fn published(&mut self, now_ms: u64, text: &str, is_late: bool) -> Saying {
        // Of two requests that are under way at once either may come first, or be lost.
        let is_it = |saying: &Saying| cut(&saying.args) == text;
        let place = if self.unchecked { self.sent.iter().position(is_it) } else { Some(0) };
        let saying = place.and_then(|place| self.sent.remove(place)).expect("somebody said it");
        assert_eq!(text, cut(&saying.args), "what was said, in order");
        self.taken += 1;
        self.taken_ms = now_ms;
        let stints = self.stints.get_mut(&saying.channel).expect("it is there");
        let Some(stint) = stints.last_mut().filter(|stint| !stint.ended) else {
            // What has its place elsewhere may come when its speaker has left.
            assert!(is_late, "only who is in a channel publishes");
            return saying;
        };
        stint.published += 1;
        if let Some(id) = saying.ack {
            self.acks.push_back((saying.channel.clone(), id));
        }
        saying
    }

    /// Its end in a channel is reported.
    pub(crate) fn ended(&mut self, channel: &str, reason: CloseReason) {
        let stints = self.stints.get_mut(channel).expect("it was there");
        let stint = stints.last_mut().filter(|stint| !stint.ended).expect("it ends once");
        stint.ended = true;
        if reason != CloseReason::ClosedByClient || !self.left.contains(channel) {
            self.end = Some(reason);
        }
    }

    /// Looks at its end in a channel, once everything that was written before it is known. `exact`
    /// unless an answer may be under way that has more than what has been seen.
    pub(crate) fn judge_end(
        &mut self,
        channel: &str,
        now_ms: u64,
        duration_ms: u64,
        counts: (u64, u64),
        exact: bool,
    ) {
        let unchecked = self.unchecked;
        let stints = self.stints.get_mut(channel).expect("it was there");
        let stint = stints.iter_mut().find(|stint| stint.ended && !stint.judged);
        let stint = stint.expect("it was reported");
        stint.judged = true;
        assert_eq!(now_ms - stint.opened_at_ms, duration_ms);
        assert_eq!(stint.published, counts.0, "published in {channel}");
        if !unchecked && exact {
            assert_eq!(stint.got, counts.1, "told in {channel}");
        }
        assert!(unchecked || stint.got <= counts.1, "told more in {channel} than is counted");
    }

    /// One packet has come. What it says, unless it is a record or a part of one; and whether that
    /// was the end of a record.
    pub(crate) fn hear(
        &mut self,
        logs: &BTreeMap<Box<str>, Log>,
        packet: &Packet,
    ) -> (Option<Said>, bool) {
        // Of what goes out at the same time on two connections either may be seen first.
        let is_probed = *packet == Packet::Text("3probe".to_owned());
        assert!(!self.told_close || is_probed, "{packet:?} behind the end");
        let text = match packet {
            Packet::Binary(bytes) => return (None, self.hear_attachment(logs, bytes)),
            Packet::Text(text) => text,
        };
        assert!(self.owed.is_none() || self.unchecked, "{text:?} before an attachment");
        let said = said(self.version, text);
        match &said {
            Said::Event(channel, attachments, text) => {
                return (None, self.hear_event(logs, channel, *attachments, text));
            }
            Said::Connected(channel) => {
                answer(&mut self.asked, channel, self.unchecked);
                let stints = self.stints.get(channel).map_or(0, Vec::len);
                assert!(stints > 0, "{channel} was not entered");
                let next = self.on_wire.get(channel).map_or(0, |current| current + 1);
                self.on_wire.insert(channel.clone(), next.min(stints - 1));
            }
            Said::Refused(channel, _) => {
                answer(&mut self.asked, channel, self.unchecked);
            }
            Said::Ack(channel, id) => {
                let ack = (channel.clone(), *id);
                answer(&mut self.acks, &ack, self.unchecked);
            }
            Said::Pong(data) if data == "probe" => {}
            Said::Pong(data) => {
                answer(&mut self.pings, data, self.unchecked);
            }
            Said::Close => self.told_close = true,
            Said::Open(..) | Said::Ping | Said::Noop => {}
        }
        (Some(said), false)
    }

    fn hear_event(
        &mut self,
        logs: &BTreeMap<Box<str>, Log>,
        channel: &str,
        attachments: usize,
        text: &str,
    ) -> bool {
        if self.unchecked {
            return true;
        }
        // Whose end is that there was no memory has perhaps lost the word that let it in, be it
        // for the first time or again.
        let stints = self.stints.get(channel).map_or(0, Vec::len);
        let told = self.on_wire.get(channel).map_or(0, |current| current + 1);
        if self.end == Some(CloseReason::NoMemory) && told < stints.max(1) {
            self.unchecked = true;
            return true;
        }
        let current = *self.on_wire.get(channel).expect("told before it was let in");
        let spoken = &logs[channel].spoken;
        let stint = &mut self.stints.get_mut(channel).expect("it was let in")[current];
        let place = stint.skip_greetings(spoken, text);
        let expected = spoken.get(place).expect("a message that nobody published");
        assert_eq!(*text, *expected.text, "message {place} of {channel}");
        assert_eq!(attachments, expected.attachments.len());
        let owed = Owed { channel: channel.into(), place, got: 0, all: attachments };
        self.owed = Some(owed);
        self.finish_record()
    }

    fn hear_attachment(&mut self, logs: &BTreeMap<Box<str>, Log>, bytes: &[u8]) -> bool {
        if self.unchecked {
            return false;
        }
        let owed = self.owed.as_mut().expect("an attachment of nothing");
        let expected = &logs[&owed.channel].spoken[owed.place].attachments[owed.got];
        assert!(*bytes == **expected, "attachment {} of {}", owed.got, owed.place);
        owed.got += 1;
        self.finish_record()
    }

    fn finish_record(&mut self) -> bool {
        let Some(owed) = self.owed.take_if(|owed| owed.got == owed.all) else { return false };
        let current = self.on_wire[&owed.channel];
        let stints = self.stints.get_mut(&owed.channel).expect("it is there");
        stints[current].place = owed.place + 1;
        stints[current].got += 1;
        true
    }

    /// The turn in which the first record was appended that it has not been given yet, and must be.
    pub(crate) fn owed_since(&self, logs: &BTreeMap<Box<str>, Log>) -> Option<u64> {
        let owed = self.stints.iter().filter_map(|(channel, stints)| {
            let stint = stints.last().filter(|stint| !stint.ended)?;
            let log = &logs[channel];
            (stint.behind(&log.spoken) > 0)
                .then(|| log.spoken_turns[stint.place + stint.first_owed(&log.spoken)])
        });
        owed.min()
    }

    /// How many records it has not been given yet, and whether it is in the middle of one.
    pub(crate) fn behind(&self, logs: &BTreeMap<Box<str>, Log>) -> usize {
        let mut behind = usize::from(self.owed.is_some());
        for (channel, stints) in &self.stints {
            let Some(stint) = stints.last().filter(|stint| !stint.ended) else { continue };
            behind += stint.behind(&logs[channel].spoken);
        }
        behind
    }
}

/// What was asked for and is answered now is what was asked for first, unless an answer before it
/// may have been lost.
fn answer<T: PartialEq + std::fmt::Debug>(owed: &mut VecDeque<T>, answered: &T, lossy: bool) {
    let place = owed.iter().position(|owed| owed == answered);
    let place = place.expect("an answer to what nobody asked");
    assert!(place == 0 || lossy, "{answered:?} is answered, and not {owed:?}");
    owed.remove(place);
}
