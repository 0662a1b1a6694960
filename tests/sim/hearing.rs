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
use super::entry::Entries;
use super::packet::{self, Packet, Said, said};
use super::pass::Expiry;
use super::past::{Forms, Heads, Past, framed};
use super::returning::{At, Returning};
use super::stream;

/// One record of a channel, as Socket.IO clients get it.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    /// The packet of Socket.IO.
    pub(crate) text: Rc<str>,
    pub(crate) attachments: Vec<Rc<[u8]>>,
    /// The event tells of a newcomer.
    pub(crate) is_greeting: bool,
    /// There may have been no memory for it: a greeting.
    pub(crate) optional: bool,
    /// Something is lost here, behind which nobody reads who was there.
    pub(crate) is_gap: bool,
    /// Where it stands: the life of its channel, and the number of the message or, if it is a
    /// greeting, of the one before.
    stands: (usize, u64),
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

/// What has come of a wish to go on where a session before has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recovery {
    /// The session begins with what comes next.
    No,
    /// The session goes on at this place of the channel's log.
    Yes(usize),
    /// The session perhaps goes on at this place: memory was scarce, or what its address was sent
    /// is not known exactly.
    Perhaps(usize),
}

/// What a client takes note of that may come back: how far it was told everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) channel: Box<str>,
    pub(crate) at: At,
    /// The event tells of a newcomer, and stands where the message before it does.
    pub(crate) is_greeting: bool,
    /// The event tells where reading begins, and nothing else.
    pub(crate) is_position: bool,
}

/// A stay in a channel.
#[derive(Clone, Debug)]
struct Stint {
    /// The life of the channel.
    life: usize,
    recovery: Recovery,
    /// Where the channel's log ended when it came. Of the greetings before, it may be told or not.
    joined: usize,
    /// The last turn in which it was given something that was said before it came, or came.
    got_turn: u64,
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
    pub(crate) connection: usize,
    pub(crate) upto: u64,
    /// Events that were said before it.
    pub(crate) words: u64,
    /// When the server read it.
    pub(crate) read_ms: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Hearing {
    version: u8,
    /// Whether the events that it is told end in an offset.
    offsets: bool,
    /// What it says in CONNECT of the session that it was.
    pub(crate) returning: BTreeMap<Box<str>, Returning>,
    /// The channel whose position it is told next.
    placed_next: Option<Box<str>>,
    /// The session was in that channel before, and perhaps reads behind what nobody can place any
    /// more.
    placed_before: bool,
    /// What it was last told, until it takes note of that.
    pub(crate) told: Option<Told>,
    stints: BTreeMap<Box<str>, Vec<Stint>>,
    /// The stint that what comes now belongs to.
    on_wire: BTreeMap<Box<str>, usize>,
    owed: Option<Owed>,
    /// Channels that it wants to enter, in the order of the answers to come.
    pub(crate) asked: VecDeque<Box<str>>,
    /// For each of those whether it was in another channel, or about to be, when it asked.
    asked_beside: VecDeque<bool>,
    /// What that was for the newest answer.
    pub(crate) was_beside: bool,
    /// What it shows to enter them.
    pub(crate) entries: Entries,
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
    /// The client does not wait for answers, so what comes in which order is not known.
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
    /// When something was lost of a channel that it was in, and has not left since then.
    pub(crate) parted_ms: BTreeMap<Box<str>, u64>,
    /// Whether a channel was left of which something was lost. Who leaves inside a record is in the
    /// channel until the record's end, and may be sent away before.
    pub(crate) left_parted: bool,
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
    /// an event's name and arguments; what a plain WebSocket says is no event. Returns its number
    /// in the life of the channel, 0 if there is none.
    pub(crate) fn push(
        &mut self,
        (now_ms, turn): (u64, u64),
        args: Option<&str>,
        (spoken, position): (Spoken, Option<Rc<str>>),
        plain: Option<Message>,
    ) -> u64 {
        let forms = Forms {
            plain: plain.as_ref().map(|message| message.payload.len() as u64),
            streamed: plain.as_ref().map(stream::data_bytes),
            event: spoken.text.len() as u64,
            attached: spoken.attachments.iter().map(|bytes| framed(bytes.len() as u64)).sum(),
        };
        let behind = Heads {
            plain: self.plain.len() + usize::from(plain.is_some()),
            spoken: self.spoken.len(),
        };
        let number = match args {
            Some(args) => {
                let attached = spoken.attachments.iter().map(|bytes| bytes.len());
                let parts = core::iter::once(args.len()).chain(attached);
                self.past.say(now_ms, parts, forms, (behind, position))
            }
            None => {
                let said = plain.as_ref().map(|message| message.payload.len());
                self.past.say(now_ms, said.into_iter(), forms, (behind, position))
            }
        };
        let stands = (self.past.last_life(), number);
        self.push_spoken(turn, Spoken { stands, ..spoken });
        if let Some(message) = plain {
            self.plain.push(message);
            self.plain_numbers.push(number);
            self.plain_turns.push(turn);
        }
        number
    }

    /// Something is lost of what was said, and the channel stands at `position` now.
    pub(crate) fn lose(&mut self, (now_ms, turn): (u64, u64), position: &Rc<str>) {
        let notice = format!("\n{{\"lost\":true,\"position\":\"{position}\"}}");
        let payload: Rc<[u8]> = notice.into_bytes().into();
        self.gaps.insert(self.plain.len());
        self.plain.push(Message { is_text: true, payload });
        self.plain_turns.push(turn);
        let heads = Heads { plain: self.plain.len(), spoken: self.spoken.len() };
        let number = self.past.lose(now_ms, heads, Rc::clone(position));
        self.plain_numbers.push(number);
        let stands = (self.past.last_life(), number);
        let spoken = Spoken::event("what is lost".into(), Vec::new());
        self.push_spoken(turn, Spoken { is_gap: true, stands, ..spoken });
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
        let stands = (self.past.last_life(), self.past.newest());
        let spoken = Spoken { is_greeting: true, optional, stands, ..Spoken::event(text, vec![]) };
        self.past.greet(spoken.text.len(), optional);
        self.push_spoken(turn, spoken);
    }
}

impl Stint {
    /// Whether it need not be told what stands at a place of the log.
    fn is_optional(&self, place: usize, spoken: &Spoken) -> bool {
        spoken.optional || (spoken.is_greeting && place < self.joined)
    }

