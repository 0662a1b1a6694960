//! Socket.IO clients as tiny models: Engine.IO 4 and 3, over polls, a WebSocket, or first the one
//! and then the other.
//!
//! A person has connections (`Client`s of the role `Person`), on which it asks, posts and sends
//! frames, and of which it learns what has arrived there and was taken. It does what clients of
//! Socket.IO do, one request of a kind at a time and no `5` before its poll is back, until it
//! decides to end in one of many ways, some of which break the protocol. What it says it also notes
//! as an expectation in its `Hearing`.
//!
//! A client that comes again is a new person: sessions have nothing to do with each other.

#[path = "parting.rs"]
mod parting;
#[path = "swarm.rs"]
mod swarm;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use elbow::id::Dialect;
use elbow::reason::CloseReason;
use elbow::settings::{Anonymous, Events};

use super::attack::Attack;
use super::client::{Client, Message, Reads, Scene, payload};
use super::climate::Climate;
use super::hearing::{Hearing, Saying, Sign, Spoken, Told};
use super::packet::{self, Packet, json, json_escaped, prefix};
use super::pass::{Kind, Pass, Tokens};
use super::returning::{self, Known};

/// What a request of a person is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A backend's request.
    Order,
    /// Nothing of a session.
    Own,
    /// A session by polls.
    Shake,
    /// A session on a WebSocket.
    Socket,
    Poll,
    Post,
    /// A WebSocket that is to take over.
    Probe,
    /// Something that is refused.
    Wrong,
}

/// What a person learns of what has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Answer(Purpose, u16),
    Open(String),
    Ping,
    Proved,
    /// The person is in a channel, by an id, and where it was if it `goes_on`.
    Connected {
        channel: Box<str>,
        pid: Option<String>,
        goes_on: bool,
    },
    /// How far it was told everything.
    Told(Told),
    Refused,
    Close,
    SocketClosed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Polling,
    Socket,
    Upgrade,
}

/// How an upgrade goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Whole,
    /// The person never says `5`.
    Abandoned,
    /// `5` comes without a probe before it, once nothing else is under way.
    Unproved,
    /// `5` comes without a probe before it, and at once.
    UnprovedHasty,
    /// `5` does not wait for what is under way.
    Hasty,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Politely,
    Stays,
    /// The person asks for nothing any more, and keeps its connections.
    Abandons,
    Fin,
    Reset,
    Vanishes,
    Stalls,
    Breaks,
    TooBig,
    /// Two requests of a kind at a time.
    TwoPolls,
    TwoPosts,
}

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) number: usize,
    pub(crate) version: u8,
    /// How the query of its handshake begins, and how that of each later request does.
    names: (&'static str, &'static str),
    pub(crate) reads: Reads,
    pub(crate) connections: Vec<usize>,
    pub(crate) hearing: Hearing,
    /// The token that it shows in its handshake.
    pub(crate) pass: Pass,
    /// All its tokens let it listen, and nothing else.
    pub(crate) listens: bool,
    /// When it acts next, as the world has it.
    pub(crate) next_ms: u64,
    /// The person says nothing any more.
    pub(crate) over: bool,
    /// The person waits before it polls again.
    pub(crate) lazy: bool,
    pub(crate) mute: bool,
    /// The attack that it goes on with for as long as the storm lasts, if it is a stranger's.
    pub(crate) attack: Option<Attack>,
    /// Whether it has begun to attack.
    pub(crate) has_attacked: bool,
    /// What it knows of namespaces, by which it may come back.
    pub(crate) known: BTreeMap<Box<str>, Known>,
    /// The addresses from which it comes, if they are those of somebody before: as a peer, and
    /// behind a header.
    pub(crate) from: Option<[IpAddr; 2]>,
    /// The first channel that it has asked for.
    home: Option<Box<str>>,
    way: Way,
    style: Style,
    end: End,
    /// The person leaves namespaces; who does not may enter one twice.
    leaver: bool,
    sid: Option<String>,
    shake: Option<usize>,
    pub(crate) poll: Option<usize>,
    pub(crate) post: Option<usize>,
    pub(crate) socket: Option<usize>,
    probe: Option<usize>,
    probed_on: Vec<usize>,
    probe_open: bool,
    probed: bool,
    proved: bool,
    pub(crate) outgoing: VecDeque<Packet>,
    /// Channels that it is in, as far as it knows.
    spaces: BTreeSet<Box<str>>,
    /// Channels that it has asked for and was not let in yet.
    asking: Vec<Box<str>>,
    /// The person has said its last word, which is still under way.
    parting: bool,
    /// The person says nothing new any more, and waits to be told that this was the end.
    silent: bool,
    life: u64,
    speak_again_ms: u64,
    poll_again_ms: u64,
    ping_again_ms: u64,
    /// The person does not connect before it was unconnected for too long.
    shy: bool,
    count: u64,
}

