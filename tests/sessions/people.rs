//! What a client of the test knows: of its connections, of its session, and of what it was told.
//!
//! The oracle of order is here too. The server says in which order it has published; whoever reads
//! a channel must get that sequence from some place on without a gap.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use elbow::id::ConnId;

use super::wire::{Packet, Wire};

/// What a response will be an answer to; the number is the person's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Handshake(usize),
    Poll(usize),
    Post(usize),
    /// A WebSocket for a session that begins or goes on, or for a channel.
    Socket(Role),
    Other,
}

/// What a WebSocket is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Plain(&'static str),
    Session(usize),
    Probe(usize),
}

/// A connection.
pub(crate) struct Link {
    pub(crate) id: ConnId,
    pub(crate) wire: Rc<RefCell<Wire>>,
    /// What the client says and the net has not brought yet.
    pub(crate) outgoing: VecDeque<u8>,
    pub(crate) heard: Vec<u8>,
    pub(crate) asks: VecDeque<Ask>,
    pub(crate) socket: Option<Role>,
    /// The server's close frame has come.
    pub(crate) closed: bool,
    /// The client has gone, or has said so.
    pub(crate) left: bool,
    pub(crate) reading: Reading,
}

impl Link {
    /// Whether it can carry one more thing that the client says.
    pub(crate) fn is_usable(&self) -> bool {
        let wire = self.wire.borrow();
        !self.left && !self.closed && !wire.dropped && !wire.shut_down
    }

    /// Whether it is an HTTP connection between two requests.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_usable() && self.socket.is_none() && self.asks.is_empty()
    }
}

/// Where somebody is in a channel's sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    next: Option<usize>,
    since: usize,
}

/// A Socket.IO client.
pub(crate) struct Person {
    pub(crate) version: u8,
    pub(crate) sid: Option<String>,
    pub(crate) poll: Option<usize>,
    pub(crate) post: Option<usize>,
    pub(crate) socket: Option<usize>,
    pub(crate) probe: Option<usize>,
    /// The probe was answered.
    pub(crate) proved: bool,
    /// It knows no more of its session.
    pub(crate) over: bool,
    pub(crate) silent: bool,
    pub(crate) pinged: bool,
    spaces: HashMap<String, Reading>,
    /// How often it has asked for a channel and got no answer yet.
    asked: HashMap<String, usize>,
    /// The channel of a binary event whose attachment comes next, and its name if that is known.
    awaits: Option<(String, Option<String>)>,
}

impl Person {
    pub(crate) fn new(version: u8, silent: bool) -> Person {
        Person {
            version,
            sid: None,
            poll: None,
            post: None,
            socket: None,
            probe: None,
            proved: false,
            over: false,
            silent,
            pinged: false,
            spaces: HashMap::new(),
            // Protocol 3 puts everybody into the default channel.
            asked: HashMap::from([("default".to_owned(), usize::from(version == 3))]),
            awaits: None,
        }
    }

    /// Whether it is in a channel and everything that it has asked for it was answered.
    pub(crate) fn is_settled_in(&self, channel: &str) -> bool {
        let asked = self.asked.get(channel).copied().unwrap_or(0);
        asked == 0 && self.spaces.contains_key(channel)
    }

    pub(crate) fn ask(&mut self, channel: &str) {
        *self.asked.entry(channel.to_owned()).or_insert(0) += 1;
    }

    fn answered(&mut self, channel: &str) {
        let asked = self.asked.get_mut(channel).expect("who is told has asked");
        *asked = asked.checked_sub(1).expect("each CONNECT is answered once");
    }

    pub(crate) fn leave(&mut self, channel: &str) {
        self.spaces.remove(channel);
    }

    /// A packet of Engine.IO has come.
    pub(crate) fn hear(&mut self, order: &Order, packet: Packet) {
        match packet {
            Packet::Binary(bytes) => {
                let (channel, name) = self.awaits.take().expect("nothing is between attachments");
                let name = name.unwrap_or_else(|| format!("({bytes} bytes)"));
                self.hear_message(order, &channel, &name);
            }
            Packet::Text(text) => {
                assert!(self.awaits.is_none(), "{text:?} before an attachment");
                self.hear_text(order, &text);
            }
        }
    }