    /// Goes behind greetings that were not told for want of memory, or because they were said while
    /// it was away, up to what comes now.
    fn skip_greetings(&mut self, spoken: &[Spoken], is_it: impl Fn(&Spoken) -> bool) -> usize {
        while let Some(next) = spoken.get(self.place)
            && !is_it(next)
            && (self.is_optional(self.place, next) || (next.is_greeting && self.credit > 0))
        {
            self.credit -= usize::from(!self.is_optional(self.place, next));
            self.place += 1;
        }
        match spoken.get(self.place) {
            Some(next) if next.is_greeting => {
                self.credit += usize::from(self.is_optional(self.place, next));
            }
            Some(_) | None => self.credit = 0,
        }
        self.place
    }

    /// How many records further the first stands that it certainly has not been given, of those
    /// that it must be.
    fn first_owed(&self, spoken: &[Spoken]) -> usize {
        let mut credit = self.credit;
        let is_owed = |(at, spoken): (usize, &Spoken)| {
            let is_optional = self.is_optional(self.place + at, spoken);
            let excused = spoken.is_greeting && credit > 0;
            credit -= usize::from(excused && !is_optional);
            !is_optional && !excused
        };
        let missing = self.owed_of(spoken);
        missing.iter().enumerate().position(is_owed).unwrap_or(missing.len() - 1)
    }

    /// What it is to be sent still.
    fn owed_of<'a>(&self, spoken: &'a [Spoken]) -> &'a [Spoken] {
        let owed = spoken[self.place..].split(|spoken| spoken.is_gap);
        owed.into_iter().next().unwrap_or_default()
    }

    fn behind(&self, spoken: &[Spoken]) -> usize {
        let missing = self.owed_of(spoken);
        let is_owed = |(at, spoken): &(usize, &Spoken)| !self.is_optional(self.place + at, spoken);
        let behind = missing.iter().enumerate().filter(is_owed).count();
        let credit = if missing.iter().all(|spoken| spoken.is_greeting) { self.credit } else { 0 };
        behind.saturating_sub(credit)
    }

    /// The number of the last message before its place.
    fn number(&self, spoken: &[Spoken]) -> u64 {
        let before = self.place.checked_sub(1).map(|before| spoken[before].stands);
        before.filter(|(life, _)| *life == self.life).map_or(0, |(_, number)| number)
    }
}

