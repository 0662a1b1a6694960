//! What plain clients say: PROXY headers, requests, frames, and each of them wrongly.

use core::net::{Ipv4Addr, SocketAddr};

use elbow::reason::CloseReason;
use elbow::server::Listener;
use elbow::settings::ProxyMode;

use super::{Client, End, Expected, Message, Page, Role, SESSION_CLOSED, Scene, WISH_CLOSED};
use crate::person::Purpose;
use crate::wish::Wish;
use elbow::wire::token::Fault;

/// How clients offer `elbow.v1`, which is chosen wherever it stands.
const POSITIONED: [&str; 3] = [
    "Sec-WebSocket-Protocol: elbow.v1\r\n",
    "Sec-WebSocket-Protocol: chat, elbow.v1\r\n",
    "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: elbow.v1, token.x\r\n",
];

/// Before HTTP.
impl Client {
    pub(super) fn introduce(&mut self, scene: &mut Scene<'_>) {
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

    pub(super) fn put_header(&mut self, scene: &mut Scene<'_>) {
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

    pub(super) fn introduce_oddly(&mut self, scene: &mut Scene<'_>) {
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
        self.is_stream = false;
        self.over = true;
    }
}

/// HTTP.
impl Client {
    pub(super) fn expect(
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
            purpose: Purpose::Own,
            in_time: false,
        });
        self.expected.back_mut().expect("it was just put there")
    }

