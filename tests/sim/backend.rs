//! What backends and operators say to the admin listener: messages of every kind, some of them
//! wrongly, and whom to disconnect. Several requests may stand behind each other.

use std::rc::Rc;

use elbow::limits::PLACE_LIMIT;
use elbow::server::Listener;

use super::{Client, End, Link, Message, Role, Scene, draw_end, draw_reads};
use crate::climate::Backends;
use crate::hearing::Spoken;
use crate::packet;
use crate::person::Purpose;

/// What a token is in a climate that has one.
pub(crate) const TOKEN: &str = "0123456789abcdef";

/// A request of a backend, until its answer.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// When it was put on its way.
    pub(crate) at_ms: u64,
    pub(crate) ask: Ask,
    /// Where its message stands, once it was said: the life of its channel, and its number; 0 for
    /// one that nobody heard.
    pub(crate) said: Option<(usize, u64)>,
    /// What became of it, once its answer was decided, which may still be on its way.
    pub(crate) answered: Option<Answered>,
}

/// What an answer leaves of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// The message was said before the answer, or is never said.
    ForGood,
    /// The message may still be said: its place in the order was not known in time.
    ForNow,
}

impl Order {
    /// The answer is decided, at `now_ms`. The request before it was answered at `before_ms`.
    pub(crate) fn answer(
        &mut self,
        now_ms: u64,
        before_ms: u64,
        status: u16,
        is_ordered_elsewhere: bool,
    ) {
        // A request that stands behind others waits for no place before those are answered.
        let over_ms = self.at_ms.max(before_ms) + PLACE_LIMIT.as_millis();
        let waited = status == 503 && is_ordered_elsewhere && now_ms >= over_ms;
        self.answered = Some(if waited { Answered::ForNow } else { Answered::ForGood });
    }
}

/// What a request wants.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Publish(Word),
    /// Whom to close: who is in this channel.
    Disconnect(Box<str>),
    /// Nothing that may be had.
    Wrong,
}

/// What is to be said.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) channel: Box<str>,
    pub(crate) key: Option<u64>,
    /// Name and arguments of an event; what is none is said as it is.
    pub(crate) args: Option<String>,
    /// The form that it has for plain WebSockets, if it has one.
    pub(crate) plain: Option<Message>,
    pub(crate) spoken: Spoken,
}

impl Word {
    /// How the server reports that it was said.
    pub(crate) fn report(&self) -> Vec<u8> {
        match (&self.args, &self.plain) {
            (Some(args), _) => args.clone().into_bytes(),
            (None, Some(message)) if message.is_text => message.payload.to_vec(),
            (None, message) => {
                let length = message.as_ref().map_or(0, |message| message.payload.len());
                format!("({length} bytes)").into_bytes()
            }
        }
    }
}

impl Client {
    /// A backend that has done nothing yet.
    pub(crate) fn backend(
        number: usize,
        link: Rc<Link>,
        scene: &mut Scene<'_>,
        backends: Backends,
    ) -> Client {
        let people = scene.climate.people;
        let dice = &mut *scene.dice;
        let end = match draw_end(dice, &people) {
            End::Breaks | End::BreaksText | End::TooBig | End::CloseAndReset => End::Fin,
            end @ (End::Politely
            | End::Stays
            | End::Fin
            | End::Reset
            | End::Vanishes
            | End::Stalls) => end,
        };
        Client {
            listener: Listener::Admin,
            role: Role::Backend,
            reads: draw_reads(dice, &people),
            end,
            life: dice.between(1, backends.life_max),
            ..Client::blank(number, link, 0)
        }
    }

    pub(crate) fn is_backend(&self) -> bool {
        self.listener == Listener::Admin
    }

    /// Whether the answer that comes next is one for which the server itself may wait.
    pub(crate) fn awaits_server(&self, is_ordered_elsewhere: bool) -> bool {
        self.orders.front().is_some_and(|order| match order.ask {
            Ask::Publish(_) => is_ordered_elsewhere,
            Ask::Disconnect(_) => true,
            Ask::Wrong => false,
        })
    }

    /// How many disconnects it waits for. None once its connection is gone: while a disconnect is
    /// under way nothing is read from whoever asked, so that the connection outlives it, and what
    /// was not answered by then was never begun.
    pub(crate) fn disconnects(&self) -> u64 {
        if self.link.state.borrow().dropped {
            return 0;
        }
        let is_disconnect = |order: &&Order| matches!(order.ask, Ask::Disconnect(_));
        self.orders.iter().filter(is_disconnect).count() as u64
    }

    pub(super) fn order_some(&mut self, scene: &mut Scene<'_>) {
        let Some(backends) = scene.climate.backends else { return };
        for _ in 0..scene.dice.between(1, backends.pipeline) {
            if scene.dice.chance(backends.disconnects) {
                self.order_disconnect(scene);
            } else if scene.dice.chance(80) {
                self.order_wrongly(scene);
            } else {
                self.order_message(scene, backends);
            }
        }
    }

    fn put_order(&mut self, scene: &Scene<'_>, statuses: &'static [u16], ask: Ask) {
        let order = Order { at_ms: scene.now_ms, ask, said: None, answered: None };
        self.orders.push_back(order);
        self.expect(scene, statuses, None).purpose = Purpose::Order;
    }

    /// The fields that every request has.
    fn fields(&self, scene: &Scene<'_>) -> String {
        let host = ["127.0.0.1:3001", "localhost", "[::1]"][self.number % 3];
        match scene.climate.settings.admin_token {
            Some(_) => format!("Host: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"),
            None => format!("Host: {host}\r\n"),
        }
    }

