//! Entries of a stream: their ids as text, and the messages that one of them holds as bytes.
//!
//! ```text
//!   id        MS-SEQ in decimal, each of 64 bits; `0-0` stands before every entry
//!   entry     version 1   producer 8   first 8   after 16   count 2   message*
//!   message   kind 1   ( key 8   if the kind says so )   length 4   bytes
//! ```
//!
//! Numbers are little-endian. A *producer* is one life of one instance, known by 64 random bits. It
//! numbers what it says from 1, over all channels; the messages of an entry have numbers in a row.
//! So whoever reads a channel can drop what it has read. `after` is the id of the last entry that
//! the producer had read of the channel: who reads this entry without having come as far lacks
//! something, even where no question was asked about it.
//!
//! Deals with: text and bytes. Leaves to others: what a message means, and whether an entry is
//! believed.
//!
//! The surprise: an entry is read whole or not at all. What stands in a stream is not trusted, and
//! the messages in front of a broken one are no better than the others.

use core::cmp::Ordering;
use core::fmt;

/// The version of the form that is written. Entries of later versions are told from noise by it.
pub const VERSION: u8 = 1;

/// Bytes of an entry in front of its messages.
pub const HEAD_BYTES: usize = 1 + 8 + 8 + 16 + 2;

/// The most bytes of a message in an entry beside its own: kind, key and length.
pub const MESSAGE_EXTRA_BYTES: usize = 1 + 8 + 4;

/// The most messages of an entry.
pub const MESSAGES_MAX: usize = u16::MAX as usize;

/// The most characters of an id: two numbers of 20 digits, and a dash.
pub const ID_BYTES_MAX: usize = 41;

const KIND_PLAIN: u8 = 0;
const KIND_KEYED: u8 = 1;

/// The id of an entry, which Redis gives it: a time, and a number for entries of one millisecond.
/// Ids of one stream rise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970 by the clock of Redis, which does not go back within a stream.
    pub ms: u64,
    /// The number of the entry among those of its millisecond, from 0.
    pub seq: u64,
}

impl EntryId {
    /// The id before every entry: where a stream stands that has had none.
    pub const ZERO: EntryId = EntryId { ms: 0, seq: 0 };

    /// Reads `MS-SEQ`; `None` for any other text, also for one with zeros in front of a number.
    pub fn parse(text: &[u8]) -> Option<EntryId> {
        let dash = text.iter().position(|byte| *byte == b'-')?;
        Some(EntryId { ms: number(&text[..dash])?, seq: number(&text[dash + 1..])? })
    }

    /// The id as text.
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; ID_BYTES_MAX], begin: ID_BYTES_MAX as u8 };
        text.put_number(self.seq);
        text.put(b'-');
        text.put_number(self.ms);
        text
    }

    /// The next id that an entry behind this one may have: ranges begin there, since servers before
    /// 6.2 have none that leave their first entry out. `None` behind the last that there is.
    pub fn next(self) -> Option<EntryId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(EntryId { seq, ..self }),
            None => Some(EntryId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The last id that an entry before this one may have. `None` before the first.
    pub fn previous(self) -> Option<EntryId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(EntryId { seq, ..self }),
            None => Some(EntryId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.text().as_bytes()).expect("an id is ASCII"))
    }
}

/// The text of an id, 3 to [`ID_BYTES_MAX`] characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdText {
    /// The text is at the end, for numbers are written from their last digit to their first.
    bytes: [u8; ID_BYTES_MAX],
    begin: u8,
}

impl IdText {
    /// The characters of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.begin)..]
    }

    fn put(&mut self, character: u8) {
        self.begin -= 1;
        self.bytes[usize::from(self.begin)] = character;
    }

    fn put_number(&mut self, number: u64) {
        let mut left = number;
        loop {
            // A digit is below ten.
            self.put(b'0' + (left % 10) as u8);
            left /= 10;
            if left == 0 {
                break;
            }
        }
    }
}

/// Where a message stands in its channel: an entry, and a place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Place {
    /// The entry that holds the message.
    pub entry: EntryId,
    /// Which of the entry's messages it is, from 0.
    pub index: u32,
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Place) -> Ordering {
        (self.entry, self.index).cmp(&(other.entry, other.index))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.entry, self.index)
    }
}

