//! What must be true, whatever happens.
//!
//! The server reports every message that it publishes; from that and from what the clients say they
//! have sent, the oracle knows each channel's log. Every unit that the server writes is held
//! against it at once, not when somebody reads it, so a reader that never reads is checked as well.
//! An end is held against what the client did, what the operator did, and what the clock says.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

use elbow::limits;
use elbow::reason::CloseReason;
use elbow::server::{Access, Denial, Event, Listener};
use elbow::text::cut_bytes;
use elbow::wire::token::Fault;

use super::attack::Attack;
use super::client::{Client, Expected, Message, Notice, Page, Session, Word};
use super::climate::Climate;
use super::decode::{Response, Unit};
use super::hearing::{Hearing, Log, Spoken};
use super::packet;
use super::pass::Expiry;
use super::past::Replays;
use super::person::{Person, Purpose};
use super::receipts::Receipts;
use super::stream;
use super::turns::{Speaker, Turns};
use super::world::pace::{Buckets, has_stayed};

/// Why somebody is refused whose channel was not opened in time.
const NOT_OPENED: &str = "nobody has said in time where the channel begins";

/// Why somebody is refused who was sent so much already.
const OVER_SHARE: &str = "this address was sent a ring of what is kept within a second";

/// Why somebody is refused whose address has brought as many channels as it may.
const CHANNELS_OF_ADDRESS: &str = "a quarter of --max-channels is in use by this address";

/// Why somebody is refused whose address has brought channels that take as much as they may.
const MEMORY_OF_ADDRESS: &str = "a quarter of --memory is in use by the channels of this address";

/// How long a refusal may be under way that tells of a channel which is not open.
const OPENING_MS: u64 = 20_000;

/// How long after the order came back an end may be reported that its absence has led to.
const CUT_OFF_MS: u64 = 8_000;

/// How long an upgrade that is never finished is waited for.
const UPGRADE_MS: u64 = 10_000;

/// What became of somebody who wanted what was said before it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Return {
    /// Somebody was told that everything behind its position follows, or was sent that.
    Recovered,
    /// Of those, who went on where they had ended, with something that they had missed.
    Joined,
    /// Somebody was told that something is gone.
    Lost,
    /// Somebody was given the newest.
    Newest,
    /// Somebody was refused because something is gone.
    Gone,
    /// Somebody was refused because its address had its share.
    OverShare,
    /// Somebody could not be understood.
    Malformed,
    /// Somebody came back to a channel that had lived without members.
    Outlived,
    /// Somebody read an event stream and went on where it had ended, with something that it had
    /// missed.
    StreamJoined,
    /// Somebody read an event stream, and was told that something is gone.
    StreamReset,
    /// Somebody was told to come back to its event stream later, since its address had its share.
    PutOff,
    /// Somebody's Socket.IO session went on.
    SessionRecovered,
    /// Of those, who went on where they had ended, with something that they had missed.
    SessionJoined,
    /// Somebody's Socket.IO session did not go on, though it named a place.
    SessionLost,
    /// Somebody's Socket.IO session went on in a channel that had lived without members.
    SessionOutlived,
}

impl Return {
    pub(crate) const ALL: [Return; 15] = [
        Return::Recovered,
        Return::Joined,
        Return::Lost,
        Return::Newest,
        Return::Gone,
        Return::OverShare,
        Return::Malformed,
        Return::Outlived,
        Return::StreamJoined,
        Return::StreamReset,
        Return::PutOff,
        Return::SessionRecovered,
        Return::SessionJoined,
        Return::SessionLost,
        Return::SessionOutlived,
    ];

    /// As the tally calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Return::Recovered => "recovered",
            Return::Joined => "joined",
            Return::Lost => "lost",
            Return::Newest => "newest",
            Return::Gone => "gone",
            Return::OverShare => "over_share",
            Return::Malformed => "malformed",
            Return::Outlived => "outlived",
            Return::StreamJoined => "stream_joined",
            Return::StreamReset => "stream_reset",
            Return::PutOff => "put_off",
            Return::SessionRecovered => "session_recovered",
            Return::SessionJoined => "session_joined",
            Return::SessionLost => "session_lost",
            Return::SessionOutlived => "session_outlived",
        }
    }
}

/// What is known of everybody and everything.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) channels: BTreeMap<Box<str>, Log>,
    /// Epochs that readers were told: no two lives of channels have the same.
    pub(crate) epochs: BTreeSet<Rc<str>>,
    pub(crate) replays: Replays,
    pub(crate) receipts: Receipts,
    /// What became of those who wanted what was said before they came.
    pub(crate) returned: [u64; Return::ALL.len()],
    /// Tokens that have expired, by the phase of what they had let in.
    pub(crate) expired: [u64; Expiry::ALL.len()],
    pub(crate) turns: Turns,
    pub(crate) buckets: Buckets,
    /// The order of messages is decided elsewhere.
    pub(crate) is_ordered_elsewhere: bool,
    /// When a message last waited for its place in the order: then publishers may have to.
    pub(crate) unplaced_ms: u64,
    /// Where the messages stand that were placed, of which no event has told yet, and whether they
    /// were said to those who are here.
    pub(crate) places: VecDeque<(Rc<str>, bool)>,
    /// Where channels stand of which something is lost, of which no event has told yet.
    pub(crate) lost: VecDeque<Rc<str>>,
    pub(crate) gaps: u64,
    /// Channels that were opened with something that was kept, and newcomers that waited in vain.
    pub(crate) brought: u64,
    pub(crate) unopened: u64,
    /// When something was last lost.
    pub(crate) lost_ms: u64,
    /// Since when the order is out of reach, and when that last was long enough to close somebody.
    pub(crate) away_ms: Option<u64>,
    pub(crate) cut_off_ms: u64,
    /// When each channel was last being opened.
    pub(crate) opening_ms: BTreeMap<Box<str>, u64>,
    /// When the machine last woke up.
    pub(crate) woke_ms: u64,
    /// The turn that is judged.
    pub(crate) turn: u64,
    pub(crate) addresses: BTreeMap<SocketAddr, usize>,
    /// Of every event.
    pub(crate) trace: DefaultHasher,
    pub(crate) events: u64,
    pub(crate) published: u64,
    /// Records that were seen on the wire.
    pub(crate) delivered: u64,
    /// Records that were seen on the wire by Socket.IO sessions.
    pub(crate) told: u64,
    /// Records that the server says it has delivered, to those whose stay is over.
    pub(crate) counted: u64,
    /// The most records in the answer to a poll.
    pub(crate) most_polled: u64,
    /// Plain WebSockets that have entered a channel.
    pub(crate) opened: u64,
    /// Somebody has entered a channel since this was last looked at.
    pub(crate) entered: bool,
    /// Connections that the server has let go.
    pub(crate) ended: u64,
    /// Stays of Socket.IO sessions in channels that are over.
    pub(crate) left: u64,
    /// Sessions that were asked for and never used, of which the open packet was seen.
    pub(crate) strays_seen: u64,
    /// Sessions that were asked for and never used, and that are over.
    pub(crate) strays_left: u64,
    /// Refusals that cannot be judged before it is known which channels are being opened.
    doubted: Vec<String>,
    /// Whose request a rule has just refused, until the line of the request comes.
    denied: Option<SocketAddr>,
    /// Greetings in logs that are marked as perhaps missing up to here.
    pub(crate) greetings_dropped: u64,
    /// Some of the greetings of this turn found no memory.
    pub(crate) greetings_uncertain: bool,
    pub(crate) pings: u64,
    pub(crate) drain_began_ms: Option<u64>,
    pub(crate) drained: bool,
    pub(crate) replaced: u64,
    /// When whoever read the files from before the current ones was last to be cut.
    pub(crate) cut_readers_at_ms: Option<u64>,
    pub(crate) big_file_bytes: usize,
    /// There may be no room for one more channel.
    pub(crate) channels_scarce: bool,
    /// Of each listener: newcomers to whom somebody must have given way, and has not yet.
    pub(crate) wanted: [u32; Listener::ALL.len()],
    /// When there last were more sessions in no channel than may be.
    pub(crate) crowded_ms: u64,
    /// Memory is used up, or nearly: there never was much, or a crowd that speaks has it.
    pub(crate) scarce: bool,
    /// What open packets say: the ping interval and timeout in milliseconds, the largest body.
    pub(crate) announced: [u64; 3],
}