    fn hear_text(&mut self, order: &Order, text: &str) {
        match text.as_bytes().first().expect("a packet has a type") {
            b'0' => {
                let sid = text.split("\"sid\":\"").nth(1).expect("a sid");
                self.sid = Some(sid[..20].to_owned());
            }
            b'1' => self.over = true,
            b'2' => self.pinged = true,
            b'3' if text == "3probe" => self.proved = true,
            b'3' | b'6' => {}
            b'4' => self.hear_socketio(order, &text[1..]),
            _ => panic!("no packet: {text}"),
        }
    }

    fn hear_socketio(&mut self, order: &Order, text: &str) {
        let (kind, rest) = text.split_at(1);
        let rest =
            if kind == "5" { rest.strip_prefix("1-").expect("one attachment") } else { rest };
        let (space, rest) = match rest.starts_with('/') {
            true => rest.split_once(',').unwrap_or((rest, "")),
            false => ("/", rest),
        };
        let channel = if space == "/" { "default" } else { &space[1..] };
        match kind {
            "0" => {
                self.answered(channel);
                let since = order.length(channel, false);
                let new = Reading { next: None, since };
                self.spaces.entry(channel.to_owned()).or_insert(new);
            }
            "1" => self.leave(channel),
            "2" if rest == "[\"hi\"]" => {}
            "2" => self.hear_message(order, channel, &name_of(rest).expect("a name")),
            "5" => self.awaits = Some((channel.to_owned(), name_of(rest))),
            "3" => {}
            "4" => self.answered(channel),
            _ => panic!("no packet: {text}"),
        }
    }

    fn hear_message(&mut self, order: &Order, channel: &str, name: &str) {
        if let Some(reading) = self.spaces.get_mut(channel) {
            order.advance(reading, channel, false, name);
        }
    }

    /// Asserts that nothing is missing.
    pub(crate) fn assert_complete(&self, order: &Order) {
        assert!(self.awaits.is_none());
        for (channel, reading) in &self.spaces {
            order.assert_complete(reading, channel, false);
        }
    }
}

/// The name of a message, which stands between two tildes.
pub(crate) fn name_of(text: &str) -> Option<String> {
    text.split('~').nth(1).map(str::to_owned)
}

/// What was published, in order, by channel and whether plain WebSockets are told.
#[derive(Default)]
pub(crate) struct Order {
    names: HashMap<(String, bool), Vec<String>>,
    /// Where messages without a name were said, by the text that tells of them.
    pub(crate) nameless: HashMap<String, &'static str>,
    pub(crate) told: usize,
}

impl Order {
    /// The server has published something.
    pub(crate) fn push(&mut self, text: &str) {
        let name = name_of(text).unwrap_or_else(|| text.to_owned());
        let channel = match self.nameless.get(text) {
            Some(channel) => (*channel).to_owned(),
            None => name.split_once('.').expect("a channel's name").0.to_owned(),
        };
        let is_plain = !text.starts_with('[') || text.starts_with("[\"chat message\"");
        for plain in [false, true].into_iter().take(1 + usize::from(is_plain)) {
            self.names.entry((channel.clone(), plain)).or_default().push(name.clone());
        }
        self.told += 1;
    }

    pub(crate) fn new_reading(&self, channel: &str, plain: bool) -> Reading {
        Reading { next: None, since: self.length(channel, plain) }
    }

    fn length(&self, channel: &str, plain: bool) -> usize {
        self.names.get(&(channel.to_owned(), plain)).map_or(0, Vec::len)
    }

    pub(crate) fn advance(&self, reading: &mut Reading, channel: &str, plain: bool, name: &str) {
        let names = &self.names[&(channel.to_owned(), plain)];
        let at = names.iter().position(|known| known == name).expect("it was published");
        if let Some(next) = reading.next {
            assert_eq!(at, next, "{name} in {channel}, and not {}", names[next.min(at)]);
        }
        reading.next = Some(at + 1);
    }

    pub(crate) fn assert_complete(&self, reading: &Reading, channel: &str, plain: bool) {
        let at = reading.next.unwrap_or(reading.since);
        assert!(at >= self.length(channel, plain), "from {at} on all is missing in {channel}");
    }
}
