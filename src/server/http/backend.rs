//! `POST /publish/CHANNEL`: what backends say, from its head to the door.
//!
//! ```text
//!   head ──► a draft: channel, event, key ──► body ──► text, bytes or an event ──► the door
//!    400 503                             413 408 503      400          429 503        413 503
//! ```
//!
//! Leaves to others: who may ask (`admin`), how a body is collected (`conn/collect`), the door
//! (`publish`), what the answer says (`receipt`).
//!
//! The surprise: a channel that holds its publishers back does not hold a backend back. It is told
//! to come again, so that it never waits for readers that do not read.

use crate::conn::{CollectError, Conn, Draft, Purpose, Remembered};
use crate::hub::{PublishError, RepeatId, Said};
use crate::id::ConnId;
use crate::limits;
use crate::server::http::receipt::Receipt;
use crate::server::http::respond::Answer;
use crate::server::publish::{Outcome, Ticket};
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::http::{self, Request};
use crate::wire::{admin, socketio};
use crate::{hub, work};

/// Bytes of all that a draft says: the names of a channel and of an event, and a key.
const WORDS_BYTES_MAX: usize =
    limits::CHANNEL_NAME_BYTES_MAX + admin::EVENT_BYTES_MAX + admin::KEY_BYTES_MAX;

const _: () = assert!(limits::CHANNEL_NAME_BYTES_MAX <= u8::MAX as usize);

/// The words of a draft, while its message is said.
struct Words {
    bytes: [u8; WORDS_BYTES_MAX],
    length: usize,
    draft: Draft,
}

impl Words {
    fn of(noted: &[u8], draft: Draft) -> Words {
        let mut words = Words { bytes: [0; WORDS_BYTES_MAX], length: noted.len(), draft };
        words.bytes[..noted.len()].copy_from_slice(noted);
        words
    }

    fn text(&self, from: usize, to: usize) -> &str {
        core::str::from_utf8(&self.bytes[from..to]).expect("names and keys are text")
    }

    fn channel(&self) -> &str {
        self.text(0, self.event_at())
    }

    /// The name of the event; empty if there is none.
    fn event(&self) -> &str {
        self.text(self.event_at(), self.key_at())
    }

    /// The key by which a repeat is known; empty if there is none.
    fn key(&self) -> &str {
        self.text(self.key_at(), self.length)
    }

    fn event_at(&self) -> usize {
        usize::from(self.draft.channel_bytes)
    }

    fn key_at(&self) -> usize {
        self.event_at() + usize::from(self.draft.event_bytes)
    }
}

impl<S: Socket> Server<S> {
    /// Begins to collect what a backend says in `channel`, or says what is wrong with its request.
    pub(super) fn take_in_draft(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        channel: &str,
    ) {
        let (event, key) = match read(request) {
            Ok(read) => read,
            Err(wrong) => {
                let answer = Answer::plain(400).saying(wrong.as_bytes());
                return self.respond(now, slot, request, answer);
            }
        };
        let media = request.field("content-type").unwrap_or_default();
        let is_binary = admin::is_octet_stream(media);
        if is_binary && event.is_some() {
            let wrong = b"the arguments of an event are JSON, not application/octet-stream";
            return self.respond(now, slot, request, Answer::plain(400).saying(wrong));
        }
        let event = event.as_ref().map_or("", |event| event.as_str());
        let words = [channel.as_bytes(), event.as_bytes(), key];
        let Some(remembered) = self.remember_with(slot, request, words) else {
            return self.refuse_for_now(now, slot, request);
        };
        // The body is taken in first, and what follows it is the next request.
        let remembered = Remembered { is_persistent: request.persistent, ..remembered };
        // At most CHANNEL_NAME_BYTES_MAX and EVENT_BYTES_MAX.
        let (channel_bytes, event_bytes) = (channel.len() as u8, event.len() as u16);
        let purpose = Purpose::Message(Draft { channel_bytes, event_bytes, is_binary });
        let (id, framing) = (self.connections.id(slot), request.framing);
        let begun =
            self.change(now, slot, |conn, cx| conn.collect(cx, purpose, framing, remembered));
        match begun {
            Ok(true) if request.expects_continue => {
                let pool = &mut self.pool;
                if self.connections.out_mut(slot).push_own(pool, http::CONTINUE) {
                    self.connections.send_soon(slot);
                } else {
                    self.refuse_draft(now, id, CollectError::NoMemory);
                }
            }
            Ok(true) => {}
            Ok(false) => self.take_draft(now, id),
            Err(error) => self.refuse_draft(now, id, error),
        }
    }

    /// What a backend says has come whole: it is said.
    pub(in crate::server) fn take_draft(&mut self, now: Now, id: ConnId) {
        let Some(body) = self.connections.change(id.slot, Conn::take_body) else { return };
        let Some(request) = self.connections.conn(id.slot).remembered() else { return };
        let Purpose::Message(draft) = body.purpose else { return };
        work::count(|work| work.packets += 1);
        let words = Words::of(request.words(&self.pool), draft);
        let bytes = self.pool.borrow_out(body.buffer);
        let receipt = self.say_draft(now, id, &words, &bytes);
        self.pool.put_back(body.buffer, bytes);
        self.pool.give(body.buffer);
        match receipt {
            Ok(receipt) => self.answer_draft(now, id, receipt),
            Err(ticket) => {
                let by = now.mono.plus(limits::PLACE_LIMIT);
                self.connections.change(id.slot, |conn| conn.await_answer(ticket.0, by, request));
                self.await_place(ticket, id);
            }
        }
    }