/// An end that was reported, and is looked at when everything that was written has been.
#[derive(Debug)]
pub(crate) enum Later {
    /// A plain WebSocket is no longer in its channel. The counts are of messages in and out.
    Closed { client: usize, reason: CloseReason, duration_ms: u64, counts: (u64, u64) },
    /// A Socket.IO session is no longer in a channel.
    Left {
        person: usize,
        channel: Box<str>,
        reason: CloseReason,
        duration_ms: u64,
        counts: (u64, u64),
    },
    /// A Socket.IO session is over that nobody has used.
    Stray { client: usize, reason: CloseReason, duration_ms: u64 },
    /// A connection is over.
    Ended { client: usize, reason: CloseReason },
}

impl Oracle {
    /// An oracle that has seen nothing, for a server in this climate.
    pub(crate) fn new(climate: &Climate, birth: [u8; 32]) -> Oracle {
        let limits = &climate.settings.limits;
        Oracle {
            channels: BTreeMap::new(),
            epochs: BTreeSet::new(),
            replays: Replays::new(limits, birth),
            receipts: Receipts::default(),
            returned: Default::default(),
            expired: Default::default(),
            turns: Turns::default(),
            buckets: Buckets::default(),
            is_ordered_elsewhere: false,
            unplaced_ms: 0,
            places: VecDeque::new(),
            lost: VecDeque::new(),
            gaps: 0,
            brought: 0,
            unopened: 0,
            lost_ms: 0,
            away_ms: None,
            cut_off_ms: 0,
            opening_ms: BTreeMap::new(),
            woke_ms: 0,
            turn: 0,
            addresses: BTreeMap::new(),
            trace: DefaultHasher::new(),
            events: 0,
            published: 0,
            delivered: 0,
            told: 0,
            counted: 0,
            most_polled: 0,
            opened: 0,
            entered: false,
            ended: 0,
            left: 0,
            strays_seen: 0,
            strays_left: 0,
            doubted: Vec::new(),
            denied: None,
            greetings_dropped: 0,
            greetings_uncertain: false,
            pings: 0,
            drain_began_ms: None,
            drained: false,
            replaced: 0,
            cut_readers_at_ms: None,
            wanted: [0; Listener::ALL.len()],
            crowded_ms: 0,
            big_file_bytes: climate.big_file_bytes,
            // Attackers make up any number of them.
            channels_scarce: limits.channels_max < 32 || !climate.attacks.mobs.is_empty(),
            scarce: climate.tiny_memory,
            announced: [
                limits.ping_interval.as_millis(),
                limits.ping_timeout.as_millis(),
                limits.message_bytes_max,
            ],
        }
    }

    /// A client has come: from now on events may name it.
    pub(crate) fn introduce(&mut self, client: &Client) {
        for address in [client.peer, client.claimed] {
            assert!(self.addresses.insert(address, client.number).is_none());
        }
    }

    /// Makes an event a part of what tells two runs apart.
    pub(crate) fn hash(&mut self, now_ms: u64, event: &Event) {
        self.trace.write_u64(now_ms);
        self.trace.write(format!("{event:?}").as_bytes());
    }

    /// The server reports something. The end that this is, if it is one: it is looked at by
    /// [`Oracle::end`] and its likes when everything that was written before it is known.
    pub(crate) fn event(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        clients: &mut [Client],
        people: &mut [Person],
        event: &Event,
    ) -> Option<Later> {
        self.events += 1;
        if let Some(person) = self.session_of(clients, event) {
            self.gives_way(now_ms, climate, &people[person], (&*clients, people), event);
            // It is on the account of the address from which it shook hands.
            let account = people[person].connections.first();
            let account = account.and_then(|number| clients[*number].account(climate));
            return self.session_event(now_ms, climate, &mut people[person], account, event);
        }
        let of = |address: &SocketAddr| self.addresses[address];
        let is_line = matches!(event, Event::Request(_));
        assert!(is_line || self.denied.is_none(), "a refusal without a line");
        match event {
            Event::Opened { client, channel, .. } => {
                let client = of(client);
                self.opened(now_ms, climate, &mut clients[client], channel);
            }
            Event::Message { client, text } => {
                let client = of(client);
                self.message(now_ms, climate, &mut clients[client], text);
            }
            Event::Lapped { client, channel, lag_bytes } => {
                let client = of(client);
                self.lapped(climate, &mut clients[client], channel, *lag_bytes);
            }
            Event::Closed { client, channel, reason, duration, messages_in, messages_out } => {
                let client = of(client);
                let session = clients[client].session.as_mut().expect("it was opened");
                assert_eq!(*channel, session.channel);
                session.is_over = true;
                self.parted(now_ms, climate, channel, clients[client].dialect());
                let (duration_ms, counts) = (duration.as_millis(), (*messages_in, *messages_out));
                return Some(Later::Closed { client, reason: *reason, duration_ms, counts });
            }
            Event::Ended { client, reason } => {
                return Some(Later::Ended { client: of(client), reason: *reason });
            }
            Event::Unentered { client, reason, duration } => {
                let client = of(client);
                let most = unentered_max(clients, people);
                stray_ended(climate, &mut clients[client], *reason, most);
                let duration_ms = duration.as_millis();
                return Some(Later::Stray { client, reason: *reason, duration_ms });
            }
            Event::Refused { client, why } => {
                self.refused(now_ms, climate, why, of(client), clients, people);
            }
            Event::Denied { client, denial } => {
                let number = of(client);
                self.denied_by(now_ms, climate, (&mut clients[number], *client), people, denial);
            }
            Event::Request(access) => {
                let client = of(&access.client);
                self.line(now_ms, climate, &mut clients[client], people, access);
            }
            Event::Lost { channel } => self.lose(now_ms, channel, clients, people),
            Event::Endpoint { .. } => panic!("no header names an endpoint"),
            Event::OrderAway | Event::OrderBack { .. } | Event::OrderTrouble(_) => no_redis(),
            Event::Dropped { events } => panic!("{events} events found no room"),
            Event::Drained => self.drained(),
        }
        None
    }