    fn order_message(&mut self, scene: &mut Scene<'_>, backends: Backends) {
        let number = scene.dice.below(scene.climate.people.channels);
        let channel = scene.climate.channel(number);
        let space = packet::prefix(&channel);
        self.count += 1;
        let mut text = format!("order {}.{}", self.number, self.count);
        if scene.dice.chance(200) {
            text.push_str(&"+".repeat(scene.dice.below(300) as usize));
        }
        let kind = scene.dice.below(4);
        let most = scene.climate.settings.limits.message_bytes_max as usize;
        text.truncate(most.saturating_sub(40));
        let (query, media, body, args, plain) = match kind {
            0 => {
                let args = format!("[\"price\",{},{{\"a\":[null]}}]", packet::json(&text));
                let body = format!(" [{},{{\"a\":[null]}}] ", packet::json(&text)).into_bytes();
                ("?event=price", "", body, Some(args), None)
            }
            1 => {
                let args = format!("[\"chat message\",{}]", packet::json(&text));
                let body = format!("[{}]", packet::json(&text)).into_bytes();
                let plain = Message { is_text: true, payload: text.as_bytes().into() };
                ("?event=chat%20message", "", body, Some(args), Some(plain))
            }
            2 => {
                // Its length tells it from the others of its connection that are under way.
                let length = 1 + (self.count as usize % 90);
                let payload = vec![self.number as u8; length];
                let plain = Message { is_text: false, payload: payload.clone().into() };
                let media = "Content-Type: application/octet-stream\r\n";
                ("", media, payload, None, Some(plain))
            }
            _ => {
                let plain = Message { is_text: true, payload: text.as_bytes().into() };
                ("", "", text.clone().into_bytes(), None, Some(plain))
            }
        };
        let spoken = match (&args, &plain) {
            (Some(args), _) => Spoken::event(format!("2{space}{args}").into(), Vec::new()),
            (None, Some(message)) => crate::oracle::spoken(&channel, message),
            (None, None) => return,
        };
        let key = scene.dice.chance(backends.keys).then(|| scene.dice.below(1 << 40));
        let word = Word { channel: channel.clone().into(), key, args, plain, spoken };
        let times = if key.is_some() { scene.dice.between(1, 3) } else { 1 };
        for _ in 0..times {
            self.put_word(scene, &word, query, media, &body);
        }
    }

    fn put_word(
        &mut self,
        scene: &mut Scene<'_>,
        word: &Word,
        query: &str,
        media: &str,
        body: &[u8],
    ) {
        let fields = self.fields(scene);
        let key = word.key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
        let head =
            format!("POST /publish/{}{query} HTTP/1.1\r\n{fields}{media}{key}", word.channel);
        self.outbox.extend(head.as_bytes());
        if scene.dice.chance(300) {
            self.outbox.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(scene.dice.between(1, 60) as usize) {
                self.outbox.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                self.outbox.extend(chunk);
                self.outbox.extend(b"\r\n");
            }
            self.outbox.extend(b"0\r\n\r\n");
        } else {
            let length = body.len();
            self.outbox.extend(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            self.outbox.extend(body);
        }
        self.put_order(scene, &[202, 429, 503], Ask::Publish(word.clone()));
    }

    fn order_disconnect(&mut self, scene: &mut Scene<'_>) {
        let number = scene.dice.below(scene.climate.people.channels);
        let channel = scene.climate.channel(number);
        let fields = self.fields(scene);
        // A plus sign is a blank in a query.
        let named = channel.replace('+', "%2B");
        let head = format!("POST /disconnect?channel={named} HTTP/1.1\r\n{fields}\r\n");
        self.outbox.extend(head.as_bytes());
        self.put_order(scene, &[200, 503], Ask::Disconnect(channel.into()));
    }

    fn order_wrongly(&mut self, scene: &mut Scene<'_>) {
        let fields = self.fields(scene);
        let has_token = scene.climate.settings.admin_token.is_some();
        let (head, status): (String, &'static [u16]) = match scene.dice.below(8) {
            0 => (format!("GET /publish/a HTTP/1.1\r\n{fields}\r\n"), &[405]),
            1 => (format!("GET /metricss HTTP/1.1\r\n{fields}\r\n"), &[404]),
            // Without memory the name is not looked at.
            2 => (format!("POST /publish/a?event=connect HTTP/1.1\r\n{fields}\r\n"), &[400, 503]),
            3 => (format!("POST /publish//a HTTP/1.1\r\n{fields}\r\n"), &[400]),
            4 => (format!("POST /disconnect HTTP/1.1\r\n{fields}\r\n"), &[400]),
            5 => {
                let origin = "Origin: http://elsewhere.example\r\n";
                (format!("POST /publish/a HTTP/1.1\r\n{fields}{origin}\r\n"), &[403])
            }
            6 if has_token => {
                ("POST /publish/a HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), &[401])
            }
            6 => ("POST /publish/a HTTP/1.1\r\nHost: a.example\r\n\r\n".into(), &[403]),
            _ => {
                let utf8 = "Content-Length: 2\r\n\r\n";
                self.outbox.extend(format!("POST /publish/a HTTP/1.1\r\n{fields}{utf8}").bytes());
                self.outbox.extend([0xc3, 0x28]);
                // Without memory it is not looked at.
                return self.put_order(scene, &[400, 503], Ask::Wrong);
            }
        };
        self.outbox.extend(head.as_bytes());
        self.put_order(scene, status, Ask::Wrong);
    }
}
