//! What a client that comes back says in CONNECT (connection state recovery, clients 4.6+).
//!
//! ```text
//!   {"pid":"<what CONNECT's answer said>","offset":"<of the last event that came>", …auth}
//! ```
//!
//! Deals with: the two members among those of the application. Leaves to others: whether the pid
//! was ever given out, what is kept behind the offset, what the client is told.
//!
//! The surprise: both lie beside what the application calls `auth`, which may have members of these
//! names too and is merged over them by the client. So whatever has not the shape of ours is the
//! application's, and means nothing here.

use crate::position::is_position_text;
use crate::wire::engine::Sid;
use crate::wire::json::{Token, Tokens};

/// What a client that comes back knows of the session that it had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Returning<'b> {
    /// The private id of the session, by `pid`.
    pub pid: Sid,
    /// The offset of the last event that the client has got, by `offset`: 1 to 64 characters of
    /// `A-Z a-z 0-9 . -`. `None` if there is none of this form, as with a client of the reference
    /// that was told nothing before it lost its connection.
    pub offset: Option<&'b str>,
}

/// Reads the payload of a CONNECT packet, which is an object or missing, as
/// [`Packet::payload`](super::Packet::payload) has it. `None` if it names no session that could be
/// ours.
///
/// Only members of the object itself count, of a doubled one the last, as `JSON.parse` has it. A
/// value that is no string, or has an escape in it, is as if it were missing: those of ours have
/// none. The work is bounded by the payload's length, whatever else is in it; nothing recurses and
/// nothing is allocated.
pub fn recovery_of(payload: Option<&str>) -> Option<Returning<'_>> {
    let mut tokens = Tokens::new(payload?);
    if tokens.next()? != Token::Object {
        return None;
    }
    let (mut pid, mut offset) = (None, None);
    let mut member = Member::Other;
    let mut depth = 1_usize;
    for token in tokens {
        if depth == 1 {
            match (member, token) {
                (_, Token::Key(key)) if key == *"pid" => member = Member::Pid,
                (_, Token::Key(key)) if key == *"offset" => member = Member::Offset,
                (_, Token::Key(_)) => member = Member::Other,
                (_, Token::End) => break,
                (Member::Pid, _) => pid = plain(token),
                (Member::Offset, _) => offset = plain(token),
                (Member::Other, _) => {}
            }
        }
        match token {
            Token::Array | Token::Object => depth += 1,
            Token::End => depth -= 1,
            Token::Key(_) | Token::Text(_) | Token::Scalar(_) => {}
        }
    }
    Some(Returning {
        pid: Sid::parse(pid?.as_bytes())?,
        offset: offset.filter(|text| is_position_text(text.as_bytes())),
    })
}

/// The string that a value is, if it is one without escapes.
fn plain(value: Token<'_>) -> Option<&str> {
    match value {
        Token::Text(text) => text.plain(),
        Token::Array | Token::Object | Token::End | Token::Key(_) | Token::Scalar(_) => None,
    }
}

/// The member whose value comes next.
#[derive(Clone, Copy)]
enum Member {
    Pid,
    Offset,
    Other,
}