    /// Somebody is refused by a rule, and is told so in a line of its own unless it is a namespace
    /// that it was to be let into. What is said of its token is held against its pass.
    fn denied_by(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        (client, address): (&mut Client, SocketAddr),
        people: &mut [Person],
        denial: &Denial,
    ) {
        let is_request = match *denial {
            Denial::Token(fault) => self.denied_token(now_ms, climate, client, people, fault),
            Denial::Origin(_)
            | Denial::Origins
            | Denial::NoOrigin
            | Denial::Host(_)
            | Denial::Rule(_) => true,
        };
        if is_request {
            assert_eq!(self.denied.replace(address), None, "each has its line");
        }
    }

    /// A token is not taken, or missing. Whether that was shown by a request.
    fn denied_token(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        client: &mut Client,
        people: &mut [Person],
        fault: Fault,
    ) -> bool {
        let mut pass = &client.pass;
        if let Some(number) = client.person {
            let Person { pass: handshake, hearing, .. } = &mut people[number];
            // A handshake without a token is let in, and says no channel.
            let no_handshake = matches!(fault, Fault::Missing | Fault::Channel);
            if hearing.opened_at_ms.is_some() || no_handshake {
                let is_own = hearing.entries.denied((now_ms, climate), handshake, fault);
                if fault == Fault::Expired {
                    self.count_expired(if is_own { Expiry::Connect } else { Expiry::Entered });
                }
                return false;
            }
            pass = handshake;
        }
        if client.attack == Some(Attack::Tokens) {
            assert_eq!(client.shown.pop_front(), Some(fault), "each for its fault, in order");
            return true;
        }
        assert_eq!(pass.fault(climate, now_ms), Some(fault), "{pass:?}");
        if fault == Fault::Expired && pass.may_expire() {
            let read_at_ms = client.link.state.borrow().read_at_ms;
            let waited = pass.fault(climate, read_at_ms) != Some(fault);
            self.count_expired(match (waited, client.wish.wants_past()) {
                (true, _) => Expiry::Waiting,
                (false, true) => Expiry::Return,
                (false, false) => Expiry::Handshake,
            });
        }
        true
    }

    /// A token has expired in this phase of what it had let in, or should.
    pub(crate) fn count_expired(&mut self, phase: Expiry) {
        self.expired[phase as usize] += 1;
        let is_draining = self.drain_began_ms.is_some();
        self.expired[Expiry::Drain as usize] += u64::from(is_draining);
    }

    /// The line of a request and its answer.
    fn line(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        client: &mut Client,
        people: &[Person],
        access: &Access,
    ) {
        // The rule that has refused a request is said in front of its line.
        let status = access.status;
        let is_refusal = matches!(status, 400 | 401 | 403 | 404 | 405 | 421 | 426);
        match self.denied.take() {
            Some(client) => assert!(client == access.client && is_refusal, "{access:?}"),
            None => assert!(!matches!(status, 401 | 403 | 421), "nobody was told why"),
        }
        if client.is_backend() {
            let open = client.orders.iter_mut().find(|order| order.answered.is_none());
            if let Some(order) = open {
                let before_ms = client.answered_at_ms.unwrap_or(0);
                order.answer(now_ms, before_ms, status, self.is_ordered_elsewhere);
            }
        } else {
            self.turned_away(now_ms, climate, client, status);
        }
        // What else it asks is no event stream.
        client.asks_for_head = false;
        answered(now_ms, client, people, access.client);
    }

    /// The person of whose Socket.IO session something is reported, if it is of one.
    fn session_of(&self, clients: &[Client], event: &Event) -> Option<usize> {
        if let Event::Opened { client, .. }
        | Event::Message { client, .. }
        | Event::Lapped { client, .. }
        | Event::Unentered { client, .. }
        | Event::Closed { client, .. } = event
        {
            clients[self.addresses[client]].person
        } else {
            None
        }
    }

    /// Where the next message stands of which an event tells, if that is decided elsewhere, and
    /// whether it is said to those who are here.
    pub(crate) fn next_place(&mut self) -> (Option<Rc<str>>, bool) {
        let place = self.places.pop_front();
        assert_eq!(place.is_some(), self.is_ordered_elsewhere, "it has its place");
        match place {
            Some((position, is_here)) => (Some(position), is_here),
            None => (None, true),
        }
    }

    /// Something of what was said in a channel is lost.
    fn lose(&mut self, now_ms: u64, channel: &str, clients: &mut [Client], people: &mut [Person]) {
        self.gaps += 1;
        self.lost_ms = now_ms;
        let position = self.lost.pop_front().expect("nothing is lost that was not");
        let log = self.channels.get_mut(channel).expect("it is open");
        log.lose((now_ms, self.turn), &position);
        let plain = clients.iter_mut().filter(|client| !client.is_positioned);
        let sessions = plain.filter_map(|client| client.session.as_mut());
        let is_here = |session: &&mut Session| *session.channel == *channel && !session.is_over;
        for session in sessions.filter(is_here) {
            session.parted_ms.get_or_insert(now_ms);
        }
        for person in people {
            if person.hearing.channels().any(|other| other == channel) {
                person.hearing.parted_ms.entry(channel.into()).or_insert(now_ms);
            }
        }
    }

