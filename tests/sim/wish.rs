//! Where a plain WebSocket or the reader of an event stream wants to begin: what it asks for when
//! it comes, and what it knows when it comes back.
//!
//! A client that comes back is a new connection of the same address, with the *trail* of the one
//! before: how far it had taken what it was told when it went, at whatever byte that was.

use super::climate::Dice;

/// What a client asks for in the query of its handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The position behind which it wants everything.
    pub(crate) since: Option<String>,
    /// How many of the newest it wants otherwise.
    pub(crate) last: u64,
    /// The client would rather be refused than have a gap.
    pub(crate) strict: bool,
    /// The position is the one up to which it has taken everything.
    pub(crate) is_own: bool,
    /// What it says cannot be understood.
    pub(crate) is_malformed: bool,
    /// The wish as a query, with its question mark.
    pub(crate) query: String,
    /// The lines of the head that are a part of it: an event stream's `Last-Event-ID`.
    pub(crate) fields: String,
}

/// How far a client has taken what it was told.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    /// The life of its channel.
    pub(crate) life: usize,
    /// The number of the last message that it has taken.
    pub(crate) number: u64,
    /// The place behind that in the log of what plain readers get.
    pub(crate) place: usize,
}

/// What is malformed.
const MALFORMED: [&str; 7] = [
    "since=",
    "since=a_b",
    "since=%",
    "last=",
    "last=-1",
    "last=1x",
    "since=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// What is malformed in the head of a request for an event stream.
const MALFORMED_FIELDS: &str = "Last-Event-ID: a.1\r\nlast-event-id: a.1\r\n";

/// Ids of events that another server may have given out.
const FOREIGN_IDS: [&str; 4] =
    ["a b", "a_b", "a%2E1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];

/// A text of a position's characters that is none, whoever decides the order.
const NO_POSITION: &str = "A.b-C";

/// Positions that no channel has.
const FOREIGN: [&str; 6] = ["0-0.0", "1700000000000-0.2", "zzz.3", NO_POSITION, "0.0", "k3f9.016"];

/// Numbers of messages, as texts and as what they mean.
const NUMBERS: [(&str, u64); 8] = [
    ("0", 0),
    ("1", 1),
    ("2", 2),
    ("007", 7),
    ("50", 50),
    ("1000", 1000),
    ("18446744073709551616", u64::MAX),
    ("%31%30", 10),
];

impl Wish {
    /// What somebody asks for who has come back with its own position, or knows some position of
    /// its channel, or none.
    pub(crate) fn draw(
        dice: &mut Dice,
        own: Option<String>,
        known: Option<String>,
        is_stream: bool,
    ) -> Wish {
        let mut wish = Wish::default();
        let mut pairs = Vec::new();
        wish.is_own = own.is_some() && dice.chance(750);
        wish.since = if wish.is_own {
            own
        } else {
            match dice.below(10) {
                0..4 => known,
                4 => Some(dice.pick(&FOREIGN).to_owned()),
                _ => None,
            }
        };
        if let Some(since) = &wish.since {
            // What a browser says when it comes back wins over what stands in the page's URL.
            if is_stream && dice.chance(600) {
                let is_foreign = since == NO_POSITION && dice.chance(700);
                let id = if is_foreign { dice.pick(&FOREIGN_IDS) } else { since };
                wish.fields = format!("Last-Event-ID: {id}\r\n");
                if dice.chance(600) {
                    pairs.push(format!("since={}", dice.pick(&FOREIGN)));
                }
            } else {
                pairs.push(format!("since={}", encoded(dice, since)));
            }
        }
        if is_stream && wish.fields.is_empty() && dice.chance(100) {
            // It says nothing.
            "Last-Event-ID:\r\n".clone_into(&mut wish.fields);
        }
        if dice.chance(if wish.since.is_some() { 250 } else { 600 }) {
            let (text, number) = dice.pick(&NUMBERS);
            pairs.push(format!("last={text}"));
            wish.last = number;
        }
        if dice.chance(450) {
            let (text, is_strict) =
                dice.pick(&[("strict", true), ("strict=1", true), ("strict=no", false)]);
            pairs.push(text.to_owned());
            wish.strict = is_strict;
        }
        if dice.chance(30) {
            if is_stream && dice.chance(500) {
                MALFORMED_FIELDS.clone_into(&mut wish.fields);
            } else {
                pairs.push(dice.pick(&MALFORMED).to_owned());
            }
            wish.is_malformed = true;
        }
        // Of what comes twice the last counts, which is the malformed one.
        if dice.chance(100) {
            pairs.push("x=y&".to_owned());
        }
        if !pairs.is_empty() {
            wish.query = format!("?{}", pairs.join("&"));
        }
        wish
    }

    /// Whether it wants anything that was said before it comes.
    pub(crate) fn wants_past(&self) -> bool {
        self.since.is_some() || self.last > 0
    }

    /// Whether it asks for anything.
    pub(crate) fn is_any(&self) -> bool {
        !self.query.is_empty() || !self.fields.is_empty()
    }
}

/// A text, one character of which may be percent-encoded.
fn encoded(dice: &mut Dice, text: &str) -> String {
    if !dice.chance(150) {
        return text.to_owned();
    }
    let at = dice.below(text.len() as u64) as usize;
    format!("{}%{:02x}{}", &text[..at], text.as_bytes()[at], &text[at + 1..])
}