/// Why the messages of an entry cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The entry has a form of a later version, which this program does not know.
    Newer(u8),
    /// The entry is none that this program would have written.
    Unreadable,
}

/// What the front of an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Who wrote the entry: the random bits of one life of one instance.
    pub producer: u64,
    /// The number of the first message, at least 1; the others follow in a row.
    pub first: u64,
    /// The last entry that the producer had read of the channel, or [`EntryId::ZERO`].
    pub after: EntryId,
    /// How many messages the entry has, at least one.
    pub count: u16,
}

impl Head {
    /// The number of the last message of the entry.
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }
}

/// A message of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The hash of the key that makes repeats of the message one, if it has a key.
    pub key: Option<u64>,
    /// The message itself.
    pub bytes: &'a [u8],
}

/// Appends the front of an entry. The messages have to follow, each by [`put_message`].
pub fn put_head(head: &Head, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&head.producer.to_le_bytes());
    out.extend_from_slice(&head.first.to_le_bytes());
    out.extend_from_slice(&head.after.ms.to_le_bytes());
    out.extend_from_slice(&head.after.seq.to_le_bytes());
    out.extend_from_slice(&head.count.to_le_bytes());
}

/// Appends a message, which may come in two parts, behind the front of its entry.
///
/// # Panics
/// If the message has 4 GiB or more.
pub fn put_message(key: Option<u64>, [front, back]: [&[u8]; 2], out: &mut Vec<u8>) {
    match key {
        Some(key) => {
            out.push(KIND_KEYED);
            out.extend_from_slice(&key.to_le_bytes());
        }
        None => out.push(KIND_PLAIN),
    }
    let length = u32::try_from(front.len() + back.len()).expect("messages are far smaller");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(front);
    out.extend_from_slice(back);
}

/// Bytes that a message of `length` bytes takes in its entry.
pub fn message_bytes(key: Option<u64>, length: usize) -> usize {
    1 + key.map_or(0, |_| 8) + 4 + length
}

/// Reads an entry whole, and returns what its front says; its messages begin at [`HEAD_BYTES`], and
/// each of them can be had by [`message_at`].
///
/// # Errors
/// Why none of the messages can be had. The work is bounded by the bytes of the entry.
pub fn read(bytes: &[u8]) -> Result<Head, Fault> {
    match bytes.first() {
        Some(&version) if version > VERSION => return Err(Fault::Newer(version)),
        Some(&VERSION) => {}
        Some(_) | None => return Err(Fault::Unreadable),
    }
    let head = head(bytes).ok_or(Fault::Unreadable)?;
    let mut at = HEAD_BYTES;
    for _ in 0..head.count {
        (_, at) = message_at(bytes, at).ok_or(Fault::Unreadable)?;
    }
    if at == bytes.len() { Ok(head) } else { Err(Fault::Unreadable) }
}

/// The message that begins at `at` in an entry's bytes, and where the next one does. `None` if none
/// is there.
pub fn message_at(bytes: &[u8], at: usize) -> Option<(Message<'_>, usize)> {
    let mut rest = bytes.get(at..)?;
    let [kind] = *array(&mut rest)?;
    let key = match kind {
        KIND_PLAIN => None,
        KIND_KEYED => Some(u64::from_le_bytes(*array(&mut rest)?)),
        _ => return None,
    };
    let length = usize::try_from(u32::from_le_bytes(*array(&mut rest)?)).ok()?;
    let end = bytes.len() - rest.len() + length;
    Some((Message { key, bytes: rest.get(..length)? }, end))
}

fn head(bytes: &[u8]) -> Option<Head> {
    let mut rest = bytes.get(1..)?;
    let mut number = || Some(u64::from_le_bytes(*array(&mut rest)?));
    let (producer, first) = (number()?, number()?);
    let after = EntryId { ms: number()?, seq: number()? };
    let count = u16::from_le_bytes(*array(&mut rest)?);
    let is_whole = count > 0 && first > 0 && first.checked_add(u64::from(count)).is_some();
    is_whole.then_some(Head { producer, first, after, count })
}

fn array<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (array, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(array)
}