    /// Whether somebody may have been closed because the order was out of reach.
    pub(crate) fn was_away(&self, now_ms: u64) -> bool {
        self.cut_off_ms + CUT_OFF_MS >= now_ms && self.cut_off_ms > 0
    }

    /// Whether somebody may have waited in vain for a channel to be opened.
    pub(crate) fn may_not_be_open(&self, now_ms: u64, channel: &str) -> bool {
        self.opening_ms.get(channel).is_some_and(|at_ms| *at_ms + OPENING_MS >= now_ms)
    }

    /// The machine sleeps from `now_ms` until `woke_ms`. Whoever waits for a channel has waited
    /// through that.
    pub(crate) fn sleep_through_openings(&mut self, now_ms: u64, woke_ms: u64) {
        let waited_for =
            self.opening_ms.values_mut().filter(|at_ms| **at_ms + OPENING_MS >= now_ms);
        waited_for.for_each(|at_ms| *at_ms = woke_ms);
    }

    fn drained(&mut self) {
        assert!(self.drain_began_ms.is_some(), "drained without a drain");
        assert!(!self.drained, "drained twice");
        self.drained = true;
    }

    fn opened(&mut self, now_ms: u64, climate: &Climate, client: &mut Client, channel: &str) {
        assert!(client.session.is_none(), "opened twice");
        assert!(client.pass.lets_in(climate, now_ms), "let in by {:?}", client.pass);
        self.opened += 1;
        self.entered = true;
        let reader = (client.dialect(), client.account(climate));
        let starts = self.joined(now_ms, climate, channel, reader, &client.wish);
        let joined = starts[0].place;
        client.session = Some(Session {
            channel: channel.into(),
            life: self.channels[channel].past.last_life(),
            may_have_joined: starts.iter().map(|start| start.place).collect(),
            starts,
            is_greeted: false,
            got_turn: self.turn,
            joined,
            got: 0,
            own_behind: joined,
            published: 0,
            opened_at_ms: now_ms,
            until_ms: client.pass.until_ms(now_ms),
            // Who did not wait for the answer has spoken already, and that may wait for the room.
            unread_at_ms: client.lenient.then_some(now_ms),
            pinged_at_ms: None,
            pings: 0,
            close_code: None,
            is_put_off: false,
            is_lapped: false,
            parted_ms: None,
            is_lossy: climate.loses(),
            is_over: false,
            is_closed: false,
        });
    }

    fn message(&mut self, now_ms: u64, climate: &Climate, client: &mut Client, text: &str) {
        if client.is_backend() {
            return self.spoken_by_backend(now_ms, climate, client, text);
        }
        assert!(!is_swollen(climate, client, 1), "#{} was heard with too much", client.number);
        self.published += 1;
        let (position, is_here) = self.next_place();
        let message = client.sent.pop_front().expect("somebody sent it");
        if message.is_text {
            assert_eq!(text.as_bytes(), cut_bytes(&message.payload), "what was sent, in order");
        } else {
            assert_eq!(*text, format!("({} bytes)", message.payload.len()));
        }
        let session = client.session.as_mut().expect("only sessions publish");
        let is_late = climate.order_ms_max.is_some();
        assert!(!session.is_over || is_late, "published after the end");
        session.published += u64::from(!session.is_over);
        // It waited for this, though nobody may have touched it meanwhile.
        session.unread_at_ms = Some(now_ms);
        let speaker = Speaker::Client(client.number);
        self.turns.spoke(now_ms, &session.channel, speaker, false);
        self.buckets.spoke(now_ms, climate, speaker);
        let log = self.channels.get_mut(&session.channel).expect("it was joined");
        let spoken = spoken(&session.channel, &message);
        if is_here {
            log.push((now_ms, self.turn), None, (spoken, position), Some(message));
        }
        // What has its place elsewhere may come behind the close frame.
        if !is_late {
            session.own_behind = log.plain.len();
        }
    }

    fn lapped(&self, climate: &Climate, client: &mut Client, channel: &str, lag_bytes: u64) {
        let state = client.link.state.borrow();
        let session = client.session.as_mut().expect("only members are lapped");
        session.is_lapped = true;
        let log = &self.channels[channel].plain;
        let lag_records = (log.len() - session.joined - session.got) as u64;
        let feed = climate.settings.limits.feed_bytes;
        // A ring holds at least half of itself when it evicts, and its index so many records.
        let entries = feed / limits::RECORD_BYTES_TYPICAL as u64;
        assert!(
            lag_bytes > feed / 2 || lag_records >= entries,
            "lapped while only {lag_bytes} bytes, {lag_records} records behind"
        );
        // What is sent again may be overtaken before it was sent, if it takes more than one send.
        let is_behind = session.starts.iter().any(|start| (session.got as u64) < start.missed);
        let is_much = feed > limits::SEND_BYTES as u64 || entries > limits::SEND_RECORDS as u64;
        let blocked = state.blocked || state.blocked_at_ms.is_some() || (is_behind && is_much);
        assert!(blocked, "a reader whose socket took everything was lapped");
    }

    fn refused(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        why: &str,
        number: usize,
        clients: &mut [Client],
        people: &[Person],
    ) {
        self.unopened += u64::from(why == NOT_OPENED);
        clients[number].refused = true;
        clients[number].is_over_share = why == OVER_SHARE;
        let (clients, client) = (&*clients, &clients[number]);
        let limits = &climate.settings.limits;
        let sessions = || sessions_max(clients, people, |_| true);
        let ip = client.ip();
        let has_its_share = || {
            sessions_max(clients, people, |other| other.ip() == ip)
                >= limits.sessions_per_address_max()
        };
        let is_asked = limits.connections_per_ip_max.is_some();
        let legitimate = match why {
            "draining" => self.drain_began_ms.is_some(),
            "--max-connections are in use" => sessions() >= limits.connections_max,
            "--max-connections-per-ip of this address are in use" => is_asked && has_its_share(),
            "a quarter of --max-connections is in use by this address" => {
                !is_asked && has_its_share()
            }
            // What the default channel needs is set aside.
            "--memory is used up" => self.scarce && !client.asks_for_default(),
            "--max-channels are in use" => self.channels_scarce,
            CHANNELS_OF_ADDRESS | MEMORY_OF_ADDRESS => {
                if !self.is_share_used(now_ms, climate, why, (clients, people)) {
                    self.doubted.push(why.to_owned());
                }
                true
            }
            NOT_OPENED => {
                // Whoever it is, its channel is known only by what it asks for.
                let was_opened =
                    self.opening_ms.values().any(|at_ms| *at_ms + OPENING_MS >= now_ms);
                // What was being opened when the machine fell asleep is late when it wakes up.
                was_opened || (!self.opening_ms.is_empty() && self.woke_ms == now_ms)
            }
            // Held against what it was sent when the answer is told.
            // It came before the machine slept.
            "too many tokens wait for a check" => {
                let is_public = client.pass.is_public || client.attack == Some(Attack::Tokens);
                is_public || client.person.is_some_and(|it| people[it].pass.is_public)
            }
            OVER_SHARE => client.wish.wants_past(),
            _ => false,
        };
        assert!(legitimate, "refused: {why}");
    }

