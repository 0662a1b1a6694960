//! One request body on its way into a buffer of the pool: of a known length or in chunks, up to a
//! limit, within a time.
//!
//! Leaves to others: what the body is for and who is told of its end (`exchange`), whether the
//! client is asked to go on (`Expect: 100-continue`), and what an error is answered with. Bodies
//! that nobody wants are not collected but discarded (`http`).
//!
//! The surprise: a body that is whole with its first bytes may be paid for by the pool's reserve,
//! since it is used and given back at once. Anybody can keep an unfinished one waiting.

use crate::limits;
use crate::pool::{BufferId, Pool};
use crate::time::Instant;
use crate::wire::http::{Body, Chunk, Framing};

/// Why a body cannot be collected. The bytes behind it have no known meaning then, so the
/// connection is not to be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CollectError {
    /// The body has more bytes than allowed, or announces more.
    TooBig,
    /// The chunked coding is malformed.
    Malformed,
    /// The pool has no memory for the bytes that have come.
    NoMemory,
    /// The body was not whole in time.
    Late,
}

/// How far a body has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Collected {
    /// Some of the bytes were taken in; there may be more among those that were given.
    Some,
    /// All bytes that were given were taken in, and the body goes on.
    Partial,
    /// The body is whole and lies in this buffer, which the caller gives back.
    Whole(BufferId),
}

/// The collector of one body.
#[derive(Debug)]
pub(super) struct Collector {
    body: Body,
    /// The bytes that have come; `None` before the first.
    buffer: Option<BufferId>,
    bytes_max: u32,
    /// When the body must be whole.
    by: Instant,
}

impl Collector {
    /// A collector that stands before the first byte of a body, and takes at most `bytes_max`
    /// bytes (or 4 GiB, which is more than any limit) until [`limits::BODY_LIMIT`] after `now`.
    pub(super) fn new(framing: Framing, bytes_max: u64, now: Instant) -> Collector {
        let by = now.plus(limits::BODY_LIMIT);
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        Collector { body: Body::new(framing), buffer: None, bytes_max, by }
    }

    /// What is known of the body before its first byte: it may be empty, or announce too much.
    ///
    /// # Errors
    /// [`CollectError::TooBig`] and [`CollectError::NoMemory`].
    pub(super) fn begin(&mut self, pool: &mut Pool) -> Result<Collected, CollectError> {
        if self.body.wanted_bytes() > u64::from(self.bytes_max) {
            Err(CollectError::TooBig)
        } else if self.body.is_over() {
            self.finish(pool)
        } else {
            Ok(Collected::Partial)
        }
    }

    /// Takes in the next bytes. Returns how many of them are done with, and how far the body has
    /// come. To be called again with the rest while that is [`Collected::Some`]. Bytes behind the
    /// body's end are not touched.
    ///
    /// # Errors
    /// All but [`CollectError::Late`], which is for the caller to find. No more bytes are to be
    /// given then.
    ///
    /// Bounded work: at most one chunk.
    pub(super) fn receive(
        &mut self,
        pool: &mut Pool,
        bytes: &[u8],
    ) -> (usize, Result<Collected, CollectError>) {
        let (used, collected) = match self.body.decode(bytes) {
            Ok((used, Chunk::Data(data))) => (used, self.take_in(pool, data)),
            Ok((used, Chunk::Partial)) => (used, Ok(Collected::Partial)),
            Ok((used, Chunk::End)) => (used, self.finish(pool)),
            Err(_) => (bytes.len(), Err(CollectError::Malformed)),
        };
        // What follows an error has no known meaning.
        (if collected.is_ok() { used } else { bytes.len() }, collected)
    }

