//! Feed and outbound against a naive model: every record ever appended, in a list.
//!
//! Goal: whatever a socket takes, byte by byte, is what the order of outbound.rs says: whole
//! records in their order, own bytes only between two of them, the close frame at its place and
//! nothing after it; and a reader that the ring has overtaken is noticed exactly then.
//!
//! Method: random operations on one small ring and three readers. The model of a reader knows no
//! offsets: it counts records and bytes within one, and says what the *next byte* must be. Each
//! send compares all that is offered with the model and then takes a random part of it.

use std::collections::VecDeque;

use elbow::feed::{Feed, Mark};
use elbow::id::{ChannelId, Dialect, Offset, Seq};
use elbow::limits::RECORD_BYTES_TYPICAL;
use elbow::outbound::{CloseFrame, Outbound};
use elbow::pool::Pool;
use elbow::reason::CloseReason;
use proptest::prelude::*;

const RING_BYTES: usize = 1024;
const READERS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// A record of so many bytes, in two parts.
    Append(usize),
    /// Own bytes.
    Own(usize, usize),
    Pong(usize, usize),
    /// The socket takes so many bytes of what is offered.
    Send(usize, usize),
    /// The socket takes all, as often as something is offered.
    SendAll(usize),
    Close(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let reader = 0..READERS;
    let op = prop_oneof![
        3 => (1..40_usize).prop_map(Op::Append),
        3 => (1..=RING_BYTES / 2).prop_map(Op::Append),
        2 => (reader.clone(), 1..60_usize).prop_map(|(reader, length)| Op::Own(reader, length)),
        2 => (reader.clone(), 0..=125_usize).prop_map(|(reader, length)| Op::Pong(reader, length)),
        4 => (reader.clone(), 0..60_usize).prop_map(|(reader, most)| Op::Send(reader, most)),
        4 => (reader.clone(), 0..700_usize).prop_map(|(reader, most)| Op::Send(reader, most)),
        4 => reader.clone().prop_map(Op::SendAll),
        1 => reader.prop_map(Op::Close),
    ];
    prop::collection::vec(op, 1..150)
}

/// All records ever, and which of them a ring of this size keeps.
#[derive(Default)]
struct Records {
    all: Vec<Vec<u8>>,
    kept: VecDeque<usize>,
}

impl Records {
    fn append(&mut self, record: Vec<u8>) {
        self.kept.push_back(record.len());
        self.all.push(record);
        while self.kept.iter().sum::<usize>() > RING_BYTES
            || self.kept.len() > RING_BYTES / RECORD_BYTES_TYPICAL
        {
            self.kept.pop_front();
        }
    }

    /// Where record `seq` begins.
    fn offset(&self, seq: usize) -> u64 {
        self.all[..seq].iter().map(|record| record.len() as u64).sum()
    }

    fn oldest(&self) -> usize {
        self.all.len() - self.kept.len()
    }
}

/// A pong knows itself, since the next one replaces it.
struct Own {
    bytes: Vec<u8>,
    is_pong: bool,
}

/// What a reader has yet to be sent.
struct Reader {
    /// Records wholly sent.
    record: usize,
    /// Bytes sent of the next.
    inside: usize,
    own: VecDeque<Own>,
    /// Bytes sent of the first own.
    own_sent: usize,
    /// Behind how many records the frame goes.
    close: Option<(usize, Vec<u8>)>,
}

impl Reader {
    fn new(record: usize) -> Reader {
        Reader { record, inside: 0, own: VecDeque::new(), own_sent: 0, close: None }
    }

    fn push_pong(&mut self, bytes: Vec<u8>) {
        let waits_whole = self.own.len() > 1 || self.own_sent == 0;
        let left = self.own.iter().map(|own| own.bytes.len()).sum::<usize>() - self.own_sent;
        // Up to nine of the longest pongs wait side by side; only then the latest replaces one.
        let replaces = waits_whole && left > 9 * 127;
        if self.own.back().is_some_and(|last| last.is_pong) && replaces {
            self.own.pop_back();
        }
        self.own.push_back(Own { bytes, is_pong: true });
    }

    /// Up to which record the feed is sent.
    fn limit(&self, records: &Records) -> usize {
        self.close.as_ref().map_or(records.all.len(), |(barrier, _)| *barrier)
    }

    fn is_lapped(&self, records: &Records) -> bool {
        let place = records.offset(self.record) + self.inside as u64;
        let wants = self.inside > 0 || self.record < self.limit(records);
        wants && place < records.offset(records.oldest())
    }