/// A number in decimal, as it is written: no sign, no zeros in front.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 1 && digits[0] == b'0' {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        producer: 0x0807_0605_0403_0201,
        first: 10,
        after: EntryId { ms: 9, seq: 1 },
        count: 2,
    };

    fn written(head: &Head, messages: &[(Option<u64>, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        put_head(head, &mut out);
        for (key, bytes) in messages {
            let before = out.len();
            let cut = bytes.len() / 2;
            put_message(*key, [&bytes[..cut], &bytes[cut..]], &mut out);
            assert_eq!(out.len() - before, message_bytes(*key, bytes.len()));
        }
        out
    }

    #[test]
    fn an_entry_is_these_bytes() {
        let bytes = written(&HEAD, &[(None, b"hi"), (Some(7), b"")]);
        let expected = [
            &b"\x01\x01\x02\x03\x04\x05\x06\x07\x08"[..],
            b"\x0a\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0",
            b"\0\x02\0\0\0hi",
            b"\x01\x07\0\0\0\0\0\0\0\0\0\0\0",
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(read(&bytes), Ok(HEAD));
        let (first, at) = message_at(&bytes, HEAD_BYTES).expect("the first");
        assert_eq!(first, Message { key: None, bytes: b"hi" });
        let (second, end) = message_at(&bytes, at).expect("the second");
        assert_eq!(second, Message { key: Some(7), bytes: b"" });
        assert_eq!(end, bytes.len());
        assert_eq!(message_at(&bytes, end), None);
    }

    #[test]
    fn what_is_no_entry_is_refused_whole() {
        let whole = written(&HEAD, &[(None, b"hi"), (Some(7), b"there")]);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Err(Fault::Unreadable), "cut at {end}");
        }
        assert_eq!(read(&[&whole[..], b"x"].concat()), Err(Fault::Unreadable), "more behind it");
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            read(&bytes)
        };
        assert_eq!(with(0, 0), Err(Fault::Unreadable), "a version before the first");
        assert_eq!(with(0, 2), Err(Fault::Newer(2)));
        assert_eq!(read(b"\x07"), Err(Fault::Newer(7)), "whatever follows");
        assert_eq!(with(HEAD_BYTES, 2), Err(Fault::Unreadable), "an unknown kind");
        assert_eq!(
            with(HEAD_BYTES - 2, 1),
            Err(Fault::Unreadable),
            "a message that is not counted"
        );
        assert_eq!(with(HEAD_BYTES - 2, 3), Err(Fault::Unreadable), "one that is not there");
        let none = Head { count: 0, ..HEAD };
        assert_eq!(read(&written(&none, &[])), Err(Fault::Unreadable), "nothing in it");
        let zero = Head { first: 0, count: 1, ..HEAD };
        assert_eq!(read(&written(&zero, &[(None, b"")])), Err(Fault::Unreadable), "number 0");
        let end = Head { first: u64::MAX, count: 1, ..HEAD };
        assert_eq!(read(&written(&end, &[(None, b"")])), Err(Fault::Unreadable), "the last number");
    }

    #[test]
    fn an_id_has_one_text() {
        for (ms, seq, text) in [
            (0, 0, "0-0"),
            (1_795_343_574_839, 3, "1795343574839-3"),
            (u64::MAX, u64::MAX, "18446744073709551615-18446744073709551615"),
        ] {
            let id = EntryId { ms, seq };
            assert_eq!(id.to_string(), text);
            assert_eq!(EntryId::parse(text.as_bytes()), Some(id));
        }
        for text in
            ["", "-", "1", "1-", "-1", "01-1", "1-01", "1-1-1", "1--1", "+1-1", "1-a", "1-1 "]
        {
            assert_eq!(EntryId::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(EntryId::parse(b"18446744073709551616-0"), None);
    }

    #[test]
    fn between_an_id_and_its_neighbour_is_nothing() {
        for (ms, seq) in [(0, 0), (5, 0), (5, 9), (5, u64::MAX)] {
            let id = EntryId { ms, seq };
            let next = id.next().expect("it is not the last");
            assert!(next > id);
            assert_eq!(next.previous(), Some(id));
        }
        assert_eq!(EntryId::ZERO.previous(), None);
        assert_eq!(EntryId { ms: u64::MAX, seq: u64::MAX }.next(), None);
        assert!(
            Place { entry: EntryId::ZERO, index: 9 }
                < Place { entry: EntryId { ms: 0, seq: 1 }, index: 0 }
        );
    }
}
