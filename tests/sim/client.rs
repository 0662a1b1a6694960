//! Clients as tiny models: they say what clients say, in pieces, and react to what they have read.
//!
//! Whatever a client puts into its outbox it also notes as an expectation (answers in order,
//! messages to be published in order, pings to be answered, reasons for which it may end), which
//! the oracle holds against what the server does. A client reacts only to what has arrived and what
//! it has taken: one that does not read answers no ping.

#[path = "backend.rs"]
mod backend;
#[path = "flood.rs"]
mod flood;
#[path = "speech.rs"]
mod speech;

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use elbow::id::Dialect;
use elbow::reason::CloseReason;
use elbow::server::Listener;
use elbow::settings::ProxyMode;
use elbow::wire::token::Fault;

use super::attack::Attack;
use super::climate::{Climate, Dice, People};
use super::decode::Decoder;
use super::pass::Pass;
use super::past::Start;
use super::person::{Heard, Person, Purpose};
use super::socket::Link;
use super::wish::{Trail, Wish};
pub(crate) use backend::{Answered, Ask, Order, TOKEN, Word};
pub(crate) use speech::payload;

/// What some clients say in a handshake beside what they must; to a server all of it is harmless.
const HABITS: [&str; 5] = [
    "",
    "",
    "Content-Length: 0\r\n",
    "Sec-WebSocket-Protocol: token.x, chat\r\n",
    "Sec-WebSocket-Extensions: x-webkit-   -frame\r\n",
];

/// What a client may use of the world while it acts.
pub(crate) struct Scene<'a> {
    pub(crate) now_ms: u64,
    pub(crate) dice: &'a mut Dice,
    pub(crate) climate: &'a Climate,
    /// Nobody begins anything any more; everyone reads.
    pub(crate) quiet: bool,
    /// Of the files that are served.
    pub(crate) generation: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) is_text: bool,
    pub(crate) payload: Rc<[u8]>,
}

/// Files that the site serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Page {
    Index,
    Big,
}

/// An answer that is to come.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) statuses: &'static [u16],
    pub(crate) to_head: bool,
    pub(crate) page: Option<Page>,
    /// The generation that was served when the request was sent.
    pub(crate) generation: u64,
    /// The server must say `Connection: close`.
    pub(crate) last: bool,
    pub(crate) text: Option<&'static str>,
    pub(crate) purpose: Purpose,
    /// The server has answered it before the session's end.
    pub(crate) in_time: bool,
}

/// What the client learns of what it has taken.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    Upgraded,
    Refused,
    LastAnswer,
    Ping,
    Close(Option<u16>),
    /// Reading begins here; if `recovered`, where it ended before.
    Began {
        at: Trail,
        recovered: bool,
    },
    /// A message, behind which the reader is here.
    Told(Trail),
    /// Something for the person whose connection this is.
    Carried(Heard),
}

/// A set of reasons for which a connection may end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reasons(u32);

impl Reasons {
    pub(crate) fn allow(&mut self, reason: CloseReason) {
        self.0 |= 1 << reason as u8;
    }