    /// All that is to be sent, were nothing to happen meanwhile.
    fn pending(&self, records: &Records) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut record = self.record;
        if self.inside > 0 {
            bytes.extend(&records.all[record][self.inside..]);
            record += 1;
        }
        let own = self.own.iter().flat_map(|own| &own.bytes).skip(self.own_sent);
        bytes.extend(own);
        for record in &records.all[record..self.limit(records).max(record)] {
            bytes.extend(record);
        }
        bytes.extend(self.close.iter().flat_map(|(_, frame)| frame));
        bytes
    }

    /// One byte has gone.
    fn advance(&mut self, records: &Records) {
        if self.inside == 0 && !self.own.is_empty() {
            self.own_sent += 1;
            if self.own_sent == self.own[0].bytes.len() {
                self.own.pop_front();
                self.own_sent = 0;
            }
        } else if self.inside > 0 || self.record < self.limit(records) {
            self.inside += 1;
            if self.inside == records.all[self.record].len() {
                self.record += 1;
                self.inside = 0;
            }
        } else {
            let (_, frame) = self.close.as_mut().expect("something was left to send");
            frame.remove(0);
        }
    }
}

struct World {
    feed: Feed,
    pool: Pool,
    outs: Vec<Outbound>,
    records: Records,
    readers: Vec<Reader>,
    /// So that no two neighbouring units look alike.
    fill: u8,
    lapped: usize,
}