    /// What a backend says cannot be collected. The bytes behind that have no known meaning, so the
    /// answer is the last.
    pub(in crate::server) fn refuse_draft(&mut self, now: Now, id: ConnId, error: CollectError) {
        let receipt = match error {
            CollectError::TooBig => Receipt::TooBig,
            CollectError::Malformed => Receipt::Wrong("the chunked coding is malformed"),
            CollectError::NoMemory => Receipt::NotNow,
            CollectError::Late => Receipt::Late,
        };
        self.answer_draft_last(now, id, receipt);
    }

    /// Says what a backend has said, once, however often the request comes. An error is the ticket
    /// of a message whose place is still to come.
    fn say_draft(
        &mut self,
        now: Now,
        id: ConnId,
        words: &Words,
        body: &[u8],
    ) -> Result<Receipt, Ticket> {
        let text = core::str::from_utf8(body);
        if !words.draft.is_binary && text.is_err() {
            return Ok(Receipt::Wrong("the body is not UTF-8"));
        }
        let channel = words.channel();
        let key = Some(words.key()).filter(|key| !key.is_empty());
        let repeat = key.map(|key| self.repeats.id(channel, key.as_bytes()));
        match repeat.and_then(|repeat| self.repeats.find(now.mono, repeat)) {
            Some(Said::At(position)) => return Ok(Receipt::Said(position)),
            Some(Said::UnderWay(ticket)) => return Err(Ticket(ticket)),
            None => {}
        }
        if let Some(refusal) = self.refuses_messages(now, channel, repeat) {
            return Ok(refusal);
        }
        let speaker = (id, repeat);
        let outcome = match (words.event(), text) {
            ("", Ok(text)) if !words.draft.is_binary => {
                self.publish_to(now, speaker, channel, &hub::Message::Text(text.as_bytes()))
            }
            ("", _) => self.publish_to(now, speaker, channel, &hub::Message::Binary(body)),
            (event, Ok(arguments)) => {
                match self.say_event(now, speaker, channel, event, arguments) {
                    Ok(outcome) => outcome,
                    Err(wrong) => return Ok(Receipt::Wrong(wrong)),
                }
            }
            (_, Err(_)) => return Ok(Receipt::Wrong("the body is not UTF-8")),
        };
        match outcome {
            Outcome::Published { position } => Ok(Receipt::Said(position)),
            Outcome::Deferred(ticket) => Err(ticket),
            Outcome::Refused(PublishError::TooBig) => Ok(Receipt::TooBig),
            // A backend may say anything.
            Outcome::Refused(PublishError::NoMemory | PublishError::Away)
            | Outcome::MayNotSpeak => Ok(Receipt::NotNow),
        }
    }

    /// Why nothing can be said in a channel now, if it cannot. Otherwise there is room for the
    /// request's repeats.
    fn refuses_messages(
        &mut self,
        now: Now,
        name: &str,
        repeat: Option<RepeatId>,
    ) -> Option<Receipt> {
        if let Some(repeat) = repeat
            && !self.repeats.make_room(&mut self.pool, now.mono, repeat)
        {
            return Some(Receipt::NotNow);
        }
        // Too many messages wait for their place in the order.
        if self.hub.is_closed() {
            return Some(Receipt::NotNow);
        }
        let channel = self.hub.find(name)?;
        self.hub.channel(channel).holds_messages().then_some(Receipt::Held)
    }

    /// Says an event with these arguments, a JSON array.
    ///
    /// # Errors
    /// What is wrong with the name or the arguments.
    fn say_event(
        &mut self,
        now: Now,
        speaker: (ConnId, Option<RepeatId>),
        channel: &str,
        name: &str,
        arguments: &str,
    ) -> Result<Outcome, &'static str> {
        let bytes = socketio::named_args_bytes(name, arguments);
        let Some(mut buffer) = self.pool.take_briefly(bytes) else {
            return Ok(self.refuse_word(PublishError::NoMemory));
        };
        let is_array = self
            .pool
            .write(&mut buffer, bytes, |out| socketio::named_args(name, arguments, out))
            .expect("a buffer has the room that was asked for");
        let args = self.pool.borrow_out(buffer);
        let text = core::str::from_utf8(&args).expect("a name and a text are text");
        let event = socketio::event_of(text, 0).filter(|_| is_array);
        let outcome = match event {
            Some(event) if socketio::is_ours(&event.name) => {
                Err("names that begin with elbow: are the server's own")
            }
            Some(event) => Ok(self.publish_event_to(now, speaker, channel, &event)),
            None => Err("an event has a name that Socket.IO does not reserve, and a JSON array"),
        };
        self.pool.put_back(buffer, args);
        self.pool.give(buffer);
        outcome
    }
}

/// The event and the key that a request to publish names; the key is empty if there is none.
fn read<'b>(request: &Request<'b, '_>) -> Result<(Option<admin::Value>, &'b [u8]), String> {
    let event = admin::event_of(request.query).map_err(|malformed| malformed.to_string())?;
    let mut keys = request.fields("idempotency-key");
    match (keys.next(), keys.next()) {
        (None, _) => Ok((event, b"")),
        (Some(key), None) if admin::is_key(key) => Ok((event, key)),
        (Some(_), _) => Err("one Idempotency-Key has 1 to 64 bytes of UTF-8".to_owned()),
    }
}