impl Person {
    pub(crate) fn new(number: usize, scene: &mut Scene<'_>) -> Person {
        let people = scene.climate.people;
        let dice = &mut *scene.dice;
        let version = dice.pick(&[3, 4, 4]);
        // Whatever is not 4 is 3, the last of two counts, and later requests need name none.
        let names = match version {
            3 => (dice.pick(&["EIO=3&", "EIO=3&", "", "EIO=2&", "EIO=4&EIO=&"]), "EIO=3&"),
            _ => (dice.pick(&["EIO=4&", "EIO=4&", "EIO=3&EIO=4&"]), "EIO=4&"),
        };
        let names = (names.0, dice.pick(&[names.1, names.1, ""]));
        let end = if dice.chance(people.rude) {
            use End::{Abandons, Breaks, Fin, Reset, Stalls, TooBig, TwoPolls, TwoPosts, Vanishes};
            dice.pick(&[
                Abandons, Fin, Reset, Vanishes, Stalls, Breaks, Breaks, TooBig, TwoPolls, TwoPosts,
            ])
        } else {
            dice.pick(&[End::Politely, End::Politely, End::Stays])
        };
        let style = if dice.chance(people.rude / 3) {
            dice.pick(&[Style::Abandoned, Style::UnprovedHasty, Style::UnprovedHasty, Style::Hasty])
        } else {
            dice.pick(&[Style::Whole, Style::Whole, Style::Whole, Style::Unproved])
        };
        Person {
            number,
            version,
            names,
            reads: super::client::draw_reads(dice, &people),
            connections: Vec::new(),
            hearing: Hearing::new(version, scene.climate),
            pass: Pass::NONE,
            listens: false,
            next_ms: u64::MAX,
            over: false,
            lazy: dice.chance(people.slow_readers),
            mute: dice.chance(people.mutes),
            attack: None,
            has_attacked: false,
            known: BTreeMap::new(),
            from: None,
            home: None,
            way: dice.pick(&[Way::Polling, Way::Socket, Way::Upgrade, Way::Upgrade]),
            style,
            end,
            leaver: dice.chance(500),
            sid: None,
            shake: None,
            poll: None,
            post: None,
            socket: None,
            probe: None,
            probed_on: Vec::new(),
            probe_open: false,
            probed: false,
            proved: false,
            outgoing: VecDeque::new(),
            spaces: BTreeSet::new(),
            asking: Vec::new(),
            parting: false,
            silent: false,
            life: dice.between(1, 40),
            speak_again_ms: 0,
            poll_again_ms: 0,
            ping_again_ms: u64::MAX,
            shy: dice.chance(20),
            count: 0,
        }
    }

    /// Somebody comes back who knows so much, from where it was before.
    pub(crate) fn come_back_as(
        &self,
        number: usize,
        scene: &mut Scene<'_>,
        clients: &[Client],
    ) -> Person {
        let before = self.connections.first().map(|number| &clients[*number]);
        let own = before.map(|client| [client.peer.ip(), client.claimed.ip()]);
        Person {
            version: 4,
            names: ("EIO=4&", "EIO=4&"),
            hearing: Hearing::new(4, scene.climate),
            known: self.known.clone(),
            from: self.from.or(own),
            shy: false,
            ..Person::new(number, scene)
        }
    }

    /// Whether it may come back: it has gone, or was not let in.
    pub(crate) fn may_return(&self) -> bool {
        self.over && self.version == 4 && self.attack.is_none()
    }

    /// What it reads as a member of a channel.
    pub(crate) fn dialect(&self) -> Dialect {
        if self.version == 4 { Dialect::SocketIo4 } else { Dialect::SocketIo3 }
    }