impl World {
    fn new() -> World {
        let mut world = World {
            feed: Feed::new(RING_BYTES),
            pool: Pool::new(1 << 20),
            outs: (0..READERS).map(|_| Outbound::new()).collect(),
            records: Records::default(),
            readers: (0..READERS).map(|_| Reader::new(0)).collect(),
            fill: 0,
            lapped: 0,
        };
        (0..READERS).for_each(|reader| world.rejoin(reader));
        world
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(length) => {
                let record = self.unit(length);
                let (first, second) = record.split_at(length / 3);
                self.feed.append(0, &[first, second]);
                self.records.append(record);
            }
            Op::Own(reader, length) if self.readers[reader].close.is_none() => {
                let bytes = self.unit(length);
                assert!(self.outs[reader].push_own(&mut self.pool, &bytes));
                self.readers[reader].own.push_back(Own { bytes, is_pong: false });
            }
            Op::Pong(reader, length) if self.readers[reader].close.is_none() => {
                let payload = self.unit(length);
                assert!(self.outs[reader].push_pong(&mut self.pool, &payload));
                self.readers[reader].push_pong([&[0x8a, length as u8], &payload[..]].concat());
            }
            // Conn says nothing of its own once it closes.
            Op::Own(..) | Op::Pong(..) => {}
            Op::Send(reader, most) => {
                self.send(reader, most);
            }
            Op::SendAll(reader) => while self.send(reader, usize::MAX) > 0 {},
            Op::Close(reader) => {
                self.outs[reader].start_close(CloseFrame::answer(Some(4000)), self.feed.head());
                let barrier = self.records.all.len();
                let frame = || (barrier, vec![0x88, 2, 0x0f, 0xa0]);
                self.readers[reader].close.get_or_insert_with(frame);
            }
        }
    }

    /// What the server does before it sends; then what the socket takes.
    fn send(&mut self, reader: usize, most: usize) -> usize {
        if self.outs[reader].is_lapped(&self.feed) {
            self.lapped += 1;
            if self.outs[reader].is_inside_record() {
                // It can only be cut. Another takes its place.
                self.rejoin(reader);
                return 0;
            }
            let frame = CloseFrame::Reason(CloseReason::TooSlow);
            self.outs[reader].start_close(frame, self.feed.head());
            self.outs[reader].skip_to_close();
            let model = &mut self.readers[reader];
            let bytes = CloseReason::TooSlow.close_frame().expect("it has one").to_vec();
            let (_, bytes) = model.close.take().unwrap_or((0, bytes));
            model.close = Some((model.record, bytes));
        }
        let (out, model) = (&mut self.outs[reader], &mut self.readers[reader]);
        let offered = out.transmit(Some(&self.feed), &[], &self.pool).slices.concat();
        let pending = model.pending(&self.records);
        let held_back = model.inside > 0 && (!model.own.is_empty() || model.close.is_some());
        if held_back {
            assert!(!offered.is_empty());
            assert_eq!(offered, pending[..offered.len()]);
        } else {
            assert_eq!(offered, pending, "all of it at once");
        }
        let taken = most.min(offered.len());
        out.transmitted(taken, Some(&self.feed), &mut self.pool);
        (0..taken).for_each(|_| model.advance(&self.records));
        if out.is_close_sent() {
            assert!(model.pending(&self.records).is_empty(), "nothing follows a close frame");
            self.rejoin(reader);
        }
        taken
    }

    fn rejoin(&mut self, reader: usize) {
        self.outs[reader].release(&mut self.pool);
        self.outs[reader].start_feed(ChannelId(0), Dialect::Plain, self.feed.mark());
        self.readers[reader] = Reader::new(self.records.all.len());
    }

    fn check(&self) {
        self.feed.check();
        let oldest = self.records.oldest();
        assert_eq!(self.feed.tail(), Offset(self.records.offset(oldest)));
        let (first, second) = self.feed.slices(self.feed.tail(), self.feed.head());
        assert_eq!([first, second].concat(), self.records.all[oldest..].concat());
        for (out, model) in self.outs.iter().zip(&self.readers) {
            let lapped = model.is_lapped(&self.records);
            assert_eq!(out.is_lapped(&self.feed), lapped);
            let pending = model.pending(&self.records);
            assert_eq!(out.is_pending(Some(&self.feed)), !pending.is_empty());
            assert_eq!(out.buffer().is_some(), !model.own.is_empty());
            let place = self.records.offset(model.record) + model.inside as u64;
            let cursor = Mark { offset: Offset(place), seq: Seq(model.record as u64) };
            assert_eq!(out.cursor(), Some(cursor));
            if !lapped {
                self.check_lag(cursor);
            }
        }
    }

    fn check_lag(&self, place: Mark) {
        let bytes = self.feed.head().since(place.offset) as usize;
        let records = self.records.all.len() - place.seq.0 as usize;
        for parts in [1, 2, 4] {
            let expected =
                bytes > RING_BYTES / parts || records > RING_BYTES / RECORD_BYTES_TYPICAL / parts;
            assert_eq!(self.feed.lags_more_than(place, parts as u64), expected);
        }
    }

    fn unit(&mut self, length: usize) -> Vec<u8> {
        self.fill = self.fill.wrapping_add(37);
        (0..length).map(|at| self.fill.wrapping_add(at as u8)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_is_what_the_model_says(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
        for reader in 0..READERS {
            world.apply(&Op::SendAll(reader));
        }
        world.check();
        prop_assert_eq!(world.pool.lent_bytes(), 0, "own bytes that have gone hold no memory");
    }

    #[test]
    fn every_place_that_is_kept_is_located(
        lengths in prop::collection::vec(1..=300_usize, 1..40),
        steps in prop::collection::vec(0..1000_u64, 1..20),
    ) {
        let mut feed = Feed::new(RING_BYTES);
        let mut records = Records::default();
        for length in lengths {
            feed.append(0, &[&vec![0; length]]);
            records.append(vec![0; length]);
        }
        for step in steps {
            let at = feed.tail().0 + step % (feed.head().since(feed.tail()) + 1);
            let ends = |seq: &usize| records.offset(seq + 1) <= at;
            let seq = (0..records.all.len()).take_while(ends).count();
            let begins = records.offset(seq);
            let boundary = if begins == at { at } else { records.offset(seq + 1) };
            let expected = Mark { offset: Offset(boundary), seq: Seq(seq as u64) };
            prop_assert_eq!(feed.locate(Offset(at)), expected);
        }
    }
}

/// The property above would prove little if its operations never lapped anybody.
#[test]
fn the_model_meets_laps_of_both_kinds() {
    let mut world = World::new();
    world.apply(&Op::Append(500));
    world.apply(&Op::Send(0, 10));
    for _ in 0..4 {
        world.apply(&Op::Append(500));
        world.check();
    }
    // Inside a record: cut, and somebody new. Between records: told.
    world.apply(&Op::SendAll(0));
    assert_eq!((world.lapped, world.readers[0].record), (1, 5));
    assert!(world.outs[1].is_lapped(&world.feed) && !world.outs[1].is_closing());
    world.apply(&Op::Send(1, 3));
    assert_eq!(world.lapped, 2);
    assert!(world.outs[1].is_closing() && !world.outs[1].is_close_sent());
    world.check();
}