    pub(crate) fn allows(self, reason: CloseReason) -> bool {
        self.0 & 1 << reason as u8 != 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reads {
    AtOnce,
    Slowly,
    /// Not in every other period, and all sleepers sleep in the same.
    InPeriods,
    Never,
}

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// By a closing handshake, or `Connection: close`.
    Politely,
    /// The client says nothing more and waits.
    Stays,
    Fin,
    Reset,
    Vanishes,
    /// In the middle of a message, head or body, it stops.
    Stalls,
    /// The client breaks the protocol.
    Breaks,
    /// Text that is not UTF-8.
    BreaksText,
    TooBig,
    /// The client closes and does not wait for the answer.
    CloseAndReset,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Silent,
    Web,
    Socket,
    /// The client reads an event stream.
    Stream,
    /// The header of the client ends everything: it only waits.
    Doomed,
    /// The client does what a person has it do.
    Person,
    /// The client asks the admin listener.
    Backend,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) channel: Box<str>,
    /// The life of the channel in which it came.
    pub(crate) life: usize,
    /// Where it may begin; more than one place only if memory was scarce.
    pub(crate) starts: Vec<Start>,
    /// The client was told where it begins, if it is told so.
    pub(crate) is_greeted: bool,
    /// The turn in which it was last given something, or came.
    pub(crate) got_turn: u64,
    /// The first message that it is to get, by its place in the channel's log.
    pub(crate) joined: usize,
    /// The places at which it may have begun, by what it has been given.
    pub(crate) may_have_joined: Vec<usize>,
    pub(crate) got: usize,
    /// Behind its own latest message, by its place in the log.
    pub(crate) own_behind: usize,
    pub(crate) published: u64,
    pub(crate) opened_at_ms: u64,
    /// When its stay ends.
    pub(crate) until_ms: Option<u64>,
    /// When it last had something to say that was not taken in.
    pub(crate) unread_at_ms: Option<u64>,
    /// When the server pinged it and has not heard from it since.
    pub(crate) pinged_at_ms: Option<u64>,
    pub(crate) pings: u64,
    pub(crate) close_code: Option<Option<u16>>,
    /// The client was told when to come back.
    pub(crate) is_put_off: bool,
    pub(crate) is_lapped: bool,
    /// When something of its channel was lost, behind which it is to be sent nothing.
    pub(crate) parted_ms: Option<u64>,
    /// A message may stand where one stood that was lost.
    pub(crate) is_lossy: bool,
    /// The end was reported.
    pub(crate) is_over: bool,
    /// The end was judged, once everything was looked at that had been written before.
    pub(crate) is_closed: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) link: Rc<Link>,
    pub(crate) listener: Listener,
    pub(crate) peer: SocketAddr,
    /// Who it is behind its header, if that is believed.
    pub(crate) claimed: SocketAddr,
    pub(crate) header_counts: bool,
    pub(crate) accepted_at_ms: Option<u64>,
    /// When the server last reported the answer to a request of it.
    pub(crate) answered_at_ms: Option<u64>,
    pub(crate) decoder: Decoder,
    pub(crate) expected: VecDeque<Expected>,
    /// Of what the client may take note once it has taken so much.
    pub(crate) notices: VecDeque<(u64, Notice)>,
    /// Whole messages that were put into the outbox and not yet reported as published.
    pub(crate) sent: VecDeque<Message>,
    /// What it has asked of the admin listener, until it is answered.
    pub(crate) orders: VecDeque<Order>,
    /// What it was told cannot be said now, and may be said all the same.
    pub(crate) limbo: Vec<Order>,
    /// Payloads of its pings that may be answered yet.
    pub(crate) pings: VecDeque<Vec<u8>>,
    pub(crate) reasons: Reasons,
    pub(crate) session: Option<Session>,
    pub(crate) ended: Option<CloseReason>,
    /// Why its session ended.
    pub(crate) session_end: Option<CloseReason>,
    /// The end, once nothing more is to be looked at.
    pub(crate) judged_end: Option<CloseReason>,
    /// The session was refused for want of room.
    pub(crate) refused: bool,
    /// Answers to what it did not ask may come.
    pub(crate) lenient: bool,
    pub(crate) answered: u64,
    /// The last answer was that it asks too slowly.
    pub(crate) late: bool,
    pub(crate) outbox: VecDeque<u8>,
    /// Frames and packets of POSTs that it has ever put into its outbox.
    pub(crate) frames: u64,
    /// Whose connection it is, and what that person has not taken note of.
    pub(crate) person: Option<usize>,
    pub(crate) heard: Vec<Heard>,
    /// Bytes stand behind a poll, so that nothing more is read before its answer.
    pub(crate) piped: bool,
    /// The client is, or is to be, a person's WebSocket.
    pub(crate) is_socket: bool,
    pub(crate) close_code: Option<Option<u16>>,
    /// When it acts next, as the world has it.
    pub(crate) next_ms: u64,
    pub(crate) sent_code: Option<Option<u16>>,
    /// The client has said its last word.
    pub(crate) over: bool,
    pub(crate) half_closed: bool,
    pub(crate) gone: bool,
    /// The attack that it goes on with for as long as the storm lasts, if it is a stranger's.
    pub(crate) attack: Option<Attack>,
    /// Whether it has begun to attack.
    pub(crate) has_attacked: bool,
    /// Sessions that it was given and that nobody uses, less those that are over.
    pub(crate) strays: isize,
    /// Whether it asks for nothing but whether the server is alive.
    pub(crate) probes: bool,
    /// Whether it speaks `elbow.v1`.
    pub(crate) is_positioned: bool,
    /// Whether it reads an event stream, or asks for the head of one.
    pub(crate) is_stream: bool,
    pub(crate) asks_for_head: bool,
    /// The stream was put off because the client's address had its share.
    pub(crate) is_over_share: bool,
    /// The stream was put off, and the client was told when to come back.
    pub(crate) refused_for_later: bool,
    /// Where it wants to begin.
    pub(crate) wish: Wish,
    /// The token that it shows.
    pub(crate) pass: Pass,
    /// For what each of the tokens is refused that it shows in vain, one behind the other.
    pub(crate) shown: VecDeque<Fault>,
    /// How far it has taken what it was told, on this connection or one before.
    pub(crate) trail: Option<Trail>,
    /// Whether it comes back when it has gone.
    pub(crate) returns: bool,
    /// The last turn in which the server could not write to it.
    pub(crate) free_turn: u64,
    /// The last turn in which the server had not been told all that it has said.
    pub(crate) told_turn: u64,
    role: Role,
    reads: Reads,
    end: End,
    /// Acts until its end.
    life: u64,
    mute: bool,
    open: bool,
    read_again_ms: u64,
    speak_again_ms: u64,
    channel: u64,
    count: u64,
}

