//! What a backend is told of what it wanted to be said or done.
//!
//! Leaves to others: what has become of that (`backend`, `publish`, `disconnect`).
//!
//! The surprise: `null` is a position. The message was taken, and nobody was there.

use super::respond::{Answer, Field, NO_STORE, RETRY_AFTER};
use crate::hub::PublishError;
use crate::id::ConnId;
use crate::position::Position;
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::http::Request;

const JSON: Option<&str> = Some("application/json");

/// When a channel may take messages again: readers that do not read are waited for a second.
const SOON: Field<'_> = ("Retry-After", "1");

/// What has become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Receipt {
    /// The message was said, at this position; `None` if nobody was there.
    Said(Option<Position>),
    /// Something about the message is wrong.
    Wrong(&'static str),
    /// The body did not come in time.
    Late,
    /// The message is too big.
    TooBig,
    /// The channel takes no message at the moment, since its readers must be sent those before.
    Held,
    /// There is no memory or no room for the message, or no order to be had.
    NotNow,
}

impl<S: Socket> Server<S> {
    /// Answers a request to publish that waited until its body was whole.
    pub(super) fn answer_draft(&mut self, now: Now, id: ConnId, receipt: Receipt) {
        self.send_receipt(now, id, receipt, false);
    }

    /// Answers a request to publish, and closes.
    pub(super) fn answer_draft_last(&mut self, now: Now, id: ConnId, receipt: Receipt) {
        self.send_receipt(now, id, receipt, true);
    }

    /// Answers a request to publish whose message has its place in the order, or is not said.
    pub(in crate::server) fn answer_published_later(
        &mut self,
        now: Now,
        id: ConnId,
        said: Result<Option<Position>, PublishError>,
    ) {
        let receipt = match said {
            Ok(position) => Receipt::Said(position),
            Err(PublishError::TooBig) => Receipt::TooBig,
            Err(PublishError::NoMemory | PublishError::Away) => Receipt::NotNow,
        };
        self.send_receipt(now, id, receipt, false);
    }

    /// Answers a request to publish whose message has no place in the order yet. It may still be
    /// said; who asks again with the same key is told then.
    pub(in crate::server) fn answer_nothing_yet(&mut self, now: Now, id: ConnId) {
        self.awaiting.retain(|(_, other)| *other != id);
        self.send_receipt(now, id, Receipt::NotNow, false);
    }

    /// Refuses a request to the admin listener for which there is no memory.
    pub(super) fn refuse_for_now(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let answer = Answer::plain(503).with(&[NO_STORE, RETRY_AFTER]);
        self.respond(now, slot, request, answer);
    }

    /// Tells how many were closed, once all are.
    pub(in crate::server) fn answer_closed(&mut self, now: Now, id: ConnId, closed: u64) {
        let body = format!("{{\"closed\":{closed}}}");
        let answer = Answer::plain(200).with(&[NO_STORE]).of_type(JSON).saying(body.as_bytes());
        self.respond_later(now, id.slot, answer);
    }

    fn send_receipt(&mut self, now: Now, id: ConnId, receipt: Receipt, is_last: bool) {
        let text;
        let mut body = Body::default();
        let answer = match receipt {
            Receipt::Said(position) => {
                let quoted = position.map(|position| position.text());
                match &quoted {
                    Some(position) => body.write(&["{\"position\":\"", position.as_str(), "\"}"]),
                    None => body.write(&["{\"position\":null}"]),
                }
                Answer::plain(202).with(&[NO_STORE]).of_type(JSON).saying(body.bytes())
            }
            Receipt::Wrong(wrong) => {
                text = wrong;
                Answer::plain(400).with(&[NO_STORE]).saying(text.as_bytes())
            }
            Receipt::Late => Answer::plain(408).with(&[NO_STORE]),
            Receipt::TooBig => Answer::plain(413).with(&[NO_STORE]),
            Receipt::Held => Answer::plain(429).with(&[NO_STORE, SOON]),
            Receipt::NotNow => Answer::plain(503).with(&[NO_STORE, RETRY_AFTER]),
        };
        let answer = if is_last { answer.and_close() } else { answer };
        self.respond_later(now, id.slot, answer);
    }
}

/// The most bytes of an answer with a position.
const BODY_BYTES_MAX: usize = 64;

/// The body of an answer, without a heap.
#[derive(Default)]
struct Body {
    text: [[u8; BODY_BYTES_MAX / 2]; 2],
    length: usize,
}

impl Body {
    fn write(&mut self, parts: &[&str]) {
        for part in parts {
            let end = self.length + part.len();
            self.text.as_flattened_mut()[self.length..end].copy_from_slice(part.as_bytes());
            self.length = end;
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.text.as_flattened()[..self.length]
    }
}
