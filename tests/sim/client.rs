//! Clients as tiny models: they say what clients say, in pieces, and react to what they have read.
//!
//! Whatever a client puts into its outbox it also notes as an expectation (answers in order,
//! messages to be published in order, pings to be answered, reasons for which it may end), which
//! the oracle holds against what the server does. A client reacts only to what has arrived and what
//! it has taken: one that does not read answers no ping.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use elbow::reason::CloseReason;
use elbow::server::Listener;
use elbow::settings::ProxyMode;

use super::climate::{Climate, Dice};
use super::decode::Decoder;
use super::socket::Link;

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
}

/// What the client learns of what it has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    Upgraded,
    Refused,
    LastAnswer,
    Ping,
    Close(Option<u16>),
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
enum Reads {
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
    /// It says nothing more and waits.
    Stays,
    Fin,
    Reset,
    Vanishes,
    /// In the middle of a message, head or body, it stops.
    Stalls,
    /// It breaks the protocol.
    Breaks,
    /// Text that is not UTF-8.
    BreaksText,
    TooBig,
    /// It closes and does not wait for the answer.
    CloseAndReset,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Silent,
    Web,
    Socket,
    /// Its header ends everything: it only waits.
    Doomed,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) channel: Box<str>,
    /// The first message that it is to get, by its place in the channel's log.
    pub(crate) joined: usize,
    pub(crate) got: usize,
    /// Behind its own latest message, by its place in the log.
    pub(crate) own_behind: usize,
    pub(crate) published: u64,
    pub(crate) opened_at_ms: u64,
    /// When the server pinged it and has not heard from it since.
    pub(crate) pinged_at_ms: Option<u64>,
    pub(crate) pings: u64,
    pub(crate) close_code: Option<Option<u16>>,
    pub(crate) is_lapped: bool,
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
    pub(crate) decoder: Decoder,
    pub(crate) expected: VecDeque<Expected>,
    /// Of what the client may take note once it has taken so much.
    pub(crate) notices: VecDeque<(u64, Notice)>,
    /// Whole messages that were put into the outbox and not yet reported as published.
    pub(crate) sent: VecDeque<Message>,
    /// Payloads of its pings that may be answered yet.
    pub(crate) pings: VecDeque<Vec<u8>>,
    pub(crate) reasons: Reasons,
    pub(crate) session: Option<Session>,
    pub(crate) ended: Option<CloseReason>,
    /// Its session's.
    pub(crate) session_end: Option<CloseReason>,
    /// The end, once nothing more is to be looked at.
    pub(crate) judged_end: Option<CloseReason>,
    /// Its session was refused for want of room.
    pub(crate) refused: bool,
    /// Answers to what it did not ask may come.
    pub(crate) lenient: bool,
    pub(crate) answered: u64,
    pub(crate) outbox: VecDeque<u8>,
    /// When it acts next, as the world has it.
    pub(crate) next_ms: u64,
    pub(crate) sent_code: Option<Option<u16>>,
    /// It has said its last word.
    pub(crate) over: bool,
    pub(crate) half_closed: bool,
    pub(crate) gone: bool,
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