    /// Whether there are as many channels, or channels that take as much, as one address may bring.
    fn is_share_used(
        &self,
        now_ms: u64,
        climate: &Climate,
        why: &str,
        (clients, people): (&[Client], &[Person]),
    ) -> bool {
        let limits = &climate.settings.limits;
        let channels = self.channels_now(now_ms, clients, people);
        // Rings of a channel: as many as there are dialects here, and one for what is kept.
        let rings = match climate.returns {
            Some(_) => 5 + usize::from(climate.streams > 0),
            None => 3,
        };
        match why {
            CHANNELS_OF_ADDRESS => channels >= limits.channels_per_address_max(),
            MEMORY_OF_ADDRESS => channels * rings >= limits.feeds_per_address_max(),
            _ => unreachable!("{why} is no share of an address"),
        }
    }

    /// Refusals of this turn for which there were too few channels: one that somebody before had
    /// asked for in the same turn is known by now.
    pub(crate) fn settle_doubts(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        clients: &[Client],
        people: &[Person],
    ) {
        for why in std::mem::take(&mut self.doubted) {
            let is_used = self.is_share_used(now_ms, climate, &why, (clients, people));
            assert!(is_used, "refused: {why}");
        }
    }

    /// Channels with members, or that keep something, as far as their events tell, and those that
    /// are being opened, `default` not among them.
    fn channels_now(&self, now_ms: u64, clients: &[Client], people: &[Person]) -> usize {
        let open = |session: &&Session| !session.is_closed;
        let sessions = clients.iter().filter_map(|client| client.session.as_ref()).filter(open);
        let plain = sessions.map(|session| &*session.channel);
        let spaces = people.iter().flat_map(|person| person.hearing.channels());
        let living = self.channels.iter().filter(|(_, log)| log.past.is_alive());
        let living = living.map(|(channel, _)| &**channel);
        let opening = self.opening_ms.keys().map(|channel| &**channel);
        let opening = opening.filter(|channel| self.may_not_be_open(now_ms, channel));
        let all: BTreeSet<&str> = plain.chain(spaces).chain(living).chain(opening).collect();
        all.iter().filter(|channel| **channel != "default").count()
    }

    /// Notes whether more sessions are in no channel than may be.
    pub(crate) fn look_around(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        clients: &[Client],
        people: &[Person],
    ) {
        if unentered_max(clients, people) > climate.settings.limits.unentered_max() {
            self.crowded_ms = now_ms;
        }
    }

    /// Of a session that was in no channel and gave way: there were more of them than may be, and
    /// none of those that came before it stays.
    fn gives_way(
        &self,
        now_ms: u64,
        climate: &Climate,
        person: &Person,
        (clients, people): (&[Client], &[Person]),
        event: &Event,
    ) {
        let Event::Unentered { reason: CloseReason::GaveWay, duration, .. } = event else { return };
        let began_ms = now_ms - duration.as_millis();
        let number = person.number;
        assert!(is_unentered(&person), "@{number} is in a channel and gave way");
        let unentered = people.iter().filter(is_unentered);
        let is_crowded = match person.socket {
            None => unentered_max(clients, people) > climate.settings.limits.unentered_max(),
            // Its end is told when its close frame has gone.
            Some(_) => self.crowded_ms >= began_ms,
        };
        assert!(is_crowded, "@{number} gave way to nobody");
        // Of those on a WebSocket it is not known whether they are closing.
        let older = |other: &&Person| {
            // When its answer was written it had begun for certain.
            let had_begun = other.hearing.opened_at_ms.is_some_and(|at_ms| at_ms < began_ms);
            other.socket.is_none() && had_begun
        };
        let older = unentered.filter(older).map(|other| other.number).next();
        assert_eq!(older, None, "@{number} gave way before it");
    }

    /// The server has written a whole unit, which ends at `at`.
    pub(crate) fn unit(
        &mut self,
        now_ms: u64,
        client: &mut Client,
        person: Option<&mut Person>,
        at: u64,
        unit: Unit,
    ) {
        if let Some(person) = person {
            return self.carried(now_ms, client, person, at, unit);
        }
        match unit {
            Unit::Response(response) => self.response(client, at, &response),
            Unit::Message { is_text, payload } => self.framed(client, at, is_text, &payload),
            Unit::Ping => {
                self.pings += 1;
                let session = client.session.as_mut().expect("frames come in sessions");
                session.pinged_at_ms = Some(now_ms);
                session.pings += 1;
                client.notices.push_back((at, Notice::Ping));
            }
            Unit::Pong(payload) => {
                let place = client.pings.iter().position(|ping| *ping == payload);
                let place = place.expect("a pong of no ping, of an old one, or a second one");
                client.pings.drain(..=place);
            }
            Unit::Close(code) => {
                said_close(client, code);
                client.notices.push_back((at, Notice::Close(code)));
            }
            Unit::Piece(piece) => self.piece(now_ms, client, at, &piece),
        }
    }

    fn response(&mut self, client: &mut Client, at: u64, response: &Response) {
        let Some((expected, late)) = self.expected(client, response) else { return };
        let Expected { statuses, .. } = expected;
        let status = response.status;
        if expected.purpose == Purpose::Shake {
            self.stray(client, response);
        }
        if let Some(page) = expected.page
            && !late
            && !expected.to_head
        {
            self.page(page, expected.generation, &response.body);
        }
        let chosen = response.protocol.as_deref() == Some("elbow.v1");
        assert_eq!(chosen, status == 101 && client.is_positioned, "elbow.v1 where it is offered");
        self.returned[Return::Malformed as usize] +=
            u64::from(status == 400 && client.wish.is_malformed);
        if status == 101 {
            self.begun(client, at);
        }
        let asked = client.is_stream && client.answered == 1;
        assert_eq!(response.is_stream, status == 200 && asked, "a stream for who asks");
        let begins = status == 101 || (response.is_stream && client.session.is_some());
        let is_put_off = response.is_stream && client.session.is_none();
        assert!(!is_put_off || client.refused || expected.to_head, "put off without a reason");
        let notice = if begins {
            Notice::Upgraded
        } else if response.closes {
            Notice::LastAnswer
        } else if statuses.contains(&101)
            || matches!(status, 401 | 403 | 426)
            || asked && (!is_put_off || expected.to_head)
            || client.wish.is_malformed && statuses == [400]
        {
            Notice::Refused
        } else {
            return;
        };
        client.notices.push_back((at, notice));
    }

