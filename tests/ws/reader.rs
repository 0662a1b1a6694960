//! What a connection does around a deframer, for the tests of WebSocket and for fuzzing.
//!
//! Deals with: presenting again what the deframer leaves over, joining the parts of messages and
//! checking their order. Leaves to others: answers, and what follows a close.
//!
//! The surprise: a message that comes in parts shows as one event, when it is whole, so that two
//! readers of the same bytes can be compared however these were cut.

use elbow::wire::Status;
use elbow::wire::ws::{self, Deframer, Input, Kind};

/// What is seen of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    /// The client broke a rule, which has this code.
    Failed(u16),
}

/// What a connection does around a deframer.
pub(crate) struct Reader {
    pub(crate) deframer: Deframer,
    message_bytes_max: u64,
    /// Arrived and not consumed.
    pending: Vec<u8>,
    /// The message that arrives in parts.
    joined: Option<(Kind, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    ended: bool,
}

impl Reader {
    pub(crate) fn new(message_bytes_max: u64) -> Reader {
        Reader {
            deframer: Deframer::new(),
            message_bytes_max,
            pending: Vec::new(),
            joined: None,
            events: Vec::new(),
            ended: false,
        }
    }

    pub(crate) fn receive(&mut self, segment: &[u8]) {
        self.pending.extend_from_slice(segment);
        while !self.ended {
            let (consumed, input) = self.deframer.next(&mut self.pending, self.message_bytes_max);
            let event = match input {
                Ok(Status::Partial) => {
                    self.pending.drain(..consumed);
                    assert!(self.pending.len() < ws::CONTROL_BYTES_MAX, "too much is left over");
                    return;
                }
                Ok(Status::Complete(Input::Message(kind, payload))) => {
                    assert_eq!(self.joined, None, "a message inside another");
                    Some(Event::Message(kind, payload.to_vec()))
                }
                Ok(Status::Complete(Input::Part { kind, payload, first, last })) => {
                    assert_eq!(first, self.joined.is_none(), "parts out of order");
                    let (joined_kind, joined) = self.joined.get_or_insert((kind, Vec::new()));
                    assert_eq!(*joined_kind, kind);
                    joined.extend_from_slice(payload);
                    let whole = if last { self.joined.take() } else { None };
                    whole.map(|(kind, payload)| Event::Message(kind, payload))
                }
                Ok(Status::Complete(Input::Ping(payload))) => Some(Event::Ping(payload.to_vec())),
                Ok(Status::Complete(Input::Pong)) => Some(Event::Pong),
                Ok(Status::Complete(Input::Close(code))) => {
                    self.ended = true;
                    Some(Event::Close(code))
                }
                Err(error) => {
                    self.ended = true;
                    Some(Event::Failed(error.code()))
                }
            };
            self.events.extend(event);
            self.pending.drain(..consumed);
        }
    }
}

/// What is seen of a client whose bytes come in these segments.
pub(crate) fn read<'s>(
    segments: impl IntoIterator<Item = &'s [u8]>,
    message_bytes_max: u64,
) -> Vec<Event> {
    let mut reader = Reader::new(message_bytes_max);
    for segment in segments {
        reader.receive(segment);
    }
    reader.events
}