pub(crate) const SESSION_CLOSED: &[u16] = &[101, 503];

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
        let reads = if dice.chance(people.slow_readers) {
            Reads::Slowly
        } else if dice.chance(people.sleepers) {
            Reads::InPeriods
        } else if dice.chance(people.never_readers) {
            Reads::Never
        } else {
            Reads::AtOnce
        };
        let end = if dice.chance(people.rude) {
            use End::{Breaks, BreaksText, CloseAndReset, Fin, Reset, Stalls, TooBig, Vanishes};
            dice.pick(&[Fin, Reset, Vanishes, Stalls, Breaks, BreaksText, TooBig, CloseAndReset])
        } else {
            dice.pick(&[End::Politely, End::Politely, End::Stays])
        };
        let [_, _, high, low] = (number as u32).to_be_bytes();
        let address = |a, b| {
            let ip = Ipv4Addr::new(a, b, high, low);
            SocketAddr::V4(SocketAddrV4::new(ip, 1024 + number as u16))
        };
        Client {
            number,
            link,
            listener: if health { Listener::Health } else { Listener::Public },
            peer: address(10, 1),
            claimed: address(198, 51),
            header_counts: false,
            accepted_at_ms: None,
            decoder: Decoder::default(),
            expected: VecDeque::new(),
            notices: VecDeque::new(),
            sent: VecDeque::new(),
            pings: VecDeque::new(),
            reasons: Reasons::default(),
            session: None,
            ended: None,
            session_end: None,
            judged_end: None,
            refused: false,
            lenient: false,
            answered: 0,
            outbox: VecDeque::new(),
            next_ms: u64::MAX,
            sent_code: None,
            over: false,
            half_closed: false,
            gone: false,
            role,
            reads,
            end,
            life: dice.between(0, 30),
            mute: dice.chance(people.mutes),
            open: false,
            read_again_ms: 0,
            speak_again_ms: 0,
            channel: dice.below(people.channels),
            count: 0,
        }
    }

    /// The address by which events must name it.
    pub(crate) fn is_named(&self, address: SocketAddr) -> bool {
        let whole = if self.header_counts { self.claimed } else { self.peer };
        // Until the header is read the peer is all that is known.
        address == whole || (address == self.peer && self.session.is_none() && self.answered == 0)
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
        self.introduce(scene);
        if self.role == Role::Socket {
            self.ask_upgrade(scene);
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
        if !self.over && scene.now_ms >= self.speak_again_ms && !scene.quiet {
            self.speak(scene);
            let think_ms = scene.climate.people.think_ms;
            self.speak_again_ms = scene.now_ms + scene.dice.between(1, think_ms * 2);
        }
        let sends_again_ms = self.send(scene);
        if self.gone {
            return None;
        }
        let mut next = u64::MAX;
        if !self.over && !scene.quiet {
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
        if self.gone || self.over {
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
        while let Some((at, notice)) = self.notices.front().copied()
            && at <= taken
        {
            self.notices.pop_front();
            self.react(notice);
        }
    }

    fn react(&mut self, notice: Notice) {
        match notice {
            Notice::Upgraded => self.open = true,
            // A plain answer 426 to somebody who only asked.
            Notice::Refused if self.role != Role::Socket => {}
            Notice::Refused => {
                self.role = Role::Web;
                self.end = End::Fin;
                self.life = if self.lenient { 0 } else { self.life.min(1) };
            }
            Notice::LastAnswer => {}
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
            Role::Doomed => {}
            Role::Socket if !self.open => {}
            Role::Silent | Role::Web | Role::Socket if self.life == 0 => self.finish(scene),
            Role::Silent => self.life -= 1,
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
        let kind = match self.number % 3 {
            0 => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::ConnectionReset,
        };
        self.link.reset(kind);
        self.reasons.allow(CloseReason::PeerReset);
        self.over = true;
        self.gone = true;
    }

    /// Its last act.
    fn finish(&mut self, scene: &mut Scene<'_>) {
        let in_session = self.role == Role::Socket && self.open;
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

/// Before HTTP.
impl Client {
    fn introduce(&mut self, scene: &mut Scene<'_>) {
        let mode = scene.climate.settings.proxy;
        let public = self.listener == Listener::Public;
        if public && mode == ProxyMode::Off {
            return;
        }
        if scene.dice.chance(scene.climate.people.odd_headers) {
            return self.introduce_oddly(scene);
        }
        if public && mode == ProxyMode::Required || scene.dice.chance(500) {
            self.put_header(scene);
        }
    }

    fn put_header(&mut self, scene: &mut Scene<'_>) {
        let (SocketAddr::V4(client), true) = (self.claimed, true) else { return };
        match scene.dice.below(4) {
            0 => self.outbox.extend(b"PROXY UNKNOWN\r\n"),
            1 => {
                let line = format!("PROXY TCP4 {} 10.0.0.1 {} 80\r\n", client.ip(), client.port());
                self.outbox.extend(line.as_bytes());
                self.header_counts = self.listener == Listener::Public;
            }
            2 => self.outbox.extend(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"),
            _ => {
                self.outbox.extend(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10");
                self.outbox.extend(client.ip().octets());
                self.outbox.extend([10, 0, 0, 1]);
                self.outbox.extend(client.port().to_be_bytes());
                self.outbox.extend([0, 80]);
                // A TLV that says nothing.
                self.outbox.extend([4, 0, 1, 0]);
                self.header_counts = self.listener == Listener::Public;
            }
        }
    }

    fn introduce_oddly(&mut self, scene: &mut Scene<'_>) {
        let required = scene.climate.settings.proxy == ProxyMode::Required;
        let public = self.listener == Listener::Public;
        match scene.dice.below(5) {
            0 if public => {
                self.put_header(scene);
                self.header_counts = false;
                self.peer.set_ip(Ipv4Addr::new(203, 0, 113, self.number as u8).into());
                self.reasons.allow(CloseReason::ProxyUntrusted);
            }
            1 => {
                let nonsense = scene.dice.pick(&[
                    &b"PROXY TCP4 300.1.1.1 10.0.0.1 1 2\r\n"[..],
                    b"PROXY TCP4 1.1.1.1 10.0.0.1 1\r\n",
                    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00",
                    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04abcd",
                ]);
                self.outbox.extend(nonsense);
                self.reasons.allow(CloseReason::ProxyInvalid);
            }
            2 => {
                // Half a header, and then nothing.
                let half = scene.dice.pick(&[&b"PROXY TC"[..], b"\r\n\r\n\0\r\nQU", b"P"]);
                self.outbox.extend(half);
            }
            3 if public && required => {
                self.outbox.extend(b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n");
                self.reasons.allow(CloseReason::ProxyMissing);
            }
            4 if public && required => {
                self.outbox.extend(b"GET /healthz HTTP/1.1\r\nHost: sim\r\n\r\n");
                self.expect(scene, &[200], Some("ok")).last = true;
                self.reasons.allow(CloseReason::Answered);
            }
            _ => return self.put_header(scene),
        }
        self.role = Role::Doomed;
        self.over = true;
    }
}

/// HTTP.
impl Client {
    fn expect(
        &mut self,
        scene: &Scene<'_>,
        statuses: &'static [u16],
        text: Option<&'static str>,
    ) -> &mut Expected {
        let generation = scene.generation;
        self.expected.push_back(Expected {
            statuses,
            to_head: false,
            page: None,
            generation,
            last: false,
            text,
        });
        self.expected.back_mut().expect("it was just put there")
    }

    fn ask(&mut self, scene: &mut Scene<'_>) {
        // What the health listener does not have.
        let public: &'static [u16] =
            if self.listener == Listener::Public { &[200] } else { &[404] };
        match scene.dice.below(9) {
            0 | 1 => self.ask_page(scene, Page::Index, public),
            2 => self.ask_page(scene, Page::Big, public),
            3 => {
                self.outbox.extend(b"GET /none HTTP/1.1\r\nHost: sim\r\n\r\n");
                self.expect(scene, &[404], None);
            }
            4 => {
                self.outbox.extend(b"GET /healthz HTTP/1.1\r\nHost: sim\r\n\r\n");
                self.expect(scene, &[200], Some("ok"));
            }
            5 => {
                self.outbox.extend(b"HEAD /readyz HTTP/1.1\r\nHost: sim\r\n\r\n");
                self.expect(scene, &[200, 503], None).to_head = true;
            }
            6 => {
                let length = scene.dice.below(3000) as usize;
                let head =
                    format!("POST / HTTP/1.1\r\nHost: sim\r\nContent-Length: {length}\r\n\r\n");
                self.outbox.extend(head.as_bytes());
                self.outbox.extend(std::iter::repeat_n(b'G', length));
                self.expect(scene, if public == [200] { &[405] } else { &[404] }, None);
            }
            7 => {
                self.outbox.extend(
                    b"PUT /none HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n10;x=y\r\n0123456789abcdef\r\n0\r\n\r\n",
                );
                self.expect(scene, &[404], None);
            }
            _ => {
                self.outbox.extend(b"GET /ws HTTP/1.1\r\nHost: sim\r\n\r\n");
                self.expect(scene, if public == [200] { &[426] } else { &[404] }, None);
            }
        }
    }

    fn ask_page(&mut self, scene: &mut Scene<'_>, page: Page, statuses: &'static [u16]) {
        let to_head = scene.dice.chance(200);
        let method = if to_head { "HEAD" } else { "GET" };
        let path = match page {
            Page::Index => "/",
            Page::Big => "/big.bin",
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: sim\r\nUser-Agent: model\r\n\r\n");
        self.outbox.extend(head.as_bytes());
        let expected = self.expect(scene, statuses, None);
        expected.to_head = to_head;
        expected.page = (statuses == [200]).then_some(page);
    }

    fn ask_last(&mut self, scene: &mut Scene<'_>) {
        let public = self.listener == Listener::Public;
        let head = scene.dice.pick(&[
            "GET / HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ]);
        self.outbox.extend(head.as_bytes());
        let expected = self.expect(scene, if public { &[200] } else { &[404] }, None);
        expected.last = true;
        expected.page = public.then_some(Page::Index);
        self.reasons.allow(CloseReason::Answered);
        if scene.dice.chance(300) {
            // Nobody will read this, and it must not cost the answer.
            self.outbox.extend(b"GET / HTTP/1.1\r\n".repeat(scene.dice.below(100) as usize));
        }
    }

    fn ask_half(&mut self, scene: &mut Scene<'_>) {
        if scene.dice.chance(500) {
            self.outbox.extend(b"GET / HTTP/1.1\r\nHo");
            self.expect(scene, &[408], None).last = true;
            self.reasons.allow(CloseReason::Answered);
        } else {
            self.outbox.extend(b"POST /none HTTP/1.1\r\nHost: sim\r\nContent-Length: 9\r\n\r\nhal");
            self.expect(scene, &[404], None);
        }
    }

    fn ask_nonsense(&mut self, scene: &mut Scene<'_>) {
        let nonsense = scene.dice.pick(&[
            &b"GET / HTTP/1.1\r\nHost : sim\r\n\r\n"[..],
            b"GET / HTTP/1.1\nHost: sim\n\n",
            b"POST / HTTP/1.1\r\nHost: sim\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ]);
        self.outbox.extend(nonsense);
        self.expect(scene, &[400], None).last = true;
        self.reasons.allow(CloseReason::Answered);
    }

    fn ask_upgrade(&mut self, scene: &mut Scene<'_>) {
        let path = match self.channel {
            0 => scene.dice.pick(&["/", "/ws", "/ws/default"]).to_owned(),
            n => format!("/ws/room{n}"),
        };
        let (origin, version, statuses): (_, _, &'static [u16]) = match scene.dice.below(40) {
            0 => ("Origin: http://elsewhere\r\n", "13", &[403]),
            1 => ("", "8", &[426]),
            2..10 => ("Origin: https://sim\r\n", "13", SESSION_CLOSED),
            _ => ("", "13", SESSION_CLOSED),
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             {origin}Sec-WebSocket-Version: {version}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.outbox.extend(head.as_bytes());
        self.expect(scene, statuses, None);
        if statuses == SESSION_CLOSED && scene.dice.chance(100) {
            // It does not wait for the answer. If that is no, its frames are no requests.
            self.lenient = true;
            self.reasons.allow(CloseReason::Answered);
            self.open = true;
            for _ in 0..scene.dice.below(4) {
                self.say(scene);
            }
        }
    }
}

/// WebSocket.
impl Client {
    fn say(&mut self, scene: &mut Scene<'_>) {
        match scene.dice.below(10) {
            0 => self.put_ping(scene),
            1 => self.put_frame(0x8a, b"nobody asked"),
            _ => self.put_message(scene),
        }
    }

    fn put_ping(&mut self, scene: &mut Scene<'_>) {
        self.count += 1;
        let mut payload = format!("{}", self.count).into_bytes();
        payload.resize(payload.len() + scene.dice.below(100) as usize, b'.');
        self.put_frame(0x89, &payload);
        self.pings.push_back(payload);
    }

    fn put_message(&mut self, scene: &mut Scene<'_>) {
        let most = scene.climate.settings.limits.message_bytes_max;
        let length = match scene.dice.below(8) {
            0 => 0,
            1 => most,
            2 => scene.dice.below(most + 1),
            _ => scene.dice.below(60.min(most)),
        } as usize;
        let is_text = scene.dice.chance(700);
        self.count += 1;
        let payload = payload(is_text, length, self.number, self.count);
        let fragments = if scene.dice.chance(250) { scene.dice.between(2, 4) as usize } else { 1 };
        let opcode = if is_text { 1 } else { 2 };
        let mut rest = &payload[..];
        for fragment in 0..fragments {
            let last = fragment + 1 == fragments;
            let cut = scene.dice.below(rest.len() as u64 + 1) as usize;
            let (part, behind) = rest.split_at(if last { rest.len() } else { cut });
            rest = behind;
            let first = if fragment == 0 { opcode } else { 0 };
            self.put_frame(first | if last { 0x80 } else { 0 }, part);
            if !last && scene.dice.chance(200) {
                self.put_ping(scene);
            }
        }
        self.sent.push_back(Message { is_text, payload: payload.into() });
    }

    fn put_message_begun(&mut self, scene: &mut Scene<'_>) {
        match scene.dice.below(3) {
            0 => self.put_frame(0x01, b"to be continued"),
            1 => self.outbox.extend(b"\x81"),
            _ => self.outbox.extend(b"\x82\x8a\x01\x02\x03\x04half"),
        }
    }

    fn break_frames(&mut self, scene: &mut Scene<'_>) {
        let limits = &scene.climate.settings.limits;
        let reason = match self.end {
            End::TooBig => {
                self.put_frame(0x82, &vec![7; limits.message_bytes_max as usize + 1]);
                CloseReason::MessageTooBig
            }
            End::BreaksText => {
                let text =
                    scene.dice.pick(&[&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82"]);
                self.put_frame(0x81, text);
                CloseReason::InvalidText
            }
            End::Breaks
            | End::Politely
            | End::Stays
            | End::Fin
            | End::Reset
            | End::Vanishes
            | End::Stalls
            | End::CloseAndReset => {
                match scene.dice.below(5) {
                    0 => self.outbox.extend(b"\x81\x05hello"),
                    1 => self.put_frame(0xc1, b"reserved"),
                    2 => self.put_frame(0x83, b"opcode"),
                    3 => self.put_frame(0x80, b"continues nothing"),
                    _ => self.put_frame(0x89, &[0; 126]),
                }
                CloseReason::ProtocolError
            }
        };
        self.reasons.allow(reason);
        if scene.dice.chance(300) {
            // What comes behind is nothing to anybody.
            self.outbox.extend(std::iter::repeat_n(0x55, scene.dice.below(2000) as usize));
        }
    }

    fn put_close(&mut self, code: Option<u16>) {
        match code {
            Some(code) => self.put_frame(0x88, &code.to_be_bytes()),
            None => self.put_frame(0x88, b""),
        }
        self.sent_code = Some(code);
        self.reasons.allow(CloseReason::ClosedByClient);
    }

    fn put_frame(&mut self, first: u8, payload: &[u8]) {
        self.count += 1;
        let mask = (self.count as u32).wrapping_mul(0x9e37_79b1).to_be_bytes();
        self.outbox.push_back(first);
        match payload.len() {
            length @ ..126 => self.outbox.push_back(0x80 | length as u8),
            length @ ..65_536 => {
                self.outbox.push_back(0x80 | 126);
                self.outbox.extend((length as u16).to_be_bytes());
            }
            length => {
                self.outbox.push_back(0x80 | 127);
                self.outbox.extend((length as u64).to_be_bytes());
            }
        }
        self.outbox.extend(mask);
        self.outbox.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

/// Different for each message, so that a wrong one cannot pass for the right one.
fn payload(is_text: bool, length: usize, client: usize, count: u64) -> Vec<u8> {
    let mut text = format!("{client}.{count}:");
    text.truncate(length);
    let fill = if is_text { ["ä", "€", "x", "😀"] } else { ["a", "b", "c", "d"] };
    let mut at = count as usize;
    while text.len() < length {
        let next = fill[at % 4];
        text.push_str(if text.len() + next.len() > length { "." } else { next });
        at += 1;
    }
    text.into_bytes()
}