    pub(super) fn ask(&mut self, scene: &mut Scene<'_>) {
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

    pub(super) fn ask_page(&mut self, scene: &mut Scene<'_>, page: Page, statuses: &'static [u16]) {
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

    pub(super) fn ask_last(&mut self, scene: &mut Scene<'_>) {
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

    pub(super) fn ask_half(&mut self, scene: &mut Scene<'_>) {
        if scene.dice.chance(500) {
            self.outbox.extend(b"GET / HTTP/1.1\r\nHo");
            self.expect(scene, &[408], None).last = true;
            self.reasons.allow(CloseReason::Answered);
        } else {
            self.outbox.extend(b"POST /none HTTP/1.1\r\nHost: sim\r\nContent-Length: 9\r\n\r\nhal");
            self.expect(scene, &[404], None);
        }
    }

    pub(super) fn ask_nonsense(&mut self, scene: &mut Scene<'_>) {
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

    pub(super) fn ask_upgrade(&mut self, scene: &mut Scene<'_>) {
        let path = match self.channel {
            0 => scene.dice.pick(&["/", "/ws", "/ws/default"]).to_owned(),
            number => format!("/ws/{}", scene.climate.channel(number)),
        };
        let (origin, version, statuses): (_, _, &'static [u16]) = match scene.dice.below(40) {
            0 => ("Origin: http://elsewhere\r\n", "13", &[403]),
            1 => ("", "8", &[426]),
            2..10 => ("Origin: https://sim\r\n", "13", SESSION_CLOSED),
            _ => ("", "13", SESSION_CLOSED),
        };
        let habit = scene.dice.pick(&super::HABITS);
        let habit = match self.is_positioned {
            true if scene.climate.tokens.is_some() => POSITIONED[self.number % 2],
            true => POSITIONED[self.number % POSITIONED.len()],
            false => super::habit(scene.climate, habit),
        };
        let field = &self.pass.field;
        let query = self.query_with_token(&self.wish.query);
        let head = format!(
            "GET {path}{query} HTTP/1.1\r\nHost: sim\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\n\
             {habit}{field}{origin}Sec-WebSocket-Version: {version}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.outbox.extend(head.as_bytes());
        let may_open = statuses == SESSION_CLOSED;
        let statuses = match may_open && self.wish.is_any() {
            true if self.wish.is_malformed => &[400],
            true => WISH_CLOSED,
            false => statuses,
        };
        // What an upgrade lacks, and from where it comes, is looked at before the token.
        let statuses = if may_open { self.by_pass(scene, statuses) } else { statuses };
        self.expect(scene, statuses, None);
        if may_open && scene.dice.chance(100) {
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

/// Tokens.
impl Client {
    /// What it may be answered that would be answered so if it needed no token.
    fn by_pass(&self, scene: &Scene<'_>, statuses: &'static [u16]) -> &'static [u16] {
        match self.pass.fault(scene.climate, scene.now_ms) {
            Some(Fault::Channel) if self.pass.may_expire() => super::or_expired(&[403]),
            Some(Fault::Channel) => &[403],
            Some(_) => &[401],
            None if self.pass.may_expire() => super::or_expired(statuses),
            None => statuses,
        }
    }

    /// A query with its question mark, and the token in it that it shows there.
    fn query_with_token(&self, query: &str) -> String {
        let pair = &self.pass.pair;
        let mark = match (query.is_empty(), pair.is_empty()) {
            (_, true) => "",
            (true, false) => "?",
            (false, false) => "&",
        };
        format!("{query}{mark}{pair}")
    }
}

/// What somebody may be answered who asks for an event stream, and would rather have nothing than a
/// gap.
const STREAM_STRICT: &[u16] = &[200, 410];

/// Event streams.
impl Client {
    pub(super) fn ask_stream(&mut self, scene: &mut Scene<'_>) {
        let path = match self.channel {
            0 => scene.dice.pick(&["/sse", "/sse/default"]).to_owned(),
            number => format!("/sse/{}", scene.climate.channel(number)),
        };
        let lets_in: &'static [u16] = match (self.wish.is_malformed, self.wish.strict) {
            (true, _) => &[400],
            (false, true) => STREAM_STRICT,
            (false, false) => &[200],
        };
        let (method, version, origin, statuses) = match scene.dice.below(40) {
            0 => ("GET", "1.1", "Origin: http://elsewhere\r\n", &[403][..]),
            1 => ("POST", "1.1", "Content-Length: 0\r\n", &[405][..]),
            2 => ("GET", "1.0", "", &[505][..]),
            3..6 => ("HEAD", "1.1", "", lets_in),
            6..12 => ("GET", "1.1", "Origin: https://sim\r\n", lets_in),
            _ => ("GET", "1.1", "", lets_in),
        };
        // How it asks, and from where, is looked at before the token; where it begins, behind it.
        let statuses = if statuses == lets_in { self.by_pass(scene, statuses) } else { statuses };
        let Wish { query, fields, .. } = &self.wish;
        let (query, field) = (self.query_with_token(query), &self.pass.field);
        let head = format!(
            "{method} {path}{query} HTTP/{version}\r\nHost: sim\r\n\
             Accept: text/event-stream\r\n{fields}{field}{origin}\r\n"
        );
        self.outbox.extend(head.as_bytes());
        self.asks_for_head = method == "HEAD";
        self.expect(scene, statuses, None).to_head = method == "HEAD";
        self.reasons.allow(CloseReason::Answered);
    }
}

/// WebSocket.
impl Client {
    pub(super) fn say(&mut self, scene: &mut Scene<'_>) {
        match scene.dice.below(10) {
            0 => self.put_ping(scene),
            1 => self.put_frame(0x8a, b"nobody asked"),
            _ => self.put_message(scene),
        }
    }

    pub(super) fn put_ping(&mut self, scene: &mut Scene<'_>) {
        self.count += 1;
        let mut payload = format!("{}", self.count).into_bytes();
        payload.resize(payload.len() + scene.dice.below(100) as usize, b'.');
        self.put_frame(0x89, &payload);
        self.pings.push_back(payload);
    }

    pub(super) fn put_message(&mut self, scene: &mut Scene<'_>) {
        let most = scene.climate.settings.limits.message_bytes_max;
        let length = match scene.dice.below(8) {
            0 => 0,
            1 => most,
            2 => scene.dice.below(most + 1),
            _ => scene.dice.below(60.min(most)),
        } as usize;
        let is_text = scene.dice.chance(700);
        self.count += 1;
        let mut payload = payload(is_text, length, self.number, self.count);
        let names_end = payload.iter().position(|byte| *byte == b':').unwrap_or(length);
        if is_text && self.count.is_multiple_of(16) {
            // Takes six times its length in a Socket.IO record, which may be too much for a ring.
            payload[names_end..].fill(1);
        }
        if is_text && scene.climate.streams > 0 && self.count % 16 == 5 {
            // Each of these ends a line in an event stream, where it takes seven times as much.
            let line_ends = b"\r\n\nx\r".iter().cycle();
            payload[names_end..].iter_mut().zip(line_ends).for_each(|(at, end)| *at = *end);
        }
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
        if self.pass.may_speak {
            self.sent.push_back(Message { is_text, payload: payload.into() });
        } else {
            self.reasons.allow(CloseReason::MayNotSpeak);
        }
    }

    pub(super) fn put_message_begun(&mut self, scene: &mut Scene<'_>) {
        match scene.dice.below(3) {
            0 => self.put_frame(0x01, b"to be continued"),
            1 => self.outbox.extend(b"\x81"),
            _ => self.outbox.extend(b"\x82\x8a\x01\x02\x03\x04half"),
        }
    }

    pub(super) fn break_frames(&mut self, scene: &mut Scene<'_>) {
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

    pub(crate) fn put_close(&mut self, code: Option<u16>) {
        match code {
            Some(code) => self.put_frame(0x88, &code.to_be_bytes()),
            None => self.put_frame(0x88, b""),
        }
        self.sent_code = Some(code);
        self.reasons.allow(CloseReason::ClosedByClient);
    }

    pub(crate) fn put_frame(&mut self, first: u8, payload: &[u8]) {
        self.count += 1;
        self.frames += 1;
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
pub(crate) fn payload(is_text: bool, length: usize, client: usize, count: u64) -> Vec<u8> {
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