    /// The answer to a handshake of somebody who goes on with the next.
    fn stray(&mut self, client: &mut Client, response: &Response) {
        if response.status == 200 {
            self.strays_seen += 1;
            client.strays += 1;
            // Among many, one may have to give way before it was told that it is there.
            let is_open = response.body.starts_with(b"0{\"sid\":\"");
            assert!(is_open || response.body == b"1", "neither an open packet nor a close");
        }
    }

    /// The end of a session that nobody uses.
    pub(crate) fn stray_left(
        &mut self,
        climate: &Climate,
        client: &Client,
        reason: CloseReason,
        duration_ms: u64,
    ) {
        use CloseReason as R;
        self.strays_left += 1;
        let settings = &climate.settings.limits;
        let ping_ms = settings.ping_interval.half().plus(settings.ping_timeout).as_millis();
        let state = client.link.state.borrow();
        let legitimate = match reason {
            R::Silent => duration_ms >= limits::CONNECT_LIMIT.as_millis(),
            // Held against who else is there when it was told.
            R::GaveWay => true,
            // It is pinged in the second half of the first interval, and never answers.
            R::PingTimeout => duration_ms >= ping_ms,
            R::GoingAway => self.drain_began_ms.is_some() || has_stayed(settings, duration_ms),
            // Nobody who is in no channel is closed by an operator here.
            R::Disconnected => false,
            R::NoMemory => self.scarce,
            R::PeerGone | R::PeerReset | R::SocketFailed => state.is_over(),
            R::TransportTimeout => state.gave_up,
            R::Answered
            | R::ProbeOnly
            | R::ProxyInvalid
            | R::ProxyMissing
            | R::ProxyUntrusted
            | R::ProxyTimeout
            | R::BodyTimeout
            | R::ResponseTimeout
            | R::KeepAliveTimeout
            | R::MessageTimeout
            | R::CloseTimeout
            | R::ClosedByClient
            | R::ProtocolError
            | R::InvalidText
            | R::MessageTooBig
            | R::TooSlow
            | R::MessagesLost
            | R::BackplaneAway
            | R::TokenExpired
            | R::MayNotSpeak
            | R::Replaced => false,
        };
        assert!(legitimate, "a session that nobody used: {reason:?} after {duration_ms} ms");
    }

    /// What this response is the answer to, and whether that came too slowly.
    pub(crate) fn expected(
        &self,
        client: &mut Client,
        response: &Response,
    ) -> Option<(Expected, bool)> {
        client.answered += 1;
        let status = response.status;
        let Some(expected) = client.expected.pop_front() else {
            assert!(client.lenient && response.closes, "a {status} that answers nothing");
            return None;
        };
        // A head that came too slowly.
        let late = status == 408 && response.closes;
        client.late = late;
        let expected = Expected { text: expected.text.filter(|_| !late), ..expected };
        let statuses = expected.statuses;
        assert!(late || statuses.contains(&status), "{status} is none of {statuses:?}");
        if expected.last {
            assert!(response.closes, "the last answer says so");
        }
        let is_session = matches!(expected.purpose, Purpose::Shake | Purpose::Socket);
        if (statuses.contains(&101) || is_session) && status == 503 {
            assert!(client.refused, "503 without a reason");
        }
        if let Some(text) = expected.text {
            assert_eq!(response.body, text.as_bytes());
        }
        Some((expected, late))
    }

    fn page(&self, page: Page, since: u64, body: &[u8]) {
        let known = (since..=self.replaced)
            .any(|generation| body == file(page, generation, self.big_file_bytes));
        assert!(known, "{page:?} is none of the generations {since}..={}", self.replaced);
    }

    /// An end, once everything that was written before it has been looked at.
    pub(crate) fn end(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        client: &mut Client,
        person: Option<&Person>,
        end: Later,
    ) {
        let reason = match end {
            Later::Left { .. } | Later::Stray { .. } => return,
            Later::Closed { reason, duration_ms, counts, .. } => {
                let session = client.session.as_mut().expect("it was opened");
                assert!(!session.is_closed, "closed twice");
                session.is_closed = true;
                assert_eq!(now_ms - session.opened_at_ms, duration_ms);
                assert_eq!((session.published, session.got as u64), counts);
                self.counted += counts.1;
                if reason == CloseReason::TokenExpired {
                    let phase = if client.is_stream { Expiry::Stream } else { Expiry::WebSocket };
                    self.count_expired(phase);
                }
                self.close_code(client, reason);
                client.session_end = Some(reason);
                reason
            }
            Later::Ended { reason, .. } => {
                assert!(client.ended.is_none(), "ended twice");
                client.ended = Some(reason);
                let is_its =
                    |person: &Person| carried_until(now_ms, climate, client, person, reason);
                if reason == CloseReason::GaveWay && !person.is_some_and(is_its) {
                    let wanted = &mut self.wanted[client.listener as usize];
                    assert!(*wanted > 0, "#{} gave way to nobody", client.number);
                    *wanted -= 1;
                }
                if client.is_socket && client.decoder.is_upgraded() {
                    self.close_code(client, reason);
                }
                reason
            }
        };
        self.reason(now_ms, climate, client, person, reason);
    }

    fn close_code(&self, client: &Client, reason: CloseReason) {
        if client.is_stream {
            return self.last_chunk(client, reason);
        }
        let said = match &client.session {
            Some(session) => session.close_code,
            None => client.close_code,
        };
        let state = client.link.state.borrow();
        let told = [
            (CloseReason::ProtocolError, 1002),
            (CloseReason::InvalidText, 1007),
            (CloseReason::MessageTimeout, 1008),
            (CloseReason::TooSlow, 1008),
            (CloseReason::TokenExpired, 1008),
            (CloseReason::MayNotSpeak, 1008),
            (CloseReason::MessageTooBig, 1009),
            (CloseReason::NoMemory, 1013),
            (CloseReason::MessagesLost, 1012),
            (CloseReason::BackplaneAway, 1013),
            (CloseReason::GoingAway, 1001),
            (CloseReason::Disconnected, 1008),
        ];
        let code = if reason == CloseReason::ClosedByClient {
            let Some(code) = client.sent_code else { return };
            code
        } else {
            let ours = told.iter().find(|(why, _)| *why == reason);
            let Some((_, code)) = ours else { return };
            Some(*code)
        };
        if !state.cut {
            // Who says Engine.IO's close on a WebSocket is answered with an empty frame.
            let code = if client.person.is_some() && said == Some(None) { None } else { code };
            // Before the answer to the upgrade there is nobody to tell.
            let untold = reason == CloseReason::NoMemory && client.answered == 0;
            assert!(untold || said == Some(code), "closed without a word");
        }
    }