    fn take_in(&mut self, pool: &mut Pool, data: &[u8]) -> Result<Collected, CollectError> {
        let so_far = self.buffer.map_or(0, |buffer| pool.bytes(buffer).len());
        if (so_far + data.len()) as u64 > u64::from(self.bytes_max) {
            return Err(CollectError::TooBig);
        }
        let is_whole = self.body.is_over();
        let lent = match self.buffer {
            Some(buffer) => Some(buffer),
            None if is_whole => pool.take_briefly(data.len()),
            None => pool.take(data.len()),
        };
        let mut buffer = lent.ok_or(CollectError::NoMemory)?;
        let taken_in = pool.append(&mut buffer, data);
        self.buffer = Some(buffer);
        if !taken_in {
            Err(CollectError::NoMemory)
        } else if is_whole {
            self.finish(pool)
        } else {
            Ok(Collected::Some)
        }
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<Collected, CollectError> {
        let buffer = self.buffer.take().or_else(|| pool.take_briefly(0));
        buffer.map(Collected::Whole).ok_or(CollectError::NoMemory)
    }

    /// Notes that bytes have come which are not taken in yet: they may be the rest of the body,
    /// which has [`limits::WAITED_LIMIT`] more.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.by = self.by.max(now.plus(limits::WAITED_LIMIT));
    }

    /// When the body must be whole; [`CollectError::Late`] if it is not.
    pub(super) fn deadline(&self) -> Instant {
        self.by
    }