    /// Does something; whether it needs one more connection for it.
    pub(crate) fn act(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) -> bool {
        self.listen(scene, clients);
        if self.over {
            return false;
        }
        if self.shake.is_none() && self.socket.is_none() && self.sid.is_none() {
            return self.shake_hands(scene, clients);
        }
        if self.sid.is_none() {
            return false;
        }
        let mut wants = self.keep_polling(scene, clients);
        if self.way == Way::Upgrade && self.socket.is_none() {
            wants |= self.upgrade(scene, clients);
        }
        if scene.now_ms >= self.ping_again_ms {
            self.ping_again_ms =
                scene.now_ms + scene.climate.settings.limits.ping_interval.as_millis();
            self.outgoing.push_back(Packet::Text("2".to_owned()));
            self.hearing.pings.push_back(String::new());
        }
        if !scene.quiet && self.is_talking() && scene.now_ms >= self.speak_again_ms {
            match self.attack {
                Some(attack) => self.attack(scene, clients, attack),
                None => self.speak(scene, clients),
            }
            let think_ms = scene.climate.people.think_ms;
            let most_ms = if self.attack.is_some() { 1 } else { think_ms * 2 };
            self.speak_again_ms = scene.now_ms + scene.dice.between(1, most_ms);
        }
        wants | (!self.over && self.send(scene, clients))
    }

    /// When it acts again although nothing has happened.
    pub(crate) fn wakes_ms(&self, quiet: bool) -> u64 {
        if self.over || self.sid.is_none() {
            return u64::MAX;
        }
        let speaks = if quiet || !self.is_talking() { u64::MAX } else { self.speak_again_ms };
        let polls = self.poll.is_none() && self.socket.is_none() && !self.is_pausing();
        speaks.min(self.ping_again_ms).min(if polls { self.poll_again_ms } else { u64::MAX })
    }

    /// Whether it will get what is published: it lives, reads, and asks.
    pub(crate) fn is_attentive(&self) -> bool {
        !self.over && self.is_talking() && self.sid.is_some() && self.reads != Reads::Never
    }

    /// Whether it is in this channel, as far as it knows.
    pub(crate) fn is_in(&self, channel: &str) -> bool {
        self.spaces.contains(channel) || !self.asking.is_empty()
    }

    /// Whether the server is known to have what it is to be told by. The word that ends an upgrade
    /// may wait with what the room keeps from being read, until something comes on the WebSocket.
    pub(crate) fn is_settled(&self) -> bool {
        self.socket.is_none() || self.hearing.on_socket
    }

    pub(crate) fn has_upgraded(&self) -> bool {
        self.way == Way::Upgrade && self.socket.is_some()
    }

    /// Whether this is a WebSocket that wanted to take over, of a session that is in no channel.
    pub(crate) fn is_probe(&self, number: usize) -> bool {
        let is_probe = self.socket != Some(number) && self.probed_on.contains(&number);
        is_probe && !self.hearing.is_in_any()
    }

    fn is_talking(&self) -> bool {
        !self.parting && !self.silent
    }

    /// For the journal.
    pub(crate) fn stand(&self) -> String {
        let Person { connections, shake, poll, post, socket, probe, outgoing, .. } = self;
        // Somebody who waits for the order may have much to say.
        let next: Vec<_> = outgoing.iter().take(4).collect();
        format!(
            "on {connections:?}, shake {shake:?}, poll {poll:?}, post {post:?}, socket {socket:?}, \
             probe {probe:?}, {} to say: {next:?}",
            outgoing.len()
        )
    }

    // What it hears.

    fn listen(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        for place in 0..self.connections.len() {
            let number = self.connections[place];
            let heard = std::mem::take(&mut clients[number].heard);
            for heard in heard {
                self.hear(scene, number, heard);
            }
            let needed = [self.shake, self.poll, self.post, self.socket].contains(&Some(number));
            if clients[number].gone {
                self.over |= needed;
                if self.probe == Some(number) {
                    self.forget_probe();
                }
            }
            // Until it is in a channel it reads, or it would never know.
            clients[number].let_be(!self.spaces.is_empty());
        }
        if self.over && !self.parting && self.end != End::Vanishes {
            self.part(scene, clients);
        }
    }