    /// Holds the reason of an end against what happened.
    fn reason(
        &self,
        now_ms: u64,
        climate: &Climate,
        client: &Client,
        person: Option<&Person>,
        reason: CloseReason,
    ) {
        let is_carried = |person: &Person| carried_until(now_ms, climate, client, person, reason);
        let is_explained = person.is_some_and(is_carried)
            || self.explains(now_ms, climate, client, person.is_some(), reason);
        let state = client.link.state.borrow();
        let accepted_at_ms = client.accepted_at_ms.unwrap_or(now_ms);
        let since = [accepted_at_ms, state.read_at_ms, state.wrote_at_ms].map(|at| now_ms - at);
        let [accepted_ms, silent_ms, idle_ms] = since;
        assert!(
            is_explained,
            "#{}: {reason:?} after {accepted_ms} ms, silent for {silent_ms}, idle for {idle_ms}",
            client.number
        );
        drop(state);
        self.last_words(now_ms, client, reason);
    }

    /// Whether a connection may end for this reason, as far as it is known what happened on it. If
    /// it is a person's, that has been asked for what it carried already.
    fn explains(
        &self,
        now_ms: u64,
        climate: &Climate,
        client: &Client,
        is_persons: bool,
        reason: CloseReason,
    ) -> bool {
        use CloseReason as R;
        let state = client.link.state.borrow();
        let settings = &climate.settings;
        let passed_ms = |since_ms: u64| now_ms - since_ms;
        let accepted_ms = passed_ms(client.accepted_at_ms.expect("it was accepted"));
        let idle_ms = passed_ms(state.wrote_at_ms);
        let silent_ms = passed_ms(state.read_at_ms);
        let pong_ms = settings.limits.ping_interval.half().as_millis()
            + settings.limits.ping_timeout.as_millis();
        match reason {
            R::Answered => client.decoder.is_closed(),
            R::PeerGone | R::ProbeOnly => state.is_over(),
            R::PeerReset => client.reasons.allows(reason) && state.is_over(),
            R::Silent | R::ProxyTimeout => {
                accepted_ms >= limits::PROXY_LIMIT.as_millis() && state.written == 0
            }
            R::KeepAliveTimeout => idle_ms >= settings.keep_alive.as_millis(),
            // Its head came behind the answer to the request before it.
            R::BodyTimeout => {
                client.answered_at_ms.map_or(accepted_ms, passed_ms)
                    >= limits::BODY_LIMIT.as_millis()
            }
            R::ResponseTimeout => state.blocked && idle_ms >= limits::RESPONSE_LIMIT.as_millis(),
            R::PingTimeout => {
                assert!(!client.is_stream, "who reads an event stream answers no ping");
                let looked = state.is_drained() || state.refused_at_ms == now_ms;
                silent_ms >= pong_ms && (looked || state.blocked) && !is_persons
            }
            R::MessageTimeout => {
                // What came while the close frame was waiting for room does not count.
                let silent_ms = silent_ms.max(state.longest_silence_ms);
                silent_ms >= limits::MESSAGE_STALL_LIMIT.as_millis()
                    || accepted_ms >= limits::MESSAGE_LIMIT.as_millis()
            }
            R::TooSlow => client.session.as_ref().is_some_and(|session| session.is_lapped),
            R::TransportTimeout => state.gave_up,
            R::NoMemory => self.scarce,
            R::GaveWay => self.was_idle(client),
            R::GoingAway => {
                let age_ms = client.session.as_ref().map_or(0, |s| passed_ms(s.opened_at_ms));
                self.is_going_away(climate, age_ms)
            }
            R::Disconnected => self.receipts.explains(client, is_persons),
            R::Replaced => self.cut_readers_at_ms == Some(now_ms),
            R::ClosedByClient
            | R::ProxyInvalid
            | R::ProxyMissing
            | R::ProxyUntrusted
            | R::ProtocolError
            | R::InvalidText
            | R::MayNotSpeak
            | R::SocketFailed => client.reasons.allows(reason),
            R::TokenExpired => client.session.as_ref().is_some_and(|it| it.is_expired(now_ms)),
            R::MessageTooBig => {
                client.reasons.allows(reason)
                    || is_swollen(climate, client, looked_at(climate, client))
            }
            R::CloseTimeout => client.is_socket && accepted_ms >= UPGRADE_MS,
            R::MessagesLost => client.session.as_ref().is_some_and(Session::has_parted),
            R::BackplaneAway => self.was_away(now_ms),
        }
    }

    /// Whether somebody who came `age_ms` ago may be sent away with 1001.
    fn is_going_away(&self, climate: &Climate, age_ms: u64) -> bool {
        self.drain_began_ms.is_some() || has_stayed(&climate.settings.limits, age_ms)
    }

    /// Whether nothing was under way on a connection that gave way: no session, no answer, no held
    /// poll.
    fn was_idle(&self, client: &Client) -> bool {
        let state = client.link.state.borrow();
        let is_session = client.session.as_ref().is_some_and(|session| !session.is_closed);
        let asked = client.expected.front().map(|expected| expected.purpose);
        // Who vanishes takes with it what it was about to ask.
        let is_read = state.read_bytes == client.said_bytes() && !client.gone;
        let is_held = asked == Some(Purpose::Poll) && is_read && !client.piped;
        let is_answering = client.decoder.rest() > 0;
        !is_session && !is_held && !is_answering
    }

    /// Who asked was answered, and a reset must not destroy what was said last, while the peer
    /// speaks within limits.
    fn last_words(&self, now_ms: u64, client: &Client, reason: CloseReason) {
        let answered = reason != CloseReason::PeerGone
            || client.session.is_some()
            || client.expected.iter().all(|expected| !matches!(expected.purpose, Purpose::Own))
            || client.expected.is_empty()
            || client.reasons.allows(CloseReason::PeerReset);
        assert!(answered, "#{} asked and got no answer: {:?}", client.number, client.expected);
        let state = client.link.state.borrow();
        let Some(shut_at_ms) = state.shut_at_ms else { return };
        if state.dropped && state.left_unread && reason != CloseReason::PeerReset {
            let patient = now_ms - shut_at_ms >= limits::LINGER_LIMIT.as_millis()
                // What had been read before and kept counts as discarded, too.
                || state.read_bytes > u64::from(limits::LINGER_BYTES_MAX)
                || self.drain_began_ms.is_some();
            assert!(patient, "{reason:?}: unread input, {} ms after", now_ms - shut_at_ms);
        }
    }
}