    /// Bytes that were announced and have not come: of the whole body, or of the chunk under way.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.body.wanted_bytes()
    }

    /// The buffer with what has come; whoever drops the collector gives it back.
    pub(super) fn buffer(&self) -> Option<BufferId> {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Instant = Instant::from_millis(1000);
    const MIB: u64 = 1024 * 1024;

    fn collector(framing: Framing, bytes_max: u64) -> Collector {
        Collector::new(framing, bytes_max, BEGAN)
    }

    /// Collects `pieces` one after the other. Returns the body or the error, and what was left of
    /// all pieces together.
    fn collect(
        framing: Framing,
        bytes_max: u64,
        pieces: &[&[u8]],
        pool: &mut Pool,
    ) -> (Result<Option<Vec<u8>>, CollectError>, usize) {
        let mut collector = collector(framing, bytes_max);
        let mut end = collector.begin(pool);
        let mut left: usize = pieces.iter().map(|piece| piece.len()).sum();
        'pieces: for piece in pieces {
            let mut rest = *piece;
            loop {
                match end {
                    Ok(Collected::Partial) if rest.is_empty() => continue 'pieces,
                    Ok(Collected::Some | Collected::Partial) => {}
                    Ok(Collected::Whole(_)) | Err(_) => break 'pieces,
                }
                let (used, collected) = collector.receive(pool, rest);
                (rest, left, end) = (&rest[used..], left - used, collected);
                let all = matches!(end, Ok(Collected::Partial));
                assert!(!all || rest.is_empty(), "what is partial has taken everything");
            }
        }
        let result = end.map(|collected| match collected {
            Collected::Whole(buffer) => {
                let bytes = pool.bytes(buffer).to_vec();
                pool.give(buffer);
                Some(bytes)
            }
            Collected::Some | Collected::Partial => None,
        });
        if let Some(buffer) = collector.buffer() {
            pool.give(buffer);
        }
        assert_eq!(pool.lent_bytes(), 0, "each buffer has one owner");
        (result, left)
    }

    /// Collects `bytes` whole and cut in two at every place, which must make no difference.
    fn collected(
        framing: Framing,
        bytes_max: u64,
        bytes: &[u8],
    ) -> (Result<Option<Vec<u8>>, CollectError>, usize) {
        let mut pool = Pool::new(MIB);
        let whole = collect(framing, bytes_max, &[bytes], &mut pool);
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            let cut = collect(framing, bytes_max, &[first, second], &mut pool);
            assert_eq!(cut.0, whole.0, "cut at {at}");
            assert!(whole.0.is_err() || cut.1 == whole.1, "cut at {at}");
        }
        whole
    }

    #[test]
    fn a_body_of_a_known_length_ends_before_what_follows() {
        let (body, left) = collected(Framing::Length(5), 5, b"helloGET /");
        assert_eq!((body, left), (Ok(Some(b"hello".to_vec())), 5));
        let (body, left) = collected(Framing::Length(6), 6, b"hello");
        assert_eq!((body, left), (Ok(None), 0));
    }

    #[test]
    fn chunks_are_joined_and_their_sizes_left_out() {
        let bytes = b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\nGET /";
        let (body, left) = collected(Framing::Chunked, 5, bytes);
        assert_eq!((body, left), (Ok(Some(b"hello".to_vec())), 5));
        let (body, _) = collected(Framing::Chunked, 5, b"5\r\nhello\r\n0\r\n");
        assert_eq!(body, Ok(None), "the last empty line has not come");
    }

    #[test]
    fn an_empty_body_is_whole_at_once() {
        for framing in [Framing::None, Framing::Length(0)] {
            let (body, left) = collected(framing, 0, b"GET /");
            assert_eq!((body, left), (Ok(Some(Vec::new())), 5));
        }
        let (body, left) = collected(Framing::Chunked, 0, b"0\r\n\r\nGET /");
        assert_eq!((body, left), (Ok(Some(Vec::new())), 5));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_the_first_byte() {
        let mut pool = Pool::new(MIB);
        for bytes in [6, u64::from(u32::MAX), i64::MAX as u64] {
            let begun = collector(Framing::Length(bytes), 5).begin(&mut pool);
            assert_eq!(begun, Err(CollectError::TooBig), "{bytes}");
        }
        let begun = collector(Framing::Length(5), 5).begin(&mut pool);
        assert_eq!(begun, Ok(Collected::Partial));
    }

    #[test]
    fn chunks_above_the_limit_are_refused_with_all_that_follows() {
        let (body, left) = collected(Framing::Chunked, 5, b"3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\nGET");
        assert_eq!((body, left), (Err(CollectError::TooBig), 0));
        // A chunk is not believed to come: it counts as far as it has.
        let (body, _) = collected(Framing::Chunked, 5, b"7fffffff\r\nhello");
        assert_eq!(body, Ok(None));
        let (body, left) = collected(Framing::Chunked, 5, b"7fffffff\r\nhello!");
        assert_eq!((body, left), (Err(CollectError::TooBig), 0));
    }

    #[test]
    fn malformed_chunks_end_everything() {
        for bytes in [b"x\r\n".as_slice(), b"1\r\nab", b"1\na", b"0\r\nno field\r\n\r\n"] {
            let (body, left) = collected(Framing::Chunked, 100, bytes);
            assert_eq!((body, left), (Err(CollectError::Malformed), 0), "{bytes:?}");
        }
    }

    /// Uses the budget up, so that only the reserve is left.
    fn without_budget() -> Pool {
        let mut pool = Pool::new(MIB);
        while pool.spend(256) {}
        pool
    }

    #[test]
    fn the_reserve_pays_for_bodies_that_are_whole_at_once_only() {
        let tried = |framing, bytes: &[u8]| collect(framing, 6, &[bytes], &mut without_budget());
        assert_eq!(tried(Framing::Length(5), b"hello").0, Ok(Some(b"hello".to_vec())));
        assert_eq!(tried(Framing::None, b"").0, Ok(Some(Vec::new())));
        assert_eq!(tried(Framing::Length(6), b"hello"), (Err(CollectError::NoMemory), 0));
        assert_eq!(tried(Framing::Chunked, b"2\r\nhe\r\n0"), (Err(CollectError::NoMemory), 0));
    }

    #[test]
    fn a_body_that_outgrows_the_pool_is_refused() {
        let mut pool = Pool::new(MIB);
        let piece = [b'a'; 64 * 1024];
        let pieces = [piece.as_slice(); 64];
        let (body, _) = collect(Framing::Length(4 * MIB), 4 * MIB, &pieces, &mut pool);
        assert_eq!(body, Err(CollectError::NoMemory));
    }

    #[test]
    fn the_time_is_bounded_and_bytes_that_wait_add_to_its_end() {
        let mut collector = collector(Framing::Length(5), 5);
        let by = BEGAN.plus(limits::BODY_LIMIT);
        assert_eq!(collector.deadline(), by);
        collector.put_off(BEGAN);
        assert_eq!(collector.deadline(), by, "there was more time than that");
        collector.put_off(by);
        assert_eq!(collector.deadline(), by.plus(limits::WAITED_LIMIT));
    }
}