    fn hear(&mut self, scene: &mut Scene<'_>, number: usize, heard: Heard) {
        match heard {
            Heard::Answer(Purpose::Own | Purpose::Order | Purpose::Wrong, _) => {}
            Heard::Answer(Purpose::Shake, status) => {
                self.shake = None;
                self.over |= status != 200;
            }
            Heard::Answer(Purpose::Socket, status) => self.over |= status != 101,
            Heard::Answer(Purpose::Poll, status) => {
                if self.poll == Some(number) {
                    self.poll = None;
                }
                self.over |= status != 200;
                // Behind a probe polls are answered at once.
                let most = if self.probed { 50 } else { 1 };
                self.poll_again_ms = scene.now_ms + most;
                if self.lazy && !scene.quiet {
                    let think_ms = scene.climate.people.think_ms;
                    self.poll_again_ms += scene.dice.below(think_ms * 4);
                }
            }
            Heard::Answer(Purpose::Post, status) => {
                self.post = None;
                self.over |= status != 200;
                self.over |= self.parting && self.outgoing.is_empty();
            }
            Heard::Answer(Purpose::Probe, 101) => self.probe_open = true,
            Heard::Answer(Purpose::Probe, _) => self.forget_probe(),
            Heard::Open(sid) => self.begin(scene, sid),
            Heard::Ping if self.mute => {}
            Heard::Ping => self.outgoing.push_front(Packet::Text("3".to_owned())),
            Heard::Proved => self.proved = true,
            // Who has not waited for an answer before it moved on does not know what it was told.
            Heard::Told(_) if self.hearing.unchecked => {}
            Heard::Told(told) => self.note(told),
            Heard::Connected { channel, pid, goes_on } => {
                if let Some(pid) = pid {
                    let known = self.known.entry(channel.clone()).or_default();
                    known.pid = Some(pid);
                    if goes_on {
                        known.at = known.asked.take();
                        known.guessed = known.at.is_none();
                    }
                }
                self.asking.retain(|asked| *asked != channel);
                // What it enters for nothing was counted when it was said.
                if self.attack.is_none() || self.home.as_ref() == Some(&channel) {
                    self.spaces.insert(channel);
                }
            }
            Heard::Refused => {
                self.asking.clear();
            }
            Heard::Close => self.over = true,
            Heard::SocketClosed if self.socket == Some(number) => self.over = true,
            Heard::SocketClosed => {
                if self.probe == Some(number) {
                    self.forget_probe();
                }
            }
        }
    }

    /// The person takes note of how far it was told everything: of each message once, and in order.
    fn note(&mut self, told: Told) {
        let Told { channel, at, is_greeting, is_position } = told;
        let known = self.known.entry(channel).or_default();
        let is_guess = core::mem::take(&mut known.guessed) && known.at.is_none();
        if !is_position && !is_guess {
            let before = known.at.as_ref().expect("it was told where it begins");
            let number = match before.number {
                returning::UNKNOWN => at.number,
                number => number + u64::from(!is_greeting),
            };
            let expected = (before.life, number);
            assert_eq!((at.life, at.number), expected, "@{}: whole and in order", self.number);
        }
        known.at = Some(at);
    }

    fn begin(&mut self, scene: &mut Scene<'_>, sid: String) {
        self.sid = Some(sid);
        self.poll_again_ms = scene.now_ms;
        self.speak_again_ms = scene.now_ms + scene.dice.below(50);
        let interval_ms = scene.climate.settings.limits.ping_interval.as_millis();
        if self.version == 3 {
            self.asking.push("default".into());
            self.home = Some("default".into());
            if !self.mute {
                self.ping_again_ms = scene.now_ms + interval_ms;
            }
        } else if !self.shy {
            let channel = self.some_channel(scene);
            self.enter(scene, channel);
        }
    }

    // Connections.

    /// A connection between two requests.
    fn free(&self, clients: &[Client]) -> Option<usize> {
        let busy = [self.shake, self.poll, self.post, self.socket, self.probe];
        let is_free =
            |number: &&usize| !busy.contains(&Some(**number)) && clients[**number].is_free();
        self.connections.iter().find(is_free).copied()
    }