impl Spoken {
    pub(crate) fn event(text: Rc<str>, attachments: Vec<Rc<[u8]>>) -> Spoken {
        let (is_greeting, optional, is_gap) = (false, false, false);
        Spoken { text, attachments, is_greeting, optional, is_gap, stands: (0, 0) }
    }
}

impl Hearing {
    pub(crate) fn new(version: u8, climate: &Climate) -> Hearing {
        let mut entries = Entries::default();
        if version == 3 {
            entries.ask("default".into(), None);
        }
        Hearing {
            version,
            offsets: version == 4 && climate.settings.recovers(),
            returning: BTreeMap::new(),
            placed_next: None,
            placed_before: false,
            told: None,
            stints: BTreeMap::new(),
            on_wire: BTreeMap::new(),
            owed: None,
            // Protocol 3 puts everybody into the default channel unasked.
            asked: (version == 3).then(|| "default".into()).into_iter().collect(),
            asked_beside: (version == 3).then_some(false).into_iter().collect(),
            was_beside: false,
            entries,
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
            parted_ms: BTreeMap::new(),
            left_parted: false,
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

    /// In which phase its token has expired: on its way to a WebSocket, if it was told that this
    /// may take over and has heard nothing there yet.
    pub(crate) fn phase(&self) -> Expiry {
        match (self.proved_on, self.on_socket) {
            (Some(_), false) => Expiry::Upgrade,
            (_, true) | (None, false) => Expiry::Session,
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

    /// When it last entered a channel.
    pub(crate) fn entered_ms(&self) -> u64 {
        self.stints.values().flatten().map(|stint| stint.opened_at_ms).max().unwrap_or(0)
    }

    /// Whether its WebSocket may end for this reason.
    pub(crate) fn explains(&self, reason: CloseReason) -> bool {
        let is_lost = reason == CloseReason::MessagesLost && self.left_parted;
        self.end == Some(reason) || self.reasons.allows(reason) || is_lost
    }

    /// Whether something is lost that it was to read, so that it may be sent away.
    pub(crate) fn has_parted(&self) -> bool {
        !self.parted_ms.is_empty() || self.left_parted
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
    pub(crate) fn refuse(&mut self, connection: usize) {
        self.signs.retain(|sign| sign.connection != connection);
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

    /// The session has entered a channel, behind its own greeting, or goes on where it was.
    pub(crate) fn entered(
        &mut self,
        (now_ms, turn): (u64, u64),
        channel: &str,
        log: &Log,
        recovery: Recovery,
    ) {
        let stints = self.stints.entry(channel.into()).or_default();
        assert!(stints.iter().all(|stint| stint.ended), "in {channel} twice");
        let joined = log.spoken.len();
        stints.push(Stint {
            life: log.past.last_life(),
            recovery,
            joined,
            got_turn: turn,
            place: match recovery {
                Recovery::Yes(place) => place,
                Recovery::No | Recovery::Perhaps(_) => joined,
            },
            got: 0,
            credit: 0,
            published: 0,
            opened_at_ms: now_ms,
            ended: false,
            judged: false,
        });
    }

    /// The session has published something.
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

    /// The session asks to enter a channel.
    pub(crate) fn ask(&mut self, channel: Box<str>) {
        let is_in_any = self.stints.values().flatten().any(|stint| !stint.ended);
        self.asked_beside.push_back(is_in_any || !self.asked.is_empty());
        self.asked.push_back(channel);
    }

    /// A channel that it asked for has let it in, or has not.
    fn answer_asked(&mut self, channel: &str) {
        let place = answer(&mut self.asked, &channel.into(), self.unchecked);
        self.was_beside = self.asked_beside.remove(place).expect("one for each");
    }

    /// The session's end in a channel is reported.
    pub(crate) fn ended(&mut self, channel: &str, reason: CloseReason) {
        let stints = self.stints.get_mut(channel).expect("it was there");
        let stint = stints.last_mut().filter(|stint| !stint.ended).expect("it ends once");
        stint.ended = true;
        if reason != CloseReason::ClosedByClient || !self.left.contains(channel) {
            self.end = Some(reason);
        } else {
            self.left_parted |= self.parted_ms.remove(channel).is_some();
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
        turn: u64,
        packet: &Packet,
    ) -> (Option<Said>, bool) {
        // Of what goes out at the same time on two connections either may be seen first.
        let is_probed = *packet == Packet::Text("3probe".to_owned());
        assert!(!self.told_close || is_probed, "{packet:?} behind the end");
        let text = match packet {
            Packet::Binary(bytes) => return (None, self.hear_attachment(logs, turn, bytes)),
            Packet::Text(text) => text,
        };
        if let Some(channel) = self.placed_next.take_if(|_| !is_probed) {
            // Without memory for the second word the session is over behind the first.
            let is_over = self.end.is_some() || self.is_lapped || self.unchecked;
            // Where a message stood in a stream is not known any more when it is not kept.
            let life = self.stints[&channel].last().expect("it was entered").life;
            let is_over = is_over || (self.placed_before && logs[&channel].past.is_of_stream(life));
            let is_it = self.hear_position(logs, &channel, text);
            assert!(is_it || is_over, "{text:?} and not where {channel} is read from");
            if is_it {
                return (None, false);
            }
        }
        assert!(self.owed.is_none() || self.unchecked, "{text:?} before an attachment");
        let said = said(self.version, text);
        match &said {
            Said::Event(channel, attachments, text) => {
                return (None, self.hear_event(logs, turn, channel, *attachments, text));
            }
            Said::Connected(channel, pid) => {
                self.answer_asked(channel);
                self.entries.answered(channel, None, self.unchecked);
                self.hear_entry(channel, pid.as_deref());
            }
            Said::Refused(channel, why) => {
                self.answer_asked(channel);
                self.entries.answered(channel, Some(why), self.unchecked);
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

    /// The session is told that it is in a channel, and by which id it may come back.
    fn hear_entry(&mut self, channel: &str, pid: Option<&str>) {
        assert_eq!(pid.is_some(), self.offsets, "an id for those who may come back");
        let stints = self.stints.get_mut(channel).map_or(&mut [][..], |stints| stints);
        assert!(!stints.is_empty(), "{channel} was not entered");
        let next = self.on_wire.get(channel).map_or(0, |current| current + 1);
        let current = next.min(stints.len() - 1);
        self.on_wire.insert(channel.into(), current);
        let asked = self.returning.get(channel).map(|returning| &*returning.pid);
        let goes_on = asked.is_some() && asked == pid;
        let stint = &mut stints[current];
        match stint.recovery {
            // Who asks again is in it already.
            _ if current != next => assert!(!goes_on, "in {channel} anew, and already there"),
            Recovery::Yes(_) => {
                assert!(goes_on || self.unchecked, "what it wants of {channel} is kept")
            }
            Recovery::No => assert!(!goes_on, "what it wants of {channel} is gone"),
            Recovery::Perhaps(place) if goes_on => stint.place = place,
            Recovery::Perhaps(_) => {}
        }
        self.placed_next = (self.offsets && !goes_on).then(|| channel.into());
        self.placed_before = current != next;
    }

    /// Whether this tells where a channel is read from, which it notes.
    fn hear_position(&mut self, logs: &BTreeMap<Box<str>, Log>, channel: &str, text: &str) -> bool {
        let begin = format!("42{}[\"elbow:position\",\"", packet::prefix(channel));
        let offset = text.strip_prefix(&begin).and_then(|rest| rest.strip_suffix("\"]"));
        let Some(offset) = offset else { return false };
        let current = self.on_wire[channel];
        let at = |stint: &Stint| (stint.life, stint.number(&logs[channel].spoken));
        let is_at = |stint: &&Stint| {
            let (life, number) = at(stint);
            logs[channel].past.position(life, number).as_deref() == Some(offset)
        };
        let mut stint = &self.stints[channel][current];
        // Who asked again while it was there, left and came back is answered for both.
        let before = current.checked_sub(1).map(|before| &self.stints[channel][before]);
        if let Some(before) = before.filter(|before| !is_at(&stint) && is_at(before)) {
            stint = before;
            self.on_wire.insert(channel.into(), current - 1);
        }
        let (life, number) = at(stint);
        let is_right = is_at(&stint);
        assert!(is_right || self.unchecked, "{channel} is read behind {number}, not {offset}");
        let at = At { life, number, offset: offset.to_owned() };
        let channel = channel.into();
        self.told = Some(Told { channel, at, is_greeting: false, is_position: true });
        true
    }

    fn hear_event(
        &mut self,
        logs: &BTreeMap<Box<str>, Log>,
        turn: u64,
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
        let Log { spoken, past, .. } = &logs[channel];
        let stint = &mut self.stints.get_mut(channel).expect("it was let in")[current];
        let life = stint.life;
        // Behind the name and the arguments stands the offset, if any does.
        let (body, offset) = match self.offsets {
            true => text.strip_suffix("\"]").and_then(|rest| rest.rsplit_once(",\"")).expect(text),
            false => (text.strip_suffix(']').expect(text), ""),
        };
        let is_offset = |number: u64| {
            let known = || past.position(life, number);
            offset.is_empty() || known().is_some_and(|known| known == offset)
        };
        let is_text = |spoken: &Spoken| spoken.text.strip_suffix(']') == Some(body);
        let is_it = |spoken: &Spoken| is_text(spoken) && is_offset(spoken.stands.1);
        let place = stint.skip_greetings(spoken, is_it);
        let expected = spoken.get(place).expect("a message that nobody published");
        assert!(is_text(expected), "message {place} of {channel} is {text}, not {}", expected.text);
        let (_, number) = expected.stands;
        assert!(is_offset(number), "message {place} of {channel} is {number}: {text}");
        assert!(!self.offsets || expected.stands.0 == life, "of another life");
        assert_eq!(attachments, expected.attachments.len());
        let owed = Owed { channel: channel.into(), place, got: 0, all: attachments };
        self.owed = Some(owed);
        if self.offsets {
            let at = At { life, number, offset: offset.to_owned() };
            let is_greeting = expected.is_greeting;
            let channel = channel.into();
            self.told = Some(Told { channel, at, is_greeting, is_position: false });
        }
        self.finish_record(turn)
    }

    fn hear_attachment(&mut self, logs: &BTreeMap<Box<str>, Log>, turn: u64, bytes: &[u8]) -> bool {
        if self.unchecked {
            return false;
        }
        let owed = self.owed.as_mut().expect("an attachment of nothing");
        let expected = &logs[&owed.channel].spoken[owed.place].attachments[owed.got];
        assert!(*bytes == **expected, "attachment {} of {}", owed.got, owed.place);
        owed.got += 1;
        self.finish_record(turn)
    }

    fn finish_record(&mut self, turn: u64) -> bool {
        let Some(owed) = self.owed.take_if(|owed| owed.got == owed.all) else { return false };
        let current = self.on_wire[&owed.channel];
        let stints = self.stints.get_mut(&owed.channel).expect("it is there");
        stints[current].place = owed.place + 1;
        stints[current].got += 1;
        stints[current].got_turn = turn;
        true
    }

    /// The turn in which the first record was appended that it has not been given yet, and must be.
    pub(crate) fn owed_since(&self, logs: &BTreeMap<Box<str>, Log>) -> Option<u64> {
        let owed = self.stints.iter().filter_map(|(channel, stints)| {
            let stint = stints.last().filter(|stint| !stint.ended)?;
            let log = &logs[channel];
            let is_behind = stint.behind(&log.spoken) > 0;
            let owed = is_behind.then(|| stint.place + stint.first_owed(&log.spoken))?;
            // Who came back waits for each of what it has missed, and for what is behind that.
            let got_turn = if stint.recovery == Recovery::No { 0 } else { stint.got_turn };
            Some(log.spoken_turns[owed].max(got_turn))
        });
        owed.min()
    }

    /// The life of a channel in which it is, or last was, as far as it has been told.
    pub(crate) fn life(&self, channel: &str) -> usize {
        self.stints[channel][self.on_wire[channel]].life
    }

    /// The channel of which it is told next where it is read from.
    pub(crate) fn placed_next(&self) -> Option<&str> {
        self.placed_next.as_deref()
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
/// may have been lost. Returns its place among what is owed.
fn answer<T: PartialEq + std::fmt::Debug>(
    owed: &mut VecDeque<T>,
    answered: &T,
    lossy: bool,
) -> usize {
    let place = owed.iter().position(|owed| owed == answered);
    let place = place.expect("an answer to what nobody asked");
    assert!(place == 0 || lossy, "{answered:?} is answered, and not {owed:?}");
    owed.remove(place);
    place
}
