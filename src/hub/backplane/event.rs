//! What a backplane tells the server, and what it asks of the shell.
//!
//! The surprise: an event borrows from the bytes that came, so it is used before the next is asked
//! for. Whoever cannot use a message at the moment says so by [`super::Backplane::hold`], and is
//! handed the same again.

use core::fmt;

use super::entry::Place;

/// One of the two connections to Redis. While a reader waits for entries its connection answers
/// nothing else, so what is written has another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Line {
    /// The connection on which entries are added.
    Writer,
    /// The connection on which entries are read.
    Reader,
}

impl Line {
    /// Every line that there is.
    pub const ALL: [Line; 2] = [Line::Writer, Line::Reader];
}

/// What the shell is asked to do with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// To connect the line, to [`super::Backplane::moved_to`] if that names a server, otherwise to
    /// the configured one, whose name is resolved again; then to say `connected` or `closed`.
    Connect(Line),
    /// To drop the line's socket, or the attempt to connect it. The backplane is done with it:
    /// nothing is to be said about it any more.
    Close(Line),
}

/// The number by which the server knows a message that it has said. Only the server gives it a
/// meaning; no two messages that wait have one in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Ticket(pub u64);

/// What has happened. Messages of a channel come in the order of their places, which is the same at
/// every instance; tickets of a channel come in the order in which they were said, each once.
/// Tickets of two channels are in no order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A message of a channel that is being opened, said before its start; oldest first. Such come
    /// only with history.
    Replayed {
        /// The channel's name.
        channel: &'a str,
        /// Where the message stands.
        place: Place,
        /// Milliseconds since the message was added, by the clock of Redis.
        age_ms: u64,
        /// The message's ticket, if it was said here: in an earlier life of the channel.
        ticket: Option<Ticket>,
        /// The message as it was given to [`super::Backplane::say`].
        bytes: &'a [u8],
    },
    /// A channel is open: it was opened by [`super::Backplane::open`], and every message behind
    /// this place follows.
    Opened {
        /// The channel's name.
        channel: &'a str,
        /// The channel's start, or [`Place::default`] if nothing was ever said in it.
        place: Place,
    },
    /// A message has its place in the order, said here or anywhere.
    Placed {
        /// The channel's name.
        channel: &'a str,
        /// Where the message stands.
        place: Place,
        /// The message's ticket, if it was said here.
        ticket: Option<Ticket>,
        /// The message as it was given to [`super::Backplane::say`].
        bytes: &'a [u8],
    },
    /// A message that was said here is to be said to nobody, for it was said before or stands in a
    /// gap that is told: it is done with.
    Repeated {
        /// The channel's name.
        channel: &'a str,
        /// The message's ticket.
        ticket: Ticket,
        /// Where the first message with its key stands; its own place if it stands in a gap.
        place: Place,
    },
    /// Messages stand here that were said by this instance before a gap, out of a history that is
    /// gone, and are not said again. Whoever has come back from a place before them may not have
    /// heard them.
    Passed {
        /// The channel's name.
        channel: &'a str,
        /// Where the last of them stands.
        place: Place,
    },
    /// Messages of an open channel are lost for this instance: dropped by Redis before they were
    /// read, or in a history that is no more. What follows stands behind the place. While a channel
    /// is being opened this says that what was replayed so far does not lead up to what follows.
    Lost {
        /// The channel's name.
        channel: &'a str,
        /// The place behind the gap.
        place: Place,
        /// What the gap was known by.
        how: Gap,
    },
    /// A greeting that was said at another instance, outside of the order.
    Greeted {
        /// The channel's name.
        channel: &'a str,
        /// The greeting as it was given to [`super::Backplane::greet`].
        bytes: &'a [u8],
    },
    /// Something can neither be added nor read from now on. A backplane begins away, and does not
    /// say so.
    Away,
    /// Everything works, for the first time or again.
    Back,
    /// What the operator should know. Said once for each kind of trouble, until the line works
    /// again.
    Report(Report),
}

/// What a gap was known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gap {
    /// The entry that was read last is not there any more: it was dropped before the next was read,
    /// or the history is another one.
    Vanished,
    /// Whoever added an entry had read one before it that was never seen here.
    Skipped,
    /// An entry cannot be read, or is larger than any that this program would write.
    Unreadable,
}