    fn shake_hands(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) -> bool {
        let Some(number) = self.free(clients) else { return true };
        let Pass { pair, .. } = &self.pass;
        let named = match pair.is_empty() {
            true => self.names.0.to_owned(),
            false => format!("{}{pair}&", self.names.0),
        };
        // Which channel it is for is asked later.
        let statuses = |statuses: &'static [u16]| match self.pass.kind {
            Kind::Wrong(_) if self.pass.is_public => &[401, 503][..],
            Kind::Wrong(_) => &[401],
            _ if self.pass.may_expire() => super::client::or_expired(statuses),
            Kind::Nothing | Kind::Good | Kind::Elsewhere => statuses,
        };
        if self.way == Way::Socket {
            self.socket = Some(number);
            let path = format!("/socket.io/?{named}transport=websocket");
            let statuses = statuses(&[101, 503]);
            clients[number].ask_socket(scene, &path, statuses, Purpose::Socket);
        } else {
            self.shake = Some(number);
            let head =
                format!("GET /socket.io/?{named}transport=polling HTTP/1.1\r\nHost: sim\r\n\r\n");
            let statuses = statuses(&[200, 503]);
            clients[number].ask_for_person(scene, head.as_bytes(), statuses, Purpose::Shake);
        }
        false
    }

    fn path(&self, transport: &str) -> String {
        let sid = self.sid.as_deref().expect("it has begun");
        format!("/socket.io/?{}transport={transport}&sid={sid}", self.names.1)
    }

    /// Once it may say `5` nothing new is asked for by polls, or posted.
    fn is_pausing(&self) -> bool {
        match self.style {
            Style::Abandoned => false,
            Style::Whole | Style::Hasty => self.proved,
            Style::Unproved | Style::UnprovedHasty => self.probe_open,
        }
    }

    fn keep_polling(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) -> bool {
        if scene.quiet {
            self.poll_again_ms = self.poll_again_ms.min(scene.now_ms + 50);
        }
        let now = scene.now_ms >= self.poll_again_ms;
        let wants = self.socket.is_none() && self.poll.is_none() && !self.is_pausing();
        if !wants || !now || self.shake.is_some() {
            return false;
        }
        let Some(number) = self.free(clients) else { return true };
        self.poll_on(scene, &mut clients[number]);
        self.poll = Some(number);
        false
    }

    fn poll_on(&mut self, scene: &mut Scene<'_>, client: &mut Client) {
        // What has a body is the last on its connection.
        let has_body = scene.dice.chance(10);
        client.piped |= has_body;
        let body = if has_body { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        let head = format!("GET {} HTTP/1.1\r\nHost: sim\r\n{body}", self.path("polling"));
        client.ask_for_person(scene, head.as_bytes(), &[200, 400, 500], Purpose::Poll);
    }

    /// The next step from polls to a WebSocket.
    fn upgrade(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) -> bool {
        let Some(number) = self.probe else {
            if scene.quiet || self.parting {
                return false;
            }
            let Some(number) = self.free(clients) else { return true };
            self.probe = Some(number);
            self.probed_on.push(number);
            let path = self.path("websocket");
            clients[number].ask_socket(scene, &path, &[101, 400], Purpose::Probe);
            return false;
        };
        if !self.probe_open {
            return false;
        }
        let probe = &mut clients[number];
        if self.is_pausing() {
            let is_busy = self.poll.is_some() || self.post.is_some();
            let is_hasty = matches!(self.style, Style::Hasty | Style::UnprovedHasty);
            if !is_busy || is_hasty {
                self.take_over(scene, probe);
            }
        } else if self.style == Style::Abandoned && scene.dice.chance(500) {
            self.way = Way::Polling;
        } else if !self.probed {
            self.probed = true;
            probe.put_frame(0x81, b"2probe");
        }
        false
    }

    /// The last step from polls to a WebSocket.
    fn take_over(&mut self, scene: &mut Scene<'_>, probe: &mut Client) {
        if self.poll.is_some() || self.post.is_some() {
            // What it has posted may be lost, an event between two attachments among it.
            self.hearing.unchecked = true;
            self.hearing.reasons.allow(CloseReason::ProtocolError);
        }
        // What stands behind the type means nothing.
        probe.put_frame(0x81, if scene.dice.chance(200) { b"52" } else { b"5" });
        self.socket = Some(probe.number);
        (self.probe, self.poll, self.post) = (None, None, None);
    }

    fn forget_probe(&mut self) {
        self.probe = None;
        (self.probe_open, self.probed, self.proved) = (false, false, false);
        self.way = Way::Polling;
    }

    // What it says.

    fn some_channel(&mut self, scene: &mut Scene<'_>) -> Box<str> {
        let away = self.known.keys().find(|channel| !self.spaces.contains(*channel));
        if let Some(channel) = away
            && scene.dice.chance(700)
        {
            return channel.clone();
        }
        match scene.dice.below(40) {
            0 => format!("x{}", scene.dice.below(9)).into(),
            1 => "x y".into(),
            _ => {
                let number = scene.dice.below(scene.climate.people.channels);
                scene.climate.channel(number).into()
            }
        }
    }

    /// Asks for a channel, unless an answer to the same is under way.
    fn enter(&mut self, scene: &mut Scene<'_>, channel: Box<str>) {
        let is_in = self.spaces.contains(&channel);
        if !self.asking.is_empty() || (is_in && self.leaver) {
            return;
        }
        let space = prefix(&channel);
        let own = self.shows(scene, &channel);
        let extra = match (self.version, scene.dice.below(4)) {
            (4, _) if own.is_some() => {
                let members = own.as_ref().map_or("", |own| &*own.members);
                format!("{space}{{{members}}}")
            }
            // Where tokens are looked at, that of the handshake counts.
            (4, 0) if scene.climate.tokens.is_some() => format!("{space}{{\"token\":null}}"),
            (4, 0) => format!("{space}{{\"token\":\"{}\"}}", self.count),
            (3, _) if own.is_some() => {
                let pair = own.as_ref().map_or("", |own| &*own.pair);
                format!("{}?{pair},", space.trim_end_matches(','))
            }
            (3, 0) if !space.is_empty() && scene.climate.tokens.is_none() => {
                format!("{}?token=x,", space.trim_end_matches(','))
            }
            _ => space,
        };
        let extra =
            if self.version == 4 { self.said_before(scene, &channel, extra) } else { extra };
        self.outgoing.push_back(Packet::Text(format!("40{extra}")));
        self.home.get_or_insert_with(|| channel.clone());
        self.asking.push(channel.clone());
        self.hearing.entries.ask(channel.clone(), own);
        self.hearing.ask(channel);
    }

    /// Whether it can show a token in each CONNECT.
    pub(crate) fn shows_later(&self, climate: &Climate) -> bool {
        self.version == 4 && Tokens::fit(climate)
    }

    /// The token in its CONNECT for a channel, if any.
    fn shows(&mut self, scene: &mut Scene<'_>, channel: &str) -> Option<Pass> {
        // Protocol 3 has no place for it where it is put into a channel unasked.
        let has_place = self.version == 4 || channel != "default";
        if !has_place || self.attack.is_some() {
            return None;
        }
        // Without one it may be refused, but it must not be let in and speak if it only listens.
        let is_asked = scene.climate.settings.anonymous == Anonymous::None;
        let is_needed = self.listens || (is_asked && scene.dice.chance(900));
        let must_show = is_needed && self.pass.kind != Kind::Good;
        let asked = (channel, must_show, !self.listens);
        Pass::draw_own(scene.dice, scene.climate, scene.now_ms, asked)
    }

    /// What stands in a CONNECT behind its type, with what it says of the session that it was.
    fn said_before(&mut self, scene: &mut Scene<'_>, channel: &str, extra: String) -> String {
        self.hearing.returning.remove(channel);
        let Some(recovery) = scene.climate.recovery else { return extra };
        let is_stranger = !self.known.contains_key(channel);
        let says = if is_stranger { recovery.strangers } else { recovery.says };
        if !scene.dice.chance(says) {
            return extra;
        }
        let known = self.known.entry(channel.into()).or_default();
        let has_left = !self.hearing.left.is_empty();
        let (mut members, returning) = returning::draw(scene.dice, known, has_left);
        // Where it goes on something may stand that was said before a loss, and again after it.
        let asked = known.asked.as_mut().filter(|_| scene.climate.loses());
        if let Some(asked) = asked {
            asked.number = returning::UNKNOWN;
        }
        let space = prefix(channel);
        if let Some(auth) = extra.strip_prefix(&space).and_then(|it| it.strip_prefix('{')) {
            members.push(auth.strip_suffix('}').expect("an object").to_owned());
        }
        if let Some(returning) = returning {
            self.hearing.returning.insert(channel.into(), returning);
        }
        format!("{space}{{{}}}", members.join(","))
    }

    fn leave_channel(&mut self, scene: &mut Scene<'_>) {
        let Some(channel) = self.some_space(scene) else { return };
        self.spaces.remove(&channel);
        self.outgoing.push_back(Packet::Text(format!("41{}", prefix(&channel))));
        self.hearing.left.insert(channel);
    }

    fn some_space(&mut self, scene: &mut Scene<'_>) -> Option<Box<str>> {
        let which = scene.dice.below(self.spaces.len() as u64) as usize;
        self.spaces.iter().nth(which).cloned()
    }

    fn speak(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        let waits = self.outgoing.len() > 40;
        let room = scene.climate.temper.receive_bytes * 20;
        if waits || self.socket.is_some_and(|number| clients[number].outbox.len() > room) {
            return;
        }
        if self.life == 0 {
            return self.finish(scene, clients);
        }
        self.life -= 1;
        let flood = scene.dice.chance(scene.climate.people.flooders);
        let burst = scene.climate.people.burst * if flood { 10 } else { 1 };
        for _ in 0..scene.dice.between(1, burst) {
            match scene.dice.below(100) {
                0..=6 => {
                    let channel = self.some_channel(scene);
                    self.enter(scene, channel);
                }
                7..=10 if self.leaver && self.asking.is_empty() => self.leave_channel(scene),
                11 | 12 => self.ask_wrongly(scene, clients),
                13 | 14 => self.say_unheard(scene),
                _ => self.say(scene),
            }
        }
    }

    /// An event that is relayed, in one of its many forms.
    fn say(&mut self, scene: &mut Scene<'_>) {
        let Some(channel) = self.some_space(scene) else { return };
        self.count += 1;
        let most = scene.climate.settings.limits.message_bytes_max as usize;
        let most = most - 70 - prefix(&channel).len();
        let length = match scene.dice.below(6) {
            0 => most / 3,
            _ => scene.dice.below(most as u64 / 3 + 1).min(40) as usize,
        };
        // What it posts may be lost: then nothing that it says may look like something else.
        let is_hasty = matches!(self.style, Style::Hasty | Style::UnprovedHasty);
        let is_lossy = is_hasty || self.end == End::TwoPosts;
        let length = if is_lossy { length.max(14) } else { length };
        let text = payload(true, length, 100_000 + self.number, self.count);
        let text = String::from_utf8(text).expect("text");
        let bytes: Rc<[u8]> = payload(false, length, 100_000 + self.number, self.count).into();
        let place = |number: usize| format!("{{\"_placeholder\":true,\"num\":{number}}}");
        let form = scene.dice.below(10);
        let (values, attachments, plain) = match if is_lossy { 9 } else { form } {
            0 => (format!("{},7", json(&text)), Vec::new(), None),
            1 => (format!("{{\"id\":{},\"t\":{}}}", self.count, json(&text)), Vec::new(), None),
            2 | 3 => {
                let plain = Message { is_text: false, payload: Rc::clone(&bytes) };
                (place(0), vec![bytes], Some(plain))
            }
            4 => {
                let half: Rc<[u8]> = bytes[..bytes.len() / 2].into();
                (format!("{},{}", place(1), place(0)), vec![bytes, half], None)
            }
            other => {
                let is_short = text.len() * 6 < most;
                let value = if other == 5 && is_short { json_escaped(&text) } else { json(&text) };
                let plain = Message { is_text: true, payload: text.into_bytes().into() };
                (value, Vec::new(), Some(plain))
            }
        };
        self.put_event(scene, channel, "chat message", &values, attachments, plain);
    }

    /// An event that is relayed only if all are.
    fn say_unheard(&mut self, scene: &mut Scene<'_>) {
        let Some(channel) = self.some_space(scene) else { return };
        self.count += 1;
        let value = format!("\"{}.{}\"", self.number, self.count);
        // What the server itself says can be said by nobody else.
        let is_ours = scene.climate.recovery.is_some() && self.count.is_multiple_of(2);
        let name = if is_ours { "elbow:position" } else { "other" };
        self.put_event(scene, channel, name, &value, Vec::new(), None);
    }

    fn put_event(
        &mut self,
        scene: &mut Scene<'_>,
        channel: Box<str>,
        name: &str,
        values: &str,
        attachments: Vec<Rc<[u8]>>,
        plain: Option<Message>,
    ) {
        let ack = scene.dice.chance(300).then_some(self.count);
        let id = ack.map_or(String::new(), |id| id.to_string());
        let args = format!("[\"{name}\",{values}]");
        let space = prefix(&channel);
        let kind = match attachments.len() {
            0 => "2".to_owned(),
            count => format!("5{count}-"),
        };
        self.outgoing.push_back(Packet::Text(format!("4{kind}{space}{id}{args}")));
        self.outgoing.extend(attachments.iter().map(|bytes| Packet::Binary(bytes.to_vec())));
        let is_relayed = match &scene.climate.settings.events {
            _ if self.listens => false,
            _ if name.starts_with("elbow:") => false,
            Events::All => true,
            Events::Named(names) => names.iter().any(|listed| **listed == *name),
        };
        if is_relayed {
            let text = format!("{kind}{space}{args}").into();
            let spoken = Spoken::event(text, attachments);
            self.hearing.said += 1;
            self.hearing.sent.push_back(Saying { channel, args, spoken, plain, ack });
        }
    }

    /// A request that is refused and changes nothing.
    fn ask_wrongly(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        let Some(number) = self.free(clients) else { return };
        let other = 7 - self.version;
        let own = format!("{}&EIO={other}", self.path("polling"));
        let body = "Content-Length: 3\r\n\r\nabc";
        let unknown = "{\"code\":1,\"message\":\"Session ID unknown\"}";
        let (head, text) = match scene.dice.below(6) {
            0 => {
                ("GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", Some(unknown))
            }
            1 => ("GET /socket.io/?transport=polling&sid=&sid=0", Some(unknown)),
            2 => ("GET /socket.io/?EIO=4", Some("{\"code\":0,\"message\":\"Transport unknown\"}")),
            3 => (
                "POST /socket.io/?EIO=4&transport=polling",
                Some("{\"code\":2,\"message\":\"Bad handshake method\"}"),
            ),
            // It depends on whether the session lives.
            4 => ("own", None),
            _ => ("GET /socket.io/?EIO=3&transport=websocket&sid=short", Some(unknown)),
        };
        let path = if head == "own" { format!("GET {own}") } else { head.to_owned() };
        let tail = if head.starts_with("POST") { body } else { "\r\n" };
        let request = format!("{path} HTTP/1.1\r\nHost: sim\r\n{tail}");
        clients[number].ask_for_person(scene, request.as_bytes(), &[400], Purpose::Wrong).text =
            text;
    }

    // How it gets there.

    /// Sends what waits, as far as its transport takes it; whether it needs a connection for that.
    fn send(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) -> bool {
        if let Some(number) = self.socket {
            while let Some(packet) = self.outgoing.pop_front() {
                self.put_packet(scene, &mut clients[number], &packet);
            }
            if self.parting && self.sid.is_some() {
                clients[number].close_politely(scene);
                self.over = true;
            }
            return false;
        }
        let busy = self.outgoing.is_empty() || self.post.is_some() || self.shake.is_some();
        if busy || self.is_pausing() {
            return false;
        }
        let Some(number) = self.free(clients) else { return true };
        self.post = Some(number);
        self.post_on(scene, &mut clients[number]);
        false
    }

    fn put_packet(&mut self, scene: &mut Scene<'_>, client: &mut Client, packet: &Packet) {
        let head: &[u8] = if self.version == 3 { &[4] } else { &[] };
        let (opcode, bytes) = match packet {
            Packet::Text(text) => (1, text.as_bytes().to_vec()),
            Packet::Binary(bytes) => (2, [head, bytes].concat()),
        };
        if scene.dice.chance(100) {
            let (first, rest) = bytes.split_at(scene.dice.below(bytes.len() as u64 + 1) as usize);
            client.put_frame(opcode, first);
            client.put_frame(0x80, rest);
        } else {
            client.put_frame(0x80 | opcode, &bytes);
        }
        self.note_sign(client, packet);
    }

    fn is_sign(&self, packet: &Packet) -> bool {
        self.version == 3 || *packet == Packet::Text("3".to_owned())
    }

    /// The server will know from this that it lives.
    fn note_sign(&mut self, client: &Client, packet: &Packet) {
        if self.is_sign(packet) {
            let (connection, upto) = (client.number, client.said_bytes());
            let words = self.hearing.said;
            self.hearing.signs.push(Sign { connection, upto, words, read_ms: None });
        }
    }

    /// How much of a body it takes a packet to need: who attacks knows exactly.
    fn room_for(&self, packet: &Packet) -> usize {
        match self.attack {
            Some(_) => packet::tiny_bytes(self.version, packet),
            None => packet::body_bytes(packet),
        }
    }

    fn post_on(&mut self, scene: &mut Scene<'_>, client: &mut Client) {
        let most = scene.climate.settings.limits.message_bytes_max as usize;
        let mut packets = Vec::new();
        let mut total = 0;
        while let Some(packet) = self.outgoing.front()
            && (packets.is_empty() || total + self.room_for(packet) <= most)
        {
            total += self.room_for(packet);
            packets.extend(self.outgoing.pop_front());
        }
        let is_binary = self.version == 3 && scene.dice.chance(200);
        client.frames += packets.len() as u64;
        let body = if is_binary {
            packet::binary_body(&packets)
        } else {
            packet::body(self.version, &packets)
        };
        let media = if is_binary { "application/octet-stream" } else { "text/plain;charset=UTF-8" };
        let length = body.len();
        let (field, body) = match scene.dice.below(12) {
            0 => {
                let chunk =
                    [format!("{length:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
                ("Transfer-Encoding: chunked".to_owned(), chunk)
            }
            1 => (format!("Expect: 100-continue\r\nContent-Length: {length}"), body),
            _ => (format!("Content-Length: {length}"), body),
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: sim\r\nContent-Type: {media}\r\n{field}\r\n\r\n",
            self.path("polling")
        );
        let request = [head.as_bytes(), &body].concat();
        client.ask_for_person(scene, &request, &[200, 400, 413, 500], Purpose::Post);
        // All of them are read together, so one sign is as good as many.
        if let Some(packet) = packets.iter().find(|packet| self.is_sign(packet)) {
            self.note_sign(client, packet);
        }
    }
}