impl Session {
    /// Whether something that it was to read is lost, and it is sent away.
    pub(crate) fn has_parted(&self) -> bool {
        self.parted_ms.is_some()
    }

    /// Whether its stay is over.
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until_ms| now_ms >= until_ms)
    }
}

pub(crate) const SESSION_CLOSED: &[u16] = &[101, 503];
/// What somebody may be answered who wants what was said before.
const WISH_CLOSED: &[u16] = &[101, 410, 429, 503];

/// What somebody may be answered whose token may have expired, who may be answered so otherwise.
pub(crate) fn or_expired(statuses: &'static [u16]) -> &'static [u16] {
    match statuses {
        [101, 503] => &[101, 401, 503],
        [101, 410, 429, 503] => &[101, 401, 410, 429, 503],
        [400] => &[400, 401],
        [403] => &[401, 403],
        [200] => &[200, 401],
        [200, 410] => &[200, 401, 410],
        [200, 503] => &[200, 401, 503],
        others => panic!("{others:?} and 401"),
    }
}

/// A field that some clients send, unless it would be taken for a token.
fn habit(climate: &Climate, habit: &'static str) -> &'static str {
    if climate.tokens.is_some() && habit.contains("token.") { "" } else { habit }
}

/// How somebody ends.
fn draw_end(dice: &mut Dice, people: &People) -> End {
    if dice.chance(people.rude) {
        use End::{Breaks, BreaksText, CloseAndReset, Fin, Reset, Stalls, TooBig, Vanishes};
        dice.pick(&[Fin, Reset, Vanishes, Stalls, Breaks, BreaksText, TooBig, CloseAndReset])
    } else {
        dice.pick(&[End::Politely, End::Politely, End::Stays])
    }
}

/// How fast somebody reads.
pub(crate) fn draw_reads(dice: &mut Dice, people: &People) -> Reads {
    if dice.chance(people.slow_readers) {
        Reads::Slowly
    } else if dice.chance(people.sleepers) {
        Reads::InPeriods
    } else if dice.chance(people.never_readers) {
        Reads::Never
    } else {
        Reads::AtOnce
    }
}

/// The address of a client in a network; several share one if there are fewer `hosts`.
fn address([a, b]: [u8; 2], number: usize, hosts: u32) -> SocketAddr {
    let host = if hosts > 0 { number as u32 % hosts } else { number as u32 };
    let [_, _, high, low] = host.to_be_bytes();
    let ip = Ipv4Addr::new(a, b, high, low);
    SocketAddr::V4(SocketAddrV4::new(ip, 1024 + number as u16))
}

impl Client {
    pub(crate) fn new(number: usize, link: Rc<Link>, scene: &mut Scene<'_>) -> Client {
        let people = scene.climate.people;
        let dice = &mut *scene.dice;
        let health = scene.climate.health_listener && dice.chance(100);
        let role = if dice.chance(people.silent) {
            Role::Silent
        } else if health || dice.chance(people.web) {
            Role::Web
        } else {
            Role::Socket
        };
        let reads = draw_reads(dice, &people);
        let end = draw_end(dice, &people);
        Client {
            listener: if health { Listener::Health } else { Listener::Public },
            role,
            reads,
            end,
            life: dice.between(0, 30),
            mute: dice.chance(people.mutes),
            channel: dice.below(people.channels),
            ..Client::blank(number, link, scene.climate.hosts)
        }
    }

    /// A client that has done nothing yet and whose ways are not drawn. Several share an address if
    /// there are fewer `hosts`.
    fn blank(number: usize, link: Rc<Link>, hosts: u32) -> Client {
        Client {
            number,
            link,
            listener: Listener::Public,
            peer: address([10, 1], number, hosts),
            claimed: address([198, 51], number, hosts),
            header_counts: false,
            accepted_at_ms: None,
            answered_at_ms: None,
            decoder: Decoder::default(),
            expected: VecDeque::new(),
            notices: VecDeque::new(),
            sent: VecDeque::new(),
            orders: VecDeque::new(),
            limbo: Vec::new(),
            pings: VecDeque::new(),
            reasons: Reasons::default(),
            session: None,
            ended: None,
            session_end: None,
            judged_end: None,
            refused: false,
            lenient: false,
            answered: 0,
            late: false,
            outbox: VecDeque::new(),
            frames: 0,
            person: None,
            heard: Vec::new(),
            piped: false,
            is_socket: false,
            close_code: None,
            next_ms: u64::MAX,
            sent_code: None,
            over: false,
            half_closed: false,
            gone: false,
            attack: None,
            has_attacked: false,
            strays: 0,
            probes: false,
            is_positioned: false,
            is_stream: false,
            asks_for_head: false,
            is_over_share: false,
            refused_for_later: false,
            wish: Wish::default(),
            pass: Pass::NONE,
            shown: VecDeque::new(),
            trail: None,
            returns: false,
            free_turn: 0,
            told_turn: 0,
            role: Role::Silent,
            reads: Reads::AtOnce,
            end: End::Stays,
            life: 0,
            mute: false,
            open: false,
            read_again_ms: 0,
            speak_again_ms: 0,
            channel: 0,
            count: 0,
        }
    }

    /// The address by which events must name it.
    pub(crate) fn is_named(&self, address: SocketAddr) -> bool {
        let whole = if self.header_counts { self.claimed } else { self.peer };
        // Until the header is read the peer is all that is known.
        address == whole || (address == self.peer && self.session.is_none() && self.answered == 0)
    }

    /// Whether the server has it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted_at_ms.is_some() && self.judged_end.is_none()
    }

    /// Whether it may have more to be sent than short answers.
    pub(crate) fn reads_much(&self) -> bool {
        match self.attack {
            Some(attack) => attack.is_person() || matches!(attack, Attack::Frames | Attack::Rooms),
            None => !self.probes,
        }
    }

    /// Sessions that it may have, and that nobody uses: one may be on its way, and another behind
    /// it if the answer about the first had to wait for its socket.
    pub(crate) fn strays_max(&self) -> usize {
        let asks = self.expected.front().is_some_and(|asked| asked.purpose == Purpose::Shake);
        let asks = asks && self.person.is_none();
        let asked = if self.link.was_blocked_now() { 2 } else { 1 };
        usize::try_from(self.strays).unwrap_or(0) + if asks { asked } else { 0 }
    }

    /// Whether it came because of an attack.
    pub(crate) fn is_extra(&self) -> bool {
        self.attack.is_some() || self.probes
    }

    /// Whether the server has it, from this listener.
    pub(crate) fn is_connected_by(&self, listener: Listener) -> bool {
        let is_accepted = self.accepted_at_ms.is_some() && self.listener == listener;
        is_accepted && !self.link.state.borrow().dropped
    }

    /// The address on whose account its session is.
    pub(crate) fn ip(&self) -> IpAddr {
        if self.header_counts { self.claimed.ip() } else { self.peer.ip() }
    }

    /// The address that is charged with what it brings and is sent again; `None` for a proxy, which
    /// is on nobody's account.
    pub(crate) fn account(&self, climate: &Climate) -> Option<IpAddr> {
        let expects_proxies = climate.settings.proxy != ProxyMode::Off;
        let is_trusted = climate.settings.trust.contains(self.peer.ip());
        let is_proxy = expects_proxies && is_trusted && !self.header_counts;
        (!is_proxy).then(|| self.ip())
    }

    /// What it reads as a member of its channel.
    pub(crate) fn dialect(&self) -> Dialect {
        match (self.is_stream, self.is_positioned) {
            (true, _) => Dialect::EventStream,
            (false, true) => Dialect::ElbowV1,
            (false, false) => Dialect::Plain,
        }
    }

    /// The channel that it asks for.
    pub(crate) fn channel_name(&self, climate: &Climate) -> String {
        climate.channel(self.channel)
    }

    /// Whether it is a plain WebSocket that may want something that was said before it came.
    pub(crate) fn may_wish(&self) -> bool {
        self.role == Role::Socket && self.attack.is_none()
    }

    /// Instead of opening a WebSocket, it will ask for an event stream.
    pub(crate) fn become_stream(&mut self) {
        self.role = Role::Stream;
        (self.is_stream, self.is_positioned) = (true, false);
    }

    /// Whether it comes back when it has gone, be it that it was refused.
    pub(crate) fn may_return(&self) -> bool {
        let may = matches!(self.role, Role::Socket | Role::Stream | Role::Web);
        self.returns && may && self.attack.is_none()
    }

    /// A plain WebSocket comes back to its channel, from its address, with the trail that it has.
    pub(crate) fn come_back_as(
        &self,
        number: usize,
        link: Rc<Link>,
        scene: &mut Scene<'_>,
    ) -> Client {
        let at = |address: SocketAddr| SocketAddr::new(address.ip(), 1024 + number as u16);
        Client {
            role: Role::Socket,
            listener: Listener::Public,
            channel: self.channel,
            peer: at(self.peer),
            claimed: at(self.claimed),
            trail: self.trail.clone(),
            ..Client::new(number, link, scene)
        }
    }

    /// Whether it asks for nothing but the default channel.
    pub(crate) fn asks_for_default(&self) -> bool {
        matches!(self.role, Role::Socket | Role::Stream) && self.channel == 0
    }

    /// Whether the answer that comes next is one to a poll, which the server may hold. What stands
    /// behind it waits for that.
    pub(crate) fn is_polling(&self) -> bool {
        self.expected.front().is_some_and(|expected| expected.purpose == Purpose::Poll)
    }

    pub(crate) fn never_reads(&self) -> bool {
        self.reads == Reads::Never
    }

    /// Connects: what comes first.
    pub(crate) fn begin(&mut self, scene: &mut Scene<'_>) {
        if self.role == Role::Silent {
            self.life = 0;
            return;
        }
        if self.role == Role::Backend {
            return;
        }
        self.introduce(scene);
        match self.role {
            Role::Socket => self.ask_upgrade(scene),
            Role::Stream => self.ask_stream(scene),
            Role::Silent | Role::Web | Role::Doomed | Role::Person | Role::Backend => {}
        }
    }

    /// Does something. When it wants to act again, if nothing happens before.
    pub(crate) fn act(&mut self, scene: &mut Scene<'_>) -> Option<u64> {
        if self.gone {
            return None;
        }
        if self.link.is_reset() {
            self.gone = true;
            return None;
        }
        self.read(scene);
        if self.link.is_ended() && !self.over {
            self.hang_up();
        }
        let speaks = !self.over && !scene.quiet && self.role != Role::Person;
        if speaks && scene.now_ms >= self.speak_again_ms {
            self.speak_again_ms = match self.attack {
                Some(attack) => {
                    self.attack(scene, attack);
                    self.attacks_again_ms(scene, attack)
                }
                None => {
                    self.speak(scene);
                    let think_ms = scene.climate.people.think_ms;
                    scene.now_ms + scene.dice.between(1, think_ms * 2)
                }
            };
        }
        let sends_again_ms = self.send(scene);
        if self.gone {
            return None;
        }
        let mut next = u64::MAX;
        if speaks && !self.over {
            next = self.speak_again_ms;
        }
        if self.reads != Reads::AtOnce && !scene.quiet {
            next = next.min(self.read_again_ms.max(scene.now_ms + 1));
        }
        if let Some(at) = sends_again_ms {
            next = next.min(at);
        }
        (next != u64::MAX).then_some(next)
    }

    /// Leaves, one way or another.
    pub(crate) fn leave(&mut self, scene: &mut Scene<'_>) {
        if self.gone || self.over || self.role == Role::Person {
            return;
        }
        self.end = match scene.dice.below(6) {
            0 => End::Fin,
            1 => End::Reset,
            2 => End::Vanishes,
            // Behind frames that were no requests nothing can be asked.
            _ if self.lenient && self.session.is_none() => End::Fin,
            _ => End::Politely,
        };
        self.finish(scene);
        self.send(scene);
    }

    fn read(&mut self, scene: &mut Scene<'_>) {
        let most = if scene.quiet && self.reads != Reads::Never {
            u64::MAX
        } else {
            match self.reads {
                Reads::AtOnce => u64::MAX,
                Reads::Slowly if scene.now_ms < self.read_again_ms => 0,
                Reads::Slowly => {
                    self.read_again_ms = scene.now_ms + scene.dice.between(5, 200);
                    scene.dice.between(1, 400)
                }
                Reads::InPeriods => {
                    let period = scene.now_ms / 3000;
                    self.read_again_ms = (period + 1) * 3000;
                    if period % 2 == 1 { 0 } else { u64::MAX }
                }
                // It would not even know that it is connected.
                Reads::Never if !self.open => u64::MAX,
                Reads::Never => {
                    self.read_again_ms = scene.now_ms + 10_000;
                    0
                }
            }
        };
        let taken = self.link.take(most);
        while let Some((_, notice)) = self.notices.pop_front_if(|(at, _)| *at <= taken) {
            self.react(notice);
        }
    }

    fn react(&mut self, notice: Notice) {
        match notice {
            Notice::Upgraded => self.open = true,
            // A plain answer 426 to somebody who only asked.
            Notice::Refused if !matches!(self.role, Role::Socket | Role::Stream) => {}
            Notice::Refused => {
                self.role = Role::Web;
                self.end = End::Fin;
                self.life = if self.lenient { 0 } else { self.life.min(1) };
            }
            Notice::LastAnswer if self.role == Role::Person => self.end = End::Fin,
            Notice::LastAnswer => {}
            Notice::Began { at, recovered } => {
                let before = self.trail.replace(at).filter(|_| recovered && self.wish.is_own);
                if let (Some(before), Some(at)) = (before, &self.trail) {
                    assert_eq!(before.life, at.life, "#{} is in another life", self.number);
                    assert_eq!(before.place, at.place, "#{}: a seam", self.number);
                }
            }
            Notice::Told(at) => {
                let before = self.trail.replace(at.clone());
                if let Some(before) = before {
                    let next = (before.life, before.place + 1);
                    assert_eq!((at.life, at.place), next, "#{}: whole and in order", self.number);
                }
            }
            Notice::Carried(heard) => self.heard.push(heard),
            Notice::Close(code) if self.role == Role::Person => {
                if self.sent_code.is_none() && !self.over {
                    self.put_close(code);
                    self.over = true;
                    self.end = End::Fin;
                }
                self.heard.push(Heard::SocketClosed);
            }
            Notice::Ping if self.mute || self.sent_code.is_some() || self.over => {}
            Notice::Ping => self.put_frame(0x8a, b""),
            Notice::Close(code) if self.sent_code.is_none() && !self.over => {
                self.put_close(code);
                self.life = 0;
                self.end = End::Fin;
            }
            Notice::Close(_) => {}
        }
    }

    fn hang_up(&mut self) {
        self.over = true;
        self.half_closed = true;
        self.outbox.clear();
        self.link.end();
        self.gone = true;
    }

    /// Sends what waits, or some of it. When to go on, if the client decides that.
    fn send(&mut self, scene: &mut Scene<'_>) -> Option<u64> {
        while !self.outbox.is_empty() {
            let waiting = self.outbox.make_contiguous();
            let cut = if scene.dice.chance(300) {
                1 + scene.dice.below(waiting.len() as u64) as usize
            } else {
                waiting.len()
            };
            let sent = self.link.send(&waiting[..cut]);
            self.outbox.drain(..sent);
            if sent < cut {
                // The server's reading makes room, and the world tells.
                return None;
            }
            if scene.dice.chance(300) {
                return Some(scene.now_ms + scene.dice.between(1, 40));
            }
        }
        if self.over && !self.half_closed && self.end == End::Fin {
            self.half_closed = true;
            self.link.end();
        }
        if self.over && self.end == End::CloseAndReset {
            self.reset();
        }
        None
    }

    fn speak(&mut self, scene: &mut Scene<'_>) {
        match self.role {
            Role::Doomed | Role::Person => {}
            Role::Socket | Role::Stream if !self.open => {}
            Role::Silent | Role::Web | Role::Socket | Role::Stream | Role::Backend
                if self.life == 0 =>
            {
                self.finish(scene);
            }
            // A backend does not ask without end before it is answered.
            Role::Backend if self.orders.len() > 16 => {}
            Role::Backend => {
                self.life -= 1;
                self.order_some(scene);
            }
            Role::Silent => self.life -= 1,
            Role::Stream => {
                self.life -= 1;
                if scene.dice.chance(30) {
                    // Nothing is a request any more.
                    self.outbox.extend(b"GET /sse HTTP/1.1\r\nHost: sim\r\n\r\n");
                }
            }
            Role::Web => {
                self.life -= 1;
                for _ in 0..scene.dice.between(1, 3) {
                    self.ask(scene);
                }
            }
            Role::Socket if self.sent_code.is_some() => {}
            // What the way takes in a few seconds is enough to have waiting.
            Role::Socket if self.outbox.len() > scene.climate.temper.receive_bytes * 20 => {}
            Role::Socket => {
                self.life -= 1;
                let flood = scene.dice.chance(scene.climate.people.flooders);
                let burst = scene.climate.people.burst * if flood { 10 } else { 1 };
                for _ in 0..scene.dice.between(1, burst) {
                    self.say(scene);
                }
            }
        }
    }

    fn reset(&mut self) {
        let (kind, reason) = match self.number % 8 {
            0 => (io::ErrorKind::Other, CloseReason::SocketFailed),
            1..=3 => (io::ErrorKind::BrokenPipe, CloseReason::PeerReset),
            _ => (io::ErrorKind::ConnectionReset, CloseReason::PeerReset),
        };
        self.link.reset(kind);
        self.reasons.allow(reason);
        self.over = true;
        self.gone = true;
    }

    /// The last act of the client.
    fn finish(&mut self, scene: &mut Scene<'_>) {
        let in_session = self.role == Role::Socket && self.open;
        if self.role == Role::Stream && matches!(self.end, End::Breaks | End::TooBig) {
            let most = elbow::limits::LINGER_BYTES_MAX as usize;
            self.outbox.extend(core::iter::repeat_n(b'\n', most + 1));
            self.reasons.allow(CloseReason::ProtocolError);
            self.over = true;
            return;
        }
        match self.end {
            End::Stays => self.life = 0,
            End::Politely | End::CloseAndReset if in_session => {
                let code = scene.dice.pick(&[None, Some(1000), Some(1001), Some(4000)]);
                if self.sent_code.is_none() {
                    self.put_close(code);
                }
                self.over = true;
                if self.end == End::CloseAndReset {
                    self.reasons.allow(CloseReason::PeerReset);
                }
            }
            End::Politely if self.role == Role::Web => {
                self.ask_last(scene);
                self.over = true;
            }
            End::Reset | End::CloseAndReset => self.reset(),
            End::Vanishes => {
                self.outbox.clear();
                self.over = true;
                self.gone = true;
            }
            End::Stalls if in_session => {
                self.put_message_begun(scene);
                self.over = true;
            }
            End::Stalls if self.role == Role::Web => {
                self.ask_half(scene);
                self.over = true;
            }
            End::Breaks | End::BreaksText | End::TooBig if in_session => {
                self.break_frames(scene);
                self.over = true;
            }
            End::Breaks if self.role == Role::Web => {
                self.ask_nonsense(scene);
                self.over = true;
            }
            End::Politely
            | End::Fin
            | End::Stalls
            | End::Breaks
            | End::BreaksText
            | End::TooBig => {
                self.end = End::Fin;
                self.over = true;
                self.reasons.allow(CloseReason::PeerGone);
                self.reasons.allow(CloseReason::ProbeOnly);
            }
        }
    }
}

/// What a person has its connections do.
impl Client {
    pub(crate) fn of_person(
        number: usize,
        link: Rc<Link>,
        scene: &mut Scene<'_>,
        (number_of_person, person): (usize, &Person),
    ) -> Client {
        let (reads, attack) = (person.reads, person.attack);
        let mut client = Client {
            role: Role::Person,
            listener: Listener::Public,
            reads,
            end: End::Stays,
            person: Some(number_of_person),
            ..Client::new(number, link, scene)
        };
        if let Some(attack) = attack {
            client.become_attacker(scene, attack);
        }
        if let Some([peer, claimed]) = person.from {
            client.peer.set_ip(peer);
            client.claimed.set_ip(claimed);
        }
        match scene.climate.settings.proxy {
            ProxyMode::Off => {}
            ProxyMode::Optional if scene.dice.chance(500) => {}
            ProxyMode::Optional | ProxyMode::Required => client.put_header(scene),
        }
        client
    }

    /// Whether it can carry one more request.
    pub(crate) fn is_free(&self) -> bool {
        let begun = self.over || self.gone || self.is_socket || self.end == End::Fin;
        // A PROXY header may still wait to be sent.
        !begun && self.expected.is_empty() && self.notices.is_empty()
    }

    /// Whether it has something to send, or its end.
    pub(crate) fn wants_to_act(&self) -> bool {
        !self.gone && (!self.outbox.is_empty() || (self.over && !self.half_closed))
    }

    /// Who never reads does so from the time on when it is in a channel.
    pub(crate) fn let_be(&mut self, is_in: bool) {
        self.open = is_in;
    }

    /// How many bytes it has said, when all that waits has gone.
    pub(crate) fn said_bytes(&self) -> u64 {
        self.link.state.borrow().sent_bytes + self.outbox.len() as u64
    }

    pub(crate) fn ask_for_person(
        &mut self,
        scene: &Scene<'_>,
        request: &[u8],
        statuses: &'static [u16],
        purpose: Purpose,
    ) -> &mut Expected {
        self.outbox.extend(request);
        let expected = self.expect(scene, statuses, None);
        expected.purpose = purpose;
        expected
    }

    pub(crate) fn ask_socket(
        &mut self,
        scene: &Scene<'_>,
        path: &str,
        statuses: &'static [u16],
        purpose: Purpose,
    ) {
        self.is_socket = true;
        let habit = habit(scene.climate, HABITS[self.number % HABITS.len()]);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             {habit}Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.ask_for_person(scene, head.as_bytes(), statuses, purpose);
    }

    pub(crate) fn close_politely(&mut self, scene: &mut Scene<'_>) {
        if self.sent_code.is_none() && !self.over {
            self.put_close(scene.dice.pick(&[None, Some(1000), Some(1001)]));
        }
        self.over = true;
    }

    /// Ends in the middle of whatever it carries, with a reset or in order.
    pub(crate) fn break_off(&mut self, reset: bool) {
        if self.gone {
            return;
        }
        self.reasons.allow(CloseReason::PeerGone);
        self.reasons.allow(CloseReason::ProbeOnly);
        if reset {
            self.reset();
        } else {
            self.over = true;
            self.end = End::Fin;
        }
    }

    /// Is not heard of any more.
    pub(crate) fn vanish(&mut self) {
        self.outbox.clear();
        self.over = true;
        self.gone = true;
    }
}