/// Why a line does not work. Each has a text for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Trouble {
    /// There is no connection: refused, unreachable, or its name is unknown.
    Unreachable,
    /// The connection was closed.
    Closed,
    /// Nothing came for two and a half seconds although something was due.
    Silent,
    /// The reader does not see what the writer adds: they are connected to two servers.
    Deaf,
    /// What came is no reply of Redis.
    Garbled,
    /// READONLY: the server is a replica.
    ReadOnly,
    /// MOVED a second time, or to what is no address: the cluster does not agree with itself.
    Moved,
    /// LOADING: the server reads its data from disk.
    Loading,
    /// NOAUTH: the server wants a password.
    NoPassword,
    /// WRONGPASS, or another refusal of AUTH.
    WrongPassword,
    /// NOPERM: the user may not use a command or a key.
    NoPermission,
    /// OOM: the server is at its `maxmemory`.
    OutOfMemory,
    /// MISCONF: the server cannot save its data, and so takes none.
    CannotSave,
    /// WRONGTYPE: what stands at a key is no stream.
    WrongType,
    /// CLUSTERDOWN, TRYAGAIN, MASTERDOWN, ASK: the cluster is changing.
    Unsettled,
    /// Any other error.
    Other,
}

impl Trouble {
    /// What an error of Redis means: its first word says so.
    pub fn of(error: &[u8]) -> Trouble {
        // Before Redis 6 a refusal of AUTH has no word of its own.
        let of_auth: [&[u8]; 3] = [b"ERR invalid password", b"ERR Client sent AUTH", b"ERR AUTH <"];
        if of_auth.iter().any(|words| error.starts_with(words)) {
            return Trouble::WrongPassword;
        }
        match error.split(|byte| *byte == b' ').next().unwrap_or_default() {
            b"READONLY" => Trouble::ReadOnly,
            b"MOVED" => Trouble::Moved,
            b"LOADING" => Trouble::Loading,
            b"NOAUTH" => Trouble::NoPassword,
            b"WRONGPASS" => Trouble::WrongPassword,
            b"NOPERM" => Trouble::NoPermission,
            b"OOM" => Trouble::OutOfMemory,
            b"MISCONF" => Trouble::CannotSave,
            b"WRONGTYPE" => Trouble::WrongType,
            b"CLUSTERDOWN" | b"TRYAGAIN" | b"MASTERDOWN" | b"ASK" => Trouble::Unsettled,
            _ => Trouble::Other,
        }
    }

    /// Whether a writer keeps its line and tries again: the server knows us, and says that it
    /// cannot for now.
    pub(super) fn passes(self) -> bool {
        match self {
            Trouble::Loading
            | Trouble::OutOfMemory
            | Trouble::CannotSave
            | Trouble::WrongType
            | Trouble::Unsettled => true,
            Trouble::Unreachable
            | Trouble::Closed
            | Trouble::Silent
            | Trouble::Deaf
            | Trouble::Garbled
            | Trouble::ReadOnly
            | Trouble::Moved
            | Trouble::NoPassword
            | Trouble::WrongPassword
            | Trouble::NoPermission
            | Trouble::Other => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Unreachable => "cannot be reached",
            Trouble::Closed => "closed the connection",
            Trouble::Silent => "does not answer",
            Trouble::Deaf => {
                "does not show what was added: reader and writer are not at one server"
            }
            Trouble::Garbled => "answers something that is no reply of Redis",
            Trouble::ReadOnly => "is a replica, which takes nothing (READONLY)",
            Trouble::Moved => "sends us on and on (MOVED)",
            Trouble::Loading => "is loading its data (LOADING)",
            Trouble::NoPassword => "wants a password (NOAUTH)",
            Trouble::WrongPassword => "does not take the password (WRONGPASS)",
            Trouble::NoPermission => "does not let the user do this (NOPERM)",
            Trouble::OutOfMemory => "is out of memory (OOM): see its maxmemory",
            Trouble::CannotSave => "cannot save, and takes nothing (MISCONF)",
            Trouble::WrongType => "has something else than a stream at a key (WRONGTYPE)",
            Trouble::Unsettled => "belongs to a cluster that is changing",
            Trouble::Other => "answers with an error",
        })
    }
}

/// Something that the operator should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// A line does not work.
    Trouble(Line, Trouble, Words),
    /// A key cannot be given its time to live, so it may stay for ever.
    NoExpiry(Trouble, Words),
    /// An entry of a later version was skipped: a newer instance has the same prefix. Said once.
    Newer(u8),
}

/// The most bytes of [`Words`].
pub const WORDS_BYTES_MAX: usize = 200;

/// Words from outside that belong to a report: an error of Redis or of the system, cut to
/// [`WORDS_BYTES_MAX`] bytes. They may be any bytes, and are escaped by whoever shows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; WORDS_BYTES_MAX],
    length: u8,
}

impl Words {
    /// Takes the first bytes of a text.
    pub fn new(text: &[u8]) -> Words {
        let text = &text[..text.len().min(WORDS_BYTES_MAX)];
        let mut bytes = [0; WORDS_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        // The bound is below 256.
        Words { bytes, length: text.len() as u8 }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Why a message is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SayError {
    /// As much waits as may, or in as many channels: it has to be said again when some of that has
    /// its place.
    Full,
    /// The message is larger than the operator allows any to be.
    TooLarge,
}