/// A plain WebSocket is told a close: not before it has back what it said last.
fn said_close(client: &mut Client, code: Option<u16>) {
    let session = client.session.as_mut().expect("frames come in sessions");
    session.close_code = Some(code);
    let by_client = client.sent_code == Some(code);
    let has_its_own = session.joined + session.got >= session.own_behind;
    let fits = !by_client || session.is_lapped || has_its_own;
    assert!(fits, "closed before its own messages came back");
}

/// Whether what a backend says takes more than half a ring as some reader would get it.
pub(crate) fn is_swollen_word(climate: &Climate, word: &Word) -> bool {
    let as_event = word.spoken.text.len() + 5 + 67;
    let streamed = word
        .plain
        .as_ref()
        .map_or(0, |message| stream::chunk_bytes(stream::data_bytes(message), 64) as usize);
    as_event.max(streamed) > climate.settings.limits.feed_bytes as usize / 2
}

/// How Socket.IO clients get what a plain one says.
pub(crate) fn spoken(channel: &str, message: &Message) -> Spoken {
    let space = packet::prefix(channel);
    if message.is_text {
        let text = core::str::from_utf8(&message.payload).expect("text is UTF-8");
        let text = format!("2{space}[\"chat message\",{}]", packet::json(text)).into();
        return Spoken::event(text, Vec::new());
    }
    let text = format!("51-{space}[\"chat message\",{{\"_placeholder\":true,\"num\":0}}]").into();
    Spoken::event(text, vec![message.payload.clone()])
}

/// Whether a person's connection may end for this reason because of what it carries.
fn carried_until(
    now_ms: u64,
    climate: &Climate,
    client: &Client,
    person: &Person,
    reason: CloseReason,
) -> bool {
    // What is said of a session is said of its WebSocket. A session that has left all its channels
    // ends without a word, and so does its upgrade.
    let explained = person.hearing.explains(reason) || person.is_probe(client.number);
    let silent = reason == CloseReason::PingTimeout && person.hearing.is_silent(now_ms, climate);
    let is_over = person.hearing.entries.may_end(&person.pass, now_ms);
    let expired = reason == CloseReason::TokenExpired && is_over;
    let age_ms = now_ms - person.hearing.accepted_ms.min(now_ms);
    let stayed = reason == CloseReason::GoingAway && has_stayed(&climate.settings.limits, age_ms);
    client.is_socket && (explained || silent || expired || stayed)
}

/// A request was answered, of whoever has this address.
fn answered(now_ms: u64, client: &mut Client, people: &[Person], address: SocketAddr) {
    assert!(client.is_named(address), "{address} is not its address");
    client.answered_at_ms = Some(now_ms);
    // A connection asks for one thing at a time.
    if let (Some(person), Some(asked)) = (client.person, client.expected.front_mut()) {
        asked.in_time |= people[person].hearing.end.is_none();
    }
}

/// The order is decided by the test.
fn no_redis() {
    panic!("nobody has a Redis here");
}

/// A session that nobody uses has ended, when there were so many that had entered no channel.
fn stray_ended(climate: &Climate, client: &mut Client, reason: CloseReason, unentered: usize) {
    assert!(client.strays_max() > 0, "a session that nobody asked for");
    let is_crowded = unentered > climate.settings.limits.unentered_max();
    let fits = reason != CloseReason::GaveWay || is_crowded;
    assert!(fits, "a session that nobody uses gave way to nobody");
    client.strays -= 1;
}

/// Whether somebody has, or may have, a session that was in no channel yet.
fn is_unentered(person: &&Person) -> bool {
    let hearing = &person.hearing;
    // Protocol 3 puts everybody into a channel unasked, but there may be something against it.
    !hearing.was_in_any() && hearing.end.is_none() && !hearing.entries.is_refused
}

/// Sessions that there may be in no channel.
fn unentered_max(clients: &[Client], people: &[Person]) -> usize {
    let strays: usize = clients.iter().map(Client::strays_max).sum();
    people.iter().filter(is_unentered).count() + strays
}

/// Sessions that there may be: who does not poll any more stays one until its time is over.
fn sessions_max(clients: &[Client], people: &[Person], is_of: impl Fn(&Client) -> bool) -> usize {
    let open = |session: &Session| !session.is_closed;
    let plain = |client: &&Client| client.session.as_ref().is_some_and(open) && is_of(client);
    // It is on the account of the address from which it shook hands.
    let shook = |person: &Person| person.connections.first().map(|number| &clients[*number]);
    let has_begun = |hearing: &Hearing| hearing.end.is_none() && !hearing.entries.is_refused;
    let lives = |person: &&Person| has_begun(&person.hearing) && shook(person).is_some_and(&is_of);
    let strays = clients.iter().filter(|client| is_of(client)).map(Client::strays_max);
    let plain = clients.iter().filter(plain).count();
    plain + people.iter().filter(lives).count() + strays.sum::<usize>()
}

/// How many of a client's messages the server may have looked at: what has its place elsewhere
/// stands in front of them.
fn looked_at(climate: &Climate, client: &Client) -> usize {
    if climate.order_ms_max.is_some() { client.sent.len() } else { 1 }
}

/// Whether any of the next `looked_at` messages takes more than half a ring as some reader would
/// get it, and so is refused, whether there is such a reader or not.
fn is_swollen(climate: &Climate, client: &Client, looked_at: usize) -> bool {
    let Some(session) = &client.session else { return false };
    client.sent.iter().take(looked_at).any(|message| {
        let spoken = spoken(&session.channel, message);
        // With the packet's type, the frame's header, and a position behind it in quotes.
        let as_event = spoken.text.len() + 5 + 67;
        let streamed = stream::chunk_bytes(stream::data_bytes(message), 64) as usize;
        let longest = as_event.max(streamed);
        longest > climate.settings.limits.feed_bytes as usize / 2
    })
}

/// What a page holds.
pub(crate) fn file(page: Page, generation: u64, big_file_bytes: usize) -> Vec<u8> {
    let mut bytes = format!("{page:?} {generation}\n").into_bytes();
    if page == Page::Big {
        let filler = |at: usize| (at as u64 * (generation + 7) % 251) as u8;
        bytes.extend((bytes.len()..big_file_bytes).map(filler));
    }
    bytes
}
